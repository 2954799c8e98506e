"""Calls at given shapes, written once for kernelgrad and PyTorch: `bench_fixed_shapes`, `bench_random_shapes`.

`build(library)` makes the module or other state and returns the function of the inputs that is timed. Each class of op
has one constructor here, which takes the sizes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from harness import Contender, backend
from task import Cost, Task

import kernelgrad as kg


@dataclass
class Call:
    label: str
    inputs: Sequence[tuple[int, ...]]  # normal numbers, all of which get a gradient
    build: Callable[[Any], Callable[..., Any]]
    flops: float | None = None  # of the forward pass
    moved: tuple[float, float] | None = None  # numbers read and written at least, each array once: forward, training
    classes: tuple[int, int] | None = None  # (rows, classes): int64 targets, passed last
    trains: bool = True
    channels_last: bool = False  # the inputs lie as activations do inside a network of convolutions


def each_pass(numbers: int) -> tuple[float, float]:
    """`Call.moved` of a product: two more of them give the gradients."""
    return 1.0 * numbers, 3.0 * numbers


def of_same_size(numbers: int) -> tuple[float, float]:
    """`Call.moved` where the result is as large as the input: backward reads input and gradient, and writes one."""
    return 2.0 * numbers, 5.0 * numbers


def product(m: int, n: int, k: int, left: bool = False, right: bool = False) -> Call:
    def build(library: Any) -> Callable[..., Any]:
        return lambda x, y: library.matmul(x.T if left else x, y.T if right else y)

    label = f"{m}x{k}{' (x.T)' if left else ''} @ {k}x{n}{' (y.T)' if right else ''}"
    call = Call(label, [(k, m) if left else (m, k), (n, k) if right else (k, n)], build, 2.0 * m * n * k)
    call.moved = each_pass(m * k + k * n + m * n)
    return call


def batched_product(batch: int, m: int, n: int, k: int) -> Call:
    label = f"{batch} of {m}x{k} @ {k}x{n}"
    call = Call(label, [(batch, m, k), (batch, k, n)], lambda library: library.matmul, 2.0 * batch * m * n * k)
    call.moved = each_pass(batch * (m * k + k * n + m * n))
    return call


def linear(rows: int, k: int, n: int, activation: str = "none") -> Call:
    def build(library: Any) -> Callable[..., Any]:
        layers = [library.nn.Linear(k, n)]
        if activation != "none":
            layers.append(getattr(library.nn, activation)())
        return library.nn.Sequential(*layers)

    call = Call(f"{rows}x{k} -> {n}, {activation}", [(rows, k)], build, 2.0 * rows * n * k)
    call.moved = each_pass(rows * k + k * n + rows * n)
    return call


def convolution(
    shape: tuple[int, int, int, int], k: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> Call:
    """Padded so that stride 1 keeps the image's size. A first layer, of at most four channels, reads NCHW."""
    n, c, h, w = shape
    padding = dilation * (kernel // 2)
    out = [(side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for side in (h, w)]
    flops = 2.0 * n * k * out[0] * out[1] * (c // groups) * kernel * kernel

    def build(library: Any) -> Any:
        return library.nn.Conv2d(c, k, kernel, stride, padding, dilation, groups, bias=True)

    label = f"{n}x{c}x{h}x{w} -> {k}, {kernel}x{kernel}"
    for word, value in (("stride", stride), ("dilation", dilation), ("groups", groups)):
        label += f" {word} {value}" * (value > 1)
    call = Call(label, [shape], build, flops, channels_last=c > 4)
    call.moved = each_pass(n * c * h * w + k * (c // groups) * kernel * kernel + n * k * out[0] * out[1])
    return call


def pooling(shape: tuple[int, ...], kind: str, *arguments: int) -> Call:
    label = f"{'x'.join(map(str, shape))}, {kind}{tuple(arguments)}"
    return Call(label, [shape], lambda library: getattr(library.nn, kind)(*arguments), channels_last=True)


def batch_norm(shape: tuple[int, ...]) -> Call:
    label = "x".join(map(str, shape))
    call = Call(label, [shape], lambda library: library.nn.BatchNorm2d(shape[1]), channels_last=True)
    call.moved = of_same_size(math.prod(shape))
    return call


def layer_norm(rows: int, width: int) -> Call:
    call = Call(f"{rows}x{width}", [(rows, width)], lambda library: library.nn.LayerNorm(width))
    call.moved = of_same_size(rows * width)
    return call


def softmax(rows: int, width: int, name: str = "softmax") -> Call:
    def build(library: Any) -> Callable[..., Any]:
        return lambda x: getattr(library.nn.functional, name)(x, dim=-1)

    return Call(f"{rows}x{width}, {name}", [(rows, width)], build, moved=of_same_size(rows * width))


def cross_entropy(rows: int, width: int) -> Call:
    call = Call(f"{rows}x{width}", [(rows, width)], lambda library: library.nn.functional.cross_entropy)
    call.classes, call.moved = (rows, width), (1.0 * rows * width, 3.0 * rows * width)
    return call


def reduction(rows: int, width: int, name: str, dim: int) -> Call:
    label = f"{rows}x{width}, {name} over {dim}"
    call = Call(label, [(rows, width)], lambda library: lambda x: getattr(library, name)(x, dim))
    call.moved = (1.0 * rows * width, 2.0 * rows * width)
    return call


def activation(name: str, n: int) -> Call:
    return Call(f"{name} of {n}", [(n,)], lambda lib: getattr(lib.nn.functional, name), moved=of_same_size(n))


def arithmetic(name: str, n: int, operands: int) -> Call:
    call = Call(f"{name} of {n}", [(n,)] * operands, lambda library: getattr(library, name))
    call.moved = ((operands + 1.0) * n, (3.0 * operands + 2) * n)
    return call


def random_numbers(name: str, n: int) -> Call:
    if name == "dropout":
        call = Call(f"dropout of {n}", [(n,)], lambda library: lambda x: library.nn.functional.dropout(x, 0.3))
        call.moved = (2.0 * n, 4.0 * n)
        return call
    call = Call(f"{name} of {n}", [], lambda library: lambda: getattr(library, name)(n), trains=False)
    call.moved = (1.0 * n, 1.0 * n)
    return call


STATES = {"SGD": 1, "RMSprop": 1, "Adagrad": 1}  # arrays that a step keeps; two for others


def optimizer(name: str, sizes: Sequence[int]) -> Call:
    """One step over these tensors; SGD with momentum."""

    def build(library: Any) -> Callable[..., Any]:
        leaves = [library.zeros(size).requires_grad_() for size in sizes]
        for leaf in leaves:
            leaf.grad = library.ones(leaf.shape[0])
        options: dict[str, Any] = {"momentum": 0.9} if name == "SGD" else {}
        if library.__name__ == "torch" and name in ("SGD", "Adam", "AdamW", "Adagrad"):
            options["fused"] = True  # the fastest that it has for the CPU
        return getattr(library.optim, name)(leaves, lr=1e-3, **options).step

    numbers = sum(sizes)
    call = Call(f"{name}, {len(sizes)} tensors, {numbers} numbers", [], build, trains=False)
    call.moved = ((3.0 + 2 * STATES.get(name, 2)) * numbers,) * 2
    return call


# ---- Their races ----


def task(session: Any, suite: str, name: str, call: Call, training: bool) -> Task:
    contenders = [own for own in session.backends if own == "simd" or (own == "cuda" and call.inputs)]
    if "torch" in session.peers:
        has_image = any(len(shape) == 4 for shape in call.inputs)
        contenders += ["torch", "torch channels_last"] if has_image else ["torch"]
    return Task(
        f"{suite}, {'training' if training else 'forward'}",
        name,
        call.label,
        tuple(contenders),
        functools.partial(make, contenders, call, training),
        functools.partial(cost, call, training),
    )


def cost(call: Call, training: bool) -> Cost:
    passes = 1 + 2 * training
    floats = float(sum(math.prod(shape) for shape in call.inputs))
    nbytes = None if call.moved is None else 4 * call.moved[training]
    return Cost(None if call.flops is None else passes * call.flops, nbytes, passes * floats or None)


def make(contenders: Sequence[str], call: Call, training: bool) -> list[Contender]:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape, np.float32) for shape in call.inputs]
    targets = rng.integers(0, call.classes[1], call.classes[0]) if call.classes else None
    return [contender(name, call, arrays, targets, training) for name in contenders]


def contender(name: str, call: Call, arrays: list[Any], targets: Any, training: bool) -> Contender:
    library: Any = kg
    if name.startswith("torch"):
        import torch

        library = torch
    # Inside a network kernelgrad's activations lie as channels_last from the first convolution on.
    channels_last = name.endswith("channels_last") or (library is kg and call.channels_last)
    device, inside = "cuda" if name == "cuda" else "cpu", {}
    if library is kg:
        inside = {"inside": backend(name, whole_nets=True), "finish": kg.cuda.synchronize if name == "cuda" else None}
    function = call.build(library)
    if name != "simd" and hasattr(function, "to"):
        function = function.to(device)
        if channels_last and library is not kg:
            function = function.to(memory_format=library.channels_last)
    leaves = [library.from_numpy(array.copy()).to(device) for array in arrays]
    if channels_last:
        leaves = [leaf.to(memory_format=library.channels_last) for leaf in leaves]
    rest = [] if targets is None else [library.from_numpy(targets).to(device)]
    if not training:
        return Contender(name, forward(library, function, [*leaves, *rest]) if leaves else function, **inside)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    parameters = list(function.parameters()) if hasattr(function, "parameters") else []
    return Contender(name, forward_and_backward(library, function, leaves, rest, parameters), **inside)


def forward(library: Any, function: Callable[..., Any], inputs: list[Any]) -> Callable[[], Any]:
    no_grad = library.no_grad

    def call() -> Any:
        with no_grad():
            return function(*inputs)

    return call


def forward_and_backward(
    library: Any, function: Callable[..., Any], leaves: list[Any], rest: list[Any], parameters: list[Any]
) -> Callable[[], Any]:
    upstream = library.randn_like(function(*leaves, *rest).detach())
    grads = [*leaves, *parameters]

    def call() -> None:
        for leaf in grads:
            leaf.grad = None
        function(*leaves, *rest).backward(upstream)

    return call
