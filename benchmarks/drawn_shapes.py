"""Random shapes of each class of op, by a seed: what `bench_random_shapes` times.

A claim of speed is a claim about every shape of a class, so none is chosen by hand here: sizes are log-uniform, within
what fits in a few hundred megabytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import calls
import numpy as np
from calls import Call


def integer(rng: np.random.Generator, low: int, high: int) -> int:
    """Log-uniform in low..high."""
    return min(high, int(low * (high / low + 1e-9) ** rng.random() + 0.5))


def near(rng: np.random.Generator, low: int, high: int) -> int:
    """Log-uniform; two times of three a multiple of 16 where that fits, as widths of real networks are."""
    size = integer(rng, low, high)
    return max(16, size // 16 * 16) if high >= 16 and low <= 16 <= size and rng.random() < 0.67 else size


# ---- Matrix products ----


def product(rng: np.random.Generator, m: int, n: int, k: int) -> Call:
    left, right = rng.random() < 0.25, rng.random() < 0.5
    return calls.product(m, n, k, left, right)


def matmul_small(rng: np.random.Generator) -> Call:
    return product(rng, integer(rng, 64, 256), integer(rng, 64, 256), integer(rng, 64, 256))


def matmul_large(rng: np.random.Generator) -> Call:
    return product(rng, integer(rng, 512, 2048), integer(rng, 512, 2048), integer(rng, 512, 2048))


def matmul_skinny(rng: np.random.Generator) -> Call:
    return product(rng, integer(rng, 1, 64), integer(rng, 64, 2048), integer(rng, 64, 2048))


def matmul_batched(rng: np.random.Generator) -> Call:
    return calls.batched_product(integer(rng, 2, 128), integer(rng, 4, 256), integer(rng, 4, 256), integer(rng, 4, 256))


def linear(rng: np.random.Generator) -> Call:
    rows, k, n = integer(rng, 1, 512), near(rng, 8, 2048), near(rng, 8, 2048)
    return calls.linear(rows, k, n, ["none", "ReLU", "Tanh", "GELU"][rng.integers(4)])


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
) -> Call:
    while True:
        n, c, h = integer(rng, 1, 64), near(rng, *channels), integer(rng, *image)
        w = h if rng.random() < 0.5 else integer(rng, *image)
        g = groups(c)
        k = c if g == c > 1 else max(1, near(rng, *width) // g) * g
        c = max(1, c // g) * g
        call = calls.convolution((n, c, h, w), k, kernel, stride, dilation, g)
        assert call.flops is not None
        if 1e6 <= call.flops <= 4e9 and n * max(c, k) * h * w <= 1 << 24:
            return call


def conv_3x3(rng: np.random.Generator) -> Call:
    return convolution(rng, (16, 256), (16, 256), 3)


def conv_1x1(rng: np.random.Generator) -> Call:
    return convolution(rng, (16, 512), (16, 512), 1, stride=1 + int(rng.random() < 0.25))


def conv_other(rng: np.random.Generator) -> Call:
    kernel, stride, dilation = [(3, 2, 1), (5, 1, 1), (7, 1, 1), (7, 2, 1), (3, 1, 2), (5, 2, 1)][rng.integers(6)]
    return convolution(rng, (5, 256), (8, 256), kernel, stride=stride, dilation=dilation)


def conv_first(rng: np.random.Generator) -> Call:
    kernel, stride = [(3, 1), (3, 2), (5, 1), (7, 2)][rng.integers(4)]
    return convolution(rng, (1, 4), (8, 96), kernel, stride=stride, image=(16, 224))


def conv_depthwise(rng: np.random.Generator) -> Call:
    kernel = [3, 3, 5, 7][rng.integers(4)]
    return convolution(rng, (16, 512), (16, 512), kernel, lambda channels: channels, 1 + int(rng.random() < 0.3))


def conv_grouped(rng: np.random.Generator) -> Call:
    count = 2 ** int(rng.integers(1, 6))
    return convolution(rng, (32, 512), (32, 512), 3, lambda channels: min(count, channels // 2))


# ---- Images: pooling and batch norm ----


def image_shape(rng: np.random.Generator) -> tuple[int, ...]:
    while True:
        shape = (integer(rng, 1, 64), near(rng, 8, 512), integer(rng, 4, 112), integer(rng, 4, 112))
        if 1 << 12 <= math.prod(shape) <= 1 << 23:
            return shape


def pooling(rng: np.random.Generator) -> Call:
    shape = image_shape(rng)
    kind = ["MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d"][rng.integers(3)]
    arguments = (
        (int(rng.integers(1, 5)),) if kind.startswith("Ada") else [(2, 2), (3, 2, 1), (3, 1, 1)][rng.integers(3)]
    )
    return calls.pooling(shape, kind, *arguments)


def batch_norm(rng: np.random.Generator) -> Call:
    return calls.batch_norm(image_shape(rng))


# ---- Rows ----


def rows_shape(rng: np.random.Generator, widest: int = 8192) -> tuple[int, int]:
    while True:
        shape = integer(rng, 1, 16384), integer(rng, 8, widest)
        if 1 << 10 <= math.prod(shape) <= 1 << 23:
            return shape


def layer_norm(rng: np.random.Generator) -> Call:
    return calls.layer_norm(*rows_shape(rng))


def softmax(rng: np.random.Generator) -> Call:
    rows, width = rows_shape(rng)
    return calls.softmax(rows, width, ["softmax", "log_softmax"][rng.integers(2)])


def cross_entropy(rng: np.random.Generator) -> Call:
    return calls.cross_entropy(*rows_shape(rng, 50000))


def reduction(rng: np.random.Generator) -> Call:
    rows, width = rows_shape(rng)
    name, dim = ["sum", "mean", "amax", "var", "logsumexp"][rng.integers(5)], int(rng.integers(2))
    return calls.reduction(rows, width, name, dim)


# ---- Elementwise ----

SIZES = (1 << 12, 1 << 20, 1 << 24)
ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu", "mish", "softplus", "sigmoid", "tanh", "hardswish")
UNARY = ("exp", "log", "sqrt", "sin", "cos", "erf", "abs", "square", "expm1", "log1p", "reciprocal", "atan")
BINARY = ("add", "sub", "mul", "div", "maximum", "minimum", "atan2", "pow")


def some_size(rng: np.random.Generator) -> int:
    return int(SIZES[rng.integers(3)] * (0.75 + 0.5 * rng.random()))


def activation(rng: np.random.Generator) -> Call:
    name = ACTIVATIONS[rng.integers(len(ACTIVATIONS))]
    return calls.activation(name, some_size(rng))


def arithmetic(rng: np.random.Generator) -> Call:
    n = some_size(rng)
    if rng.random() < 0.5:
        return calls.arithmetic(UNARY[rng.integers(len(UNARY))], n, 1)
    return calls.arithmetic(BINARY[rng.integers(len(BINARY))], n, 2)


def random_numbers(rng: np.random.Generator) -> Call:
    n = some_size(rng)
    return calls.random_numbers(["rand", "randn", "dropout"][rng.integers(3)], n)


# ---- Optimizers ----


def optimizer(rng: np.random.Generator) -> Call:
    """One step over many small tensors, or a few large ones."""
    name = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"][rng.integers(5)]
    if rng.random() < 0.5:
        return calls.optimizer(name, [integer(rng, 10, 10_000) for _ in range(integer(rng, 20, 200))])
    return calls.optimizer(name, [integer(rng, 100_000, 8_000_000) for _ in range(integer(rng, 1, 4))])


CLASSES: dict[str, Callable[[np.random.Generator], Call]] = {
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


def draw(name: str, count: int, seed: int) -> list[Call]:
    """`count` shapes of the class; the same for the same seed, whatever other classes are drawn."""
    rng = np.random.default_rng([seed, *name.encode()])
    return [CLASSES[name](rng) for _ in range(count)]
