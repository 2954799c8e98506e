"""Layers at the sizes they have in real networks, forward and backward, against PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from harness import Contender, backend
from task import Cost, Task, by_size

import kernelgrad as kg


@dataclass
class Layer:
    name: str
    build: Callable[[Any], Any]
    input: tuple[int, ...]


LAYERS = [
    Layer("Linear 784 -> 512", lambda nn: nn.Linear(784, 512), (128, 784)),
    Layer("Linear 512 -> 10", lambda nn: nn.Linear(512, 10), (128, 512)),
    Layer("Linear 1024 -> 1024", lambda nn: nn.Linear(1024, 1024), (256, 1024)),
    Layer("Conv2d 1 -> 32, 3x3", lambda nn: nn.Conv2d(1, 32, 3), (64, 1, 28, 28)),
    Layer("Conv2d 32 -> 64, 3x3", lambda nn: nn.Conv2d(32, 64, 3), (64, 32, 26, 26)),
    Layer("Conv2d 16 -> 16, 3x3", lambda nn: nn.Conv2d(16, 16, 3, padding=1), (64, 16, 32, 32)),
    Layer("Conv2d 64 -> 64, 3x3", lambda nn: nn.Conv2d(64, 64, 3, padding=1), (64, 64, 8, 8)),
    Layer("Conv2d 64 -> 64, 1x1", lambda nn: nn.Conv2d(64, 64, 1), (64, 64, 16, 16)),
    Layer("Conv2d 32 -> 64, 3x3 stride 2", lambda nn: nn.Conv2d(32, 64, 3, stride=2, padding=1), (64, 32, 16, 16)),
    Layer("Conv2d 64, depthwise 3x3", lambda nn: nn.Conv2d(64, 64, 3, padding=1, groups=64), (64, 64, 16, 16)),
    Layer("BatchNorm2d 32", lambda nn: nn.BatchNorm2d(32), (64, 32, 16, 16)),
    Layer("MaxPool2d 2", lambda nn: nn.MaxPool2d(2), (64, 64, 24, 24)),
    Layer("AvgPool2d 2", lambda nn: nn.AvgPool2d(2), (64, 64, 24, 24)),
    Layer("LayerNorm 512", lambda nn: nn.LayerNorm(512), (256, 512)),
    Layer("Dropout", lambda nn: nn.Dropout(0.5), (256, 4096)),
    Layer("Softmax 1024", lambda nn: nn.Softmax(dim=-1), (256, 1024)),
    Layer("GELU", lambda nn: nn.GELU(), (256, 4096)),
]


def tasks(session, function):
    for layer in LAYERS:
        contenders = list(session.backends)
        if "torch" in session.peers:
            contenders += ["torch", "torch channels_last"] if len(layer.input) == 4 else ["torch"]
        yield Task(
            "layers, forward and backward",
            layer.name,
            by_size(layer.input),
            tuple(contenders),
            lambda layer=layer, contenders=tuple(contenders): [contender(name, layer) for name in contenders],
            lambda layer=layer: cost(layer),
        )


def cost(layer):
    if "Linear" not in layer.name and "Conv" not in layer.name:
        return Cost()
    return Cost(flops=3 * 2 * kg.nn.summary(layer.build(kg.nn), layer.input).multiply_adds)


def contender(name, layer):
    if name.startswith("torch"):
        import torch

        return Contender(name, both_passes(torch, layer, channels_last=name.endswith("channels_last")))
    device = "cuda" if name == "cuda" else "cpu"
    return Contender(
        name,
        both_passes(kg, layer, device),
        backend(name, whole_nets=True),
        kg.cuda.synchronize if name == "cuda" else None,
    )


def both_passes(library, layer, device="cpu", channels_last=False):
    rng = np.random.default_rng(0)
    module = layer.build(library.nn).to(device)
    inputs = library.from_numpy(rng.standard_normal(layer.input, np.float32)).to(device)
    if channels_last:
        module = module.to(memory_format=library.channels_last)
        inputs = inputs.to(memory_format=library.channels_last)
    inputs.requires_grad_()
    upstream = library.ones_like(module(inputs).detach())
    leaves = [inputs, *module.parameters()]

    def call():
        for leaf in leaves:
            leaf.grad = None
        module(inputs).backward(upstream)

    return call


def bench_layer(row):
    assert row.seconds > 0
