"""Sums over neighbourhoods, composed of other ops: power means of windows, normalization over neighbouring channels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kernelgrad.ops.pooling import avg_pool1d, avg_pool2d, max_pool1d, max_pool2d
from kernelgrad.ops.shape import pad
from kernelgrad.tensor import Tensor

Size = int | Sequence[int]


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
) -> Tensor:
    """``(sum of x ** p) ** (1 / p)`` of each window, p = `norm_type`. Shape: (N, C, L) -> (N, C, L_out)."""
    size = kernel_size if isinstance(kernel_size, int) else kernel_size[0]
    if math.isinf(norm_type):
        sign = 1 if norm_type > 0 else -1
        return sign * max_pool1d(sign * input.abs(), kernel_size, stride, ceil_mode=ceil_mode)
    mean = avg_pool1d(input**norm_type, kernel_size, stride, 0, ceil_mode)
    return (mean * size) ** (1.0 / norm_type)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
) -> Tensor:
    """``(sum of x ** p) ** (1 / p)`` of each window, p = `norm_type`. Shape: (N, C, H, W) -> (N, C, H_out, W_out)."""
    height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    if math.isinf(norm_type):
        sign = 1 if norm_type > 0 else -1
        return sign * max_pool2d(sign * input.abs(), kernel_size, stride, ceil_mode=ceil_mode)
    mean = avg_pool2d(input**norm_type, kernel_size, stride, 0, ceil_mode)
    return (mean * (height * width)) ** (1.0 / norm_type)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """``x / (k + alpha / size * sum of x ** 2 over size neighbouring channels) ** beta``. Shape: (N, C, *) -> same.

    Krizhevsky, Sutskever & Hinton (2012), https://doi.org/10.1145/3065386
    """
    if input.ndim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {input.ndim} dimensions)")
    channels = input.shape[1]
    squares = pad(input * input, (0, 0) * (input.ndim - 2) + (size // 2, (size - 1) // 2))
    total = squares.narrow(1, 0, channels)
    for i in range(1, size):
        total = total + squares.narrow(1, i, channels)
    return input / (total * (alpha / size) + k) ** beta
