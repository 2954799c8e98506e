"""The networks of the training benchmark at inference: `eval()`, no gradients, a batch of one and a full batch.

ONNX Runtime (`--peers onnxruntime`) runs the same weights; the outputs are compared before the clock starts.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from bench_training import NETS, data
from harness import Contender, backend
from task import Cost, Task

import kernelgrad as kg


def tasks(session, function):
    for net in NETS:
        for batch in (1, net.input[0]):
            resized = dataclasses.replace(net, input=(batch, *net.input[1:]))
            contenders = ["simd"]
            if "torch" in session.peers:
                contenders += ["torch", "torch channels_last"] if net.convolutional else ["torch"]
            if "onnxruntime" in session.peers:
                contenders += ["onnxruntime"]
            yield Task(
                "inference",
                net.name,
                f"batch {batch}",
                tuple(contenders),
                lambda net=resized, names=tuple(contenders): [contender(name, net) for name in names],
                lambda net=resized: Cost(flops=2 * kg.nn.summary(net.build(kg), net.input).multiply_adds),
            )


def contender(name, net):
    if name == "onnxruntime":
        return Contender(name, by_onnxruntime(net))
    if name.startswith("torch"):
        import torch

        return Contender(name, forward(torch, net, name.endswith("channels_last")))
    return Contender(name, forward(kg, net), backend(name, whole_nets=True))


def built(net):
    kg.manual_seed(0)
    return net.build(kg).eval()


def forward(library, net, channels_last=False):
    model, inputs = net.build(library).eval(), library.from_numpy(data(net)[0])
    if channels_last:
        model = model.to(memory_format=library.channels_last)
        inputs = inputs.to(memory_format=library.channels_last)
    no_grad = library.no_grad

    def call():
        with no_grad():
            return model(inputs)

    return call


def by_onnxruntime(net):
    import onnx_nets

    model, inputs = built(net), data(net)[0]
    session = onnx_nets.session(model, net.input)
    with kg.no_grad():
        np.testing.assert_allclose(
            session.run(None, {"x": inputs})[0], model(kg.from_numpy(inputs)).numpy(), rtol=1e-3, atol=1e-4
        )
    return lambda: session.run(None, {"x": inputs})


def bench_inference(row):
    assert row.seconds > 0
