"""Random shapes of each class of op against PyTorch, forward and in training (forward and backward).

`--shapes` says how many of each class, `--seed` which. The table ends with the geometric mean of each class and its
worst shape; PyTorch counts with the better of its two layouts. No shape here was chosen: see `drawn_shapes`.
"""

import functools
import math

import numpy as np
from drawn_shapes import CLASSES, draw
from harness import Contender
from task import Cost, Task

import kernelgrad as kg


def tasks(session, function):
    training = function is bench_random_training
    for name in CLASSES:
        for drawn in draw(name, session.shapes, session.seed):
            if training and not drawn.trains:
                continue
            contenders = ["simd"]
            if "torch" in session.peers:
                contenders += ["torch", "torch channels_last"] if has_image(drawn) else ["torch"]
            yield Task(
                f"random shapes, {'training' if training else 'forward'}",
                name,
                drawn.label,
                tuple(contenders),
                functools.partial(make, contenders, drawn, training),
                functools.partial(cost, drawn, training),
            )


def has_image(drawn):
    return any(len(shape) == 4 for shape in drawn.inputs)


def cost(drawn, training):
    passes = 1 + 2 * training
    floats = float(sum(math.prod(shape) for shape in drawn.inputs))
    return Cost(None if drawn.flops is None else passes * drawn.flops, elements=passes * floats or None)


def make(contenders, drawn, training):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape, np.float32) for shape in drawn.inputs]
    targets = rng.integers(0, drawn.classes[1], drawn.classes[0]) if drawn.classes else None
    return [contender(name, drawn, arrays, targets, training) for name in contenders]


def contender(name, drawn, arrays, targets, training):
    library = kg
    if name.startswith("torch"):
        import torch

        library = torch
    # Inside a network kernelgrad's activations lie as channels_last from the first convolution on.
    channels_last = name.endswith("channels_last") or (library is kg and drawn.channels_last)
    function = drawn.build(library)
    leaves = [library.from_numpy(array.copy()) for array in arrays]
    if channels_last:
        leaves = [leaf.to(memory_format=library.channels_last) for leaf in leaves]
        if name != "simd" and hasattr(function, "to"):
            function = function.to(memory_format=library.channels_last)
    rest = [] if targets is None else [library.from_numpy(targets)]
    if not training:
        if not drawn.inputs:
            return Contender(name, function)
        return Contender(name, forward(library, function, [*leaves, *rest]))
    leaves = [leaf.requires_grad_() for leaf in leaves]
    parameters = list(function.parameters()) if hasattr(function, "parameters") else []
    return Contender(name, forward_and_backward(library, function, leaves, rest, parameters))


def forward(library, function, inputs):
    no_grad = library.no_grad

    def call():
        with no_grad():
            return function(*inputs)

    return call


def forward_and_backward(library, function, leaves, rest, parameters):
    upstream = library.randn_like(function(*leaves, *rest).detach())
    grads = [*leaves, *parameters]

    def call():
        for leaf in grads:
            leaf.grad = None
        function(*leaves, *rest).backward(upstream)

    return call


def bench_random_forward(row):
    assert row.seconds > 0


def bench_random_training(row):
    assert row.seconds > 0
