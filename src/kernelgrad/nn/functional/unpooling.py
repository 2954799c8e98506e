"""Maximum pooling undone: values back where they were taken, zeros elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kernelgrad.ops.creation import zeros
from kernelgrad.tensor import Tensor

Size = int | Sequence[int]


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """`input` at the `indices` that `max_pool1d` returned, 0 elsewhere. Shape: (N, C, L) -> (N, C, L_out)."""
    return _unpool("max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """`input` at the `indices` that `max_pool2d` returned, 0 elsewhere. Shape: (N, C, H, W) -> (N, C, H_out, W_out).

    `output_size` chooses among the sizes that pool to that of `input`; otherwise it is the smallest.
    """
    return _unpool("max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size)


def _unpool(name, dims, input, indices, kernel_size, stride, padding, output_size):
    if input.ndim not in (dims + 1, dims + 2) or input.shape != indices.shape:
        raise RuntimeError(
            f"{name}: expected input and indices of one shape and {dims + 1} or {dims + 2} dimensions, got "
            f"{tuple(input.shape)} and {tuple(indices.shape)}"
        )
    each = [(v,) * dims if isinstance(v, int) else tuple(v) for v in (kernel_size, stride or kernel_size, padding)]
    batch, steps, count = input.shape[:-dims], each[1], math.prod(input.shape[-dims:])
    least = [(n - 1) * s - 2 * p + k for n, k, s, p in zip(input.shape[-dims:], *each)]
    space = least if output_size is None else list(output_size)[-dims:]
    if any(not low - s < n < low + s for n, low, s in zip(space, least, steps)):
        raise ValueError(f"{name}: invalid output_size {list(space)}: expected about {least}")
    flat = zeros((*batch, math.prod(space)), dtype=input.dtype, device=input.device)
    return flat.scatter(-1, indices.reshape(*batch, count), input.reshape(*batch, count)).reshape(*batch, *space)
