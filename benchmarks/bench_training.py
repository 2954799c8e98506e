"""Whole training steps: zero the gradients, forward, loss, backward, optimizer step, on one fixed batch.

kernelgrad and PyTorch (eager, same number of threads; the networks with convolutions in channels_last memory as well)
run the same code on the same numbers, in turns. MLPs and the CNN train with Adam, ResNet-20 with SGD and momentum.
With `--peers torch.compile` PyTorch's step runs compiled as well, with `--peers jax` the networks of `jax_steps` under
`jit` (JAX has no setting for its number of threads: it takes what the process may use).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import nets
import numpy as np
from harness import Contender, backend
from task import Cost, Task

import kernelgrad as kg


@dataclass
class Net:
    name: str
    build: Callable[[Any], Any]
    input: tuple[int, ...]
    classes: int  # 0: regression on one number
    sgd: bool = False

    @property
    def convolutional(self) -> bool:
        return len(self.input) == 4


NETS = [
    Net("MLP 13-64-64-1", lambda library: nets.mlp(library, 13, 64, 64, 1), (32, 13), 0),
    Net("MLP 784-128-10", lambda library: nets.mlp(library, 784, 128, 10), (32, 784), 10),
    Net("MLP 784-512-512-10", lambda library: nets.mlp(library, 784, 512, 512, 10), (128, 784), 10),
    Net("two-conv CNN 28x28", nets.two_conv_cnn, (64, 1, 28, 28), 10),
    Net("ResNet-20 32x32", nets.resnet20, (64, 3, 32, 32), 10, sgd=True),
]


def tasks(session, function):
    for net in NETS:
        contenders = list(session.backends)
        if "torch" in session.peers:
            contenders += ["torch", "torch channels_last"] if net.convolutional else ["torch"]
        if "torch.compile" in session.peers:
            contenders += ["torch.compile"]
        if "jax" in session.peers:
            contenders += ["jax"]
        yield Task(
            "training steps",
            net.name,
            f"batch {net.input[0]}",
            tuple(contenders),
            lambda net=net, contenders=tuple(contenders): [contender(name, net) for name in contenders],
            lambda net=net: Cost(flops=3 * 2 * kg.nn.summary(net.build(kg), net.input).multiply_adds),
        )


def contender(name, net):
    if name == "jax":
        import jax_steps

        return Contender(name, jax_steps.training_step(net.name, *data(net), net.sgd))
    if name.startswith("torch"):
        import torch

        channels_last = name.endswith("channels_last") or (net.convolutional and name == "torch.compile")
        return Contender(name, step(torch, net, channels_last=channels_last, compiled=name == "torch.compile"))
    device = "cuda" if name == "cuda" else "cpu"
    return Contender(
        name, step(kg, net, device), backend(name, whole_nets=True), kg.cuda.synchronize if name == "cuda" else None
    )


def data(net):
    """Inputs and targets."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal(net.input, np.float32)
    if net.classes:
        return inputs, rng.integers(0, net.classes, net.input[0])
    return inputs, rng.standard_normal((net.input[0], 1), np.float32)


def step(library, net, device="cpu", channels_last=False, compiled=False):
    library.manual_seed(0)
    model = net.build(library).to(device)
    inputs, targets = (library.from_numpy(array).to(device) for array in data(net))
    if channels_last:
        model = model.to(memory_format=library.channels_last)
        inputs = inputs.to(memory_format=library.channels_last)
    functional = library.nn.functional
    loss_of = functional.cross_entropy if net.classes else functional.mse_loss
    parameters = list(model.parameters())
    if compiled:
        model = library.compile(model)
    # Steps so small that hundreds of them on one batch do not drive the network into saturation.
    if net.sgd:
        optimizer = library.optim.SGD(parameters, lr=1e-4, momentum=0.9)
    else:
        optimizer = library.optim.Adam(parameters, lr=1e-5)

    def one_step():
        optimizer.zero_grad()
        loss_of(model(inputs), targets).backward()
        optimizer.step()

    return one_step


def bench_training_step(row):
    assert row.seconds > 0
