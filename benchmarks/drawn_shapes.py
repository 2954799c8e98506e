"""Random shapes of each class of op: what `bench_random_shapes` times.

A claim of speed is a claim about every shape of a class, so none is chosen by hand here: `draw` takes sizes at random
(log-uniform, within what fits in a few hundred megabytes), by a seed. Each drawn call is written once for kernelgrad
and PyTorch: `build(library)` makes the modules or other state and returns the function of the inputs that is timed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Drawn:
    label: str
    inputs: Sequence[tuple[int, ...]]  # normal numbers, all of which get a gradient
    build: Callable[[Any], Callable[..., Any]]
    flops: float | None = None  # of the forward pass
    classes: tuple[int, int] | None = None  # (rows, classes): int64 targets, passed last
    trains: bool = True
    channels_last: bool = False  # the inputs lie as activations do inside a network of convolutions


def integer(rng: np.random.Generator, low: int, high: int) -> int:
    """Log-uniform in low..high."""
    return min(high, int(low * (high / low + 1e-9) ** rng.random() + 0.5))


def near(rng: np.random.Generator, low: int, high: int) -> int:
    """Log-uniform; two times of three a multiple of 16 where that fits, as widths of real networks are."""
    size = integer(rng, low, high)
    return max(16, size // 16 * 16) if high >= 16 and low <= 16 <= size and rng.random() < 0.67 else size


# ---- Matrix products ----


def product(rng: np.random.Generator, m: int, n: int, k: int) -> Drawn:
    left, right = rng.random() < 0.25, rng.random() < 0.5

    def build(library: Any) -> Callable[..., Any]:
        return lambda x, y: library.matmul(x.T if left else x, y.T if right else y)

    marks = f"{m}x{k}{' (x.T)' if left else ''} @ {k}x{n}{' (y.T)' if right else ''}"
    return Drawn(marks, [(k, m) if left else (m, k), (n, k) if right else (k, n)], build, 2.0 * m * n * k)


def matmul_small(rng: np.random.Generator) -> Drawn:
    return product(rng, integer(rng, 64, 256), integer(rng, 64, 256), integer(rng, 64, 256))


def matmul_large(rng: np.random.Generator) -> Drawn:
    return product(rng, integer(rng, 512, 2048), integer(rng, 512, 2048), integer(rng, 512, 2048))


def matmul_skinny(rng: np.random.Generator) -> Drawn:
    return product(rng, integer(rng, 1, 64), integer(rng, 64, 2048), integer(rng, 64, 2048))


def matmul_batched(rng: np.random.Generator) -> Drawn:
    batch, m, n, k = integer(rng, 2, 128), integer(rng, 4, 256), integer(rng, 4, 256), integer(rng, 4, 256)
    return Drawn(
        f"{batch} of {m}x{k} @ {k}x{n}", [(batch, m, k), (batch, k, n)], lambda lib: lib.matmul, 2.0 * batch * m * n * k
    )


def linear(rng: np.random.Generator) -> Drawn:
    rows, k, n = integer(rng, 1, 512), near(rng, 8, 2048), near(rng, 8, 2048)
    activation = ["none", "ReLU", "Tanh", "GELU"][rng.integers(4)]

    def build(library: Any) -> Callable[..., Any]:
        layers = [library.nn.Linear(k, n)]
        if activation != "none":
            layers.append(getattr(library.nn, activation)())
        return library.nn.Sequential(*layers)

    return Drawn(f"{rows}x{k} -> {n}, {activation}", [(rows, k)], build, 2.0 * rows * n * k)


# ---- Convolutions ----


def convolution(
    rng: np.random.Generator,
    channels: tuple[int, int],
    width: tuple[int, int],
    kernel: int,
    groups: Callable[[int], int] = lambda channels: 1,
    stride: int = 1,
    dilation: int = 1,
    image: tuple[int, int] = (5, 112),
) -> Drawn:
    while True:
        n, c, h = integer(rng, 1, 64), near(rng, *channels), integer(rng, *image)
        w = h if rng.random() < 0.5 else integer(rng, *image)
        g = groups(c)
        k = c if g == c > 1 else max(1, near(rng, *width) // g) * g
        c = max(1, c // g) * g
        padding = dilation * (kernel // 2)
        out = [(side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for side in (h, w)]
        flops = 2.0 * n * k * out[0] * out[1] * (c // g) * kernel * kernel
        if 1e6 <= flops <= 4e9 and n * max(c, k) * h * w <= 1 << 24:
            break

    def build(library: Any) -> Any:
        return library.nn.Conv2d(c, k, kernel, stride, padding, dilation, g, bias=True)

    label = f"{n}x{c}x{h}x{w} -> {k}, {kernel}x{kernel}"
    label += f" stride {stride}" * (stride > 1) + f" dilation {dilation}" * (dilation > 1) + f" groups {g}" * (g > 1)
    return Drawn(label, [(n, c, h, w)], build, flops, channels_last=channels[0] > 4)


def conv_3x3(rng: np.random.Generator) -> Drawn:
    return convolution(rng, (16, 256), (16, 256), 3)


def conv_1x1(rng: np.random.Generator) -> Drawn:
    return convolution(rng, (16, 512), (16, 512), 1, stride=1 + int(rng.random() < 0.25))


def conv_other(rng: np.random.Generator) -> Drawn:
    kernel, stride, dilation = [(3, 2, 1), (5, 1, 1), (7, 1, 1), (7, 2, 1), (3, 1, 2), (5, 2, 1)][rng.integers(6)]
    return convolution(rng, (5, 256), (8, 256), kernel, stride=stride, dilation=dilation)


def conv_first(rng: np.random.Generator) -> Drawn:
    kernel, stride = [(3, 1), (3, 2), (5, 1), (7, 2)][rng.integers(4)]
    return convolution(rng, (1, 4), (8, 96), kernel, stride=stride, image=(16, 224))


def conv_depthwise(rng: np.random.Generator) -> Drawn:
    kernel = [3, 3, 5, 7][rng.integers(4)]
    return convolution(rng, (16, 512), (16, 512), kernel, lambda channels: channels, 1 + int(rng.random() < 0.3))


def conv_grouped(rng: np.random.Generator) -> Drawn:
    count = 2 ** int(rng.integers(1, 6))
    return convolution(rng, (32, 512), (32, 512), 3, lambda channels: min(count, channels // 2))


# ---- Images: pooling and batch norm ----


def image_shape(rng: np.random.Generator) -> tuple[int, ...]:
    while True:
        shape = (integer(rng, 1, 64), near(rng, 8, 512), integer(rng, 4, 112), integer(rng, 4, 112))
        if 1 << 12 <= math.prod(shape) <= 1 << 23:
            return shape


def pooling(rng: np.random.Generator) -> Drawn:
    shape = image_shape(rng)
    kind = ["MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d"][rng.integers(3)]
    arguments = (
        (int(rng.integers(1, 5)),) if kind.startswith("Ada") else [(2, 2), (3, 2, 1), (3, 1, 1)][rng.integers(3)]
    )
    label = f"{'x'.join(map(str, shape))}, {kind}{tuple(arguments)}"
    return Drawn(label, [shape], lambda library: getattr(library.nn, kind)(*arguments), channels_last=True)


def batch_norm(rng: np.random.Generator) -> Drawn:
    shape = image_shape(rng)
    return Drawn("x".join(map(str, shape)), [shape], lambda lib: lib.nn.BatchNorm2d(shape[1]), channels_last=True)


# ---- Rows ----


def rows_shape(rng: np.random.Generator, widest: int = 8192) -> tuple[int, int]:
    while True:
        shape = integer(rng, 1, 16384), integer(rng, 8, widest)
        if 1 << 10 <= math.prod(shape) <= 1 << 23:
            return shape


def layer_norm(rng: np.random.Generator) -> Drawn:
    rows, width = rows_shape(rng)
    return Drawn(f"{rows}x{width}", [(rows, width)], lambda library: library.nn.LayerNorm(width))


def softmax(rng: np.random.Generator) -> Drawn:
    rows, width = rows_shape(rng)
    name = ["softmax", "log_softmax"][rng.integers(2)]
    return Drawn(
        f"{rows}x{width}, {name}", [(rows, width)], lambda lib: lambda x: getattr(lib.nn.functional, name)(x, dim=-1)
    )


def cross_entropy(rng: np.random.Generator) -> Drawn:
    rows, width = rows_shape(rng, 50000)
    return Drawn(f"{rows}x{width}", [(rows, width)], lambda lib: lib.nn.functional.cross_entropy, classes=(rows, width))


def reduction(rng: np.random.Generator) -> Drawn:
    rows, width = rows_shape(rng)
    name, dim = ["sum", "mean", "amax", "var", "logsumexp"][rng.integers(5)], int(rng.integers(2))
    return Drawn(
        f"{rows}x{width}, {name} over {dim}", [(rows, width)], lambda lib: lambda x: getattr(lib, name)(x, dim)
    )


# ---- Elementwise ----

SIZES = (1 << 12, 1 << 20, 1 << 24)
ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu", "mish", "softplus", "sigmoid", "tanh", "hardswish")
UNARY = ("exp", "log", "sqrt", "sin", "cos", "erf", "abs", "square", "expm1", "log1p", "reciprocal", "atan")
BINARY = ("add", "sub", "mul", "div", "maximum", "minimum", "atan2", "pow")


def some_size(rng: np.random.Generator) -> int:
    return int(SIZES[rng.integers(3)] * (0.75 + 0.5 * rng.random()))


def activation(rng: np.random.Generator) -> Drawn:
    name, n = ACTIVATIONS[rng.integers(len(ACTIVATIONS))], some_size(rng)
    return Drawn(f"{name} of {n}", [(n,)], lambda library: getattr(library.nn.functional, name))


def arithmetic(rng: np.random.Generator) -> Drawn:
    n = some_size(rng)
    if rng.random() < 0.5:
        name = UNARY[rng.integers(len(UNARY))]
        return Drawn(f"{name} of {n}", [(n,)], lambda library: getattr(library, name))
    name = BINARY[rng.integers(len(BINARY))]
    return Drawn(f"{name} of {n}", [(n,), (n,)], lambda library: getattr(library, name))


def random_numbers(rng: np.random.Generator) -> Drawn:
    n, name = some_size(rng), ["rand", "randn", "dropout"][rng.integers(3)]
    if name == "dropout":
        return Drawn(f"dropout of {n}", [(n,)], lambda library: lambda x: library.nn.functional.dropout(x, 0.3))
    return Drawn(f"{name} of {n}", [], lambda library: lambda: getattr(library, name)(n), trains=False)


# ---- Optimizers ----


def optimizer(rng: np.random.Generator) -> Drawn:
    """One step over many small tensors, or a few large ones."""
    name = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"][rng.integers(5)]
    if rng.random() < 0.5:
        sizes = [integer(rng, 10, 10_000) for _ in range(integer(rng, 20, 200))]
    else:
        sizes = [integer(rng, 100_000, 8_000_000) for _ in range(integer(rng, 1, 4))]

    def build(library: Any) -> Callable[..., Any]:
        leaves = [library.zeros(size).requires_grad_() for size in sizes]
        for leaf in leaves:
            leaf.grad = library.ones(leaf.shape[0])
        options: dict[str, Any] = {"momentum": 0.9} if name == "SGD" else {}
        if library.__name__ == "torch" and name not in ("RMSprop",):
            options["fused"] = True  # the fastest that it has for the CPU
        return getattr(library.optim, name)(leaves, lr=1e-3, **options).step

    return Drawn(f"{name}, {len(sizes)} tensors, {sum(sizes)} numbers", [], build, trains=False)


CLASSES: dict[str, Callable[[np.random.Generator], Drawn]] = {
    "matmul, 64 to 256": matmul_small,
    "matmul, 512 to 2048": matmul_large,
    "matmul, skinny": matmul_skinny,
    "matmul, batched": matmul_batched,
    "linear and activation": linear,
    "convolution 3x3": conv_3x3,
    "convolution 1x1": conv_1x1,
    "convolution strided, large, dilated": conv_other,
    "convolution, first layer": conv_first,
    "convolution, depthwise": conv_depthwise,
    "convolution, grouped": conv_grouped,
    "pooling": pooling,
    "batch norm": batch_norm,
    "layer norm": layer_norm,
    "softmax, log_softmax": softmax,
    "cross entropy": cross_entropy,
    "reductions": reduction,
    "activations": activation,
    "arithmetic and functions": arithmetic,
    "random numbers, dropout": random_numbers,
    "optimizers": optimizer,
}


def draw(name: str, count: int, seed: int) -> list[Drawn]:
    """`count` shapes of the class; the same for the same seed, whatever other classes are drawn."""
    rng = np.random.default_rng([seed, *name.encode()])
    return [CLASSES[name](rng) for _ in range(count)]
