"""Changing resolution, and moving between space and channels. Axes: N batch, C channels, H W height and width."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kernelgrad.core import Function
from kernelgrad.ops.creation import from_numpy, zeros
from kernelgrad.ops.gathering import index_select
from kernelgrad.ops.pooling import adaptive_avg_pool1d, adaptive_avg_pool2d
from kernelgrad.ops.shape import pad, stack
from kernelgrad.tensor import Tensor

Size = int | Sequence[int]

DIMS = {"nearest": (1, 2), "nearest-exact": (1, 2), "linear": (1,), "bilinear": (2,), "bicubic": (2,), "area": (1, 2)}


def interpolate(
    input: Tensor,
    size: Size | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resizes the spatial dimensions.

    Parameters
    ----------
    input : Tensor of shape (N, C, L) or (N, C, H, W), floating
    size : the output's spatial sizes; or
    scale_factor : what to multiply the input's sizes by, rounded down
    mode : "nearest", "nearest-exact", "linear" (3-d), "bilinear", "bicubic" (4-d) or "area"
    align_corners : whether the centres of the corner elements stay where they are, or the outer edges (the default);
        for the linear and cubic modes
    recompute_scale_factor : take positions from the sizes' ratio, not from the given factor
    antialias : not supported

    Returns
    -------
    Tensor of shape (N, C, L_out) or (N, C, H_out, W_out).
    """
    if mode not in DIMS:
        raise NotImplementedError(f"interpolate: mode {mode!r} is not supported; there are {', '.join(DIMS)}")
    dims = input.ndim - 2
    if dims not in DIMS[mode]:
        expected = " or ".join(f"{d + 2}D" for d in DIMS[mode])
        raise NotImplementedError(f"interpolate: mode {mode!r} takes {expected} input, got {input.ndim}D")
    if antialias:
        raise NotImplementedError("interpolate: antialias=True is not supported")
    smooth = mode in ("linear", "bilinear", "bicubic")
    if align_corners is not None and not smooth:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic"
        )
    sizes, factors = _output_sizes(input, size, scale_factor, dims)
    if recompute_scale_factor or scale_factor is None:
        factors = [None] * dims
    if mode == "area":
        return adaptive_avg_pool1d(input, sizes[0]) if dims == 1 else adaptive_avg_pool2d(input, sizes)
    nhwc = dims == 2 and input.is_channels_last() and not input.is_contiguous()
    if nhwc:
        input = input.permute(0, 2, 3, 1)
    for i in range(dims):
        dim = i + 1 if nhwc else i + 2
        # where nothing changes size, PyTorch heeds a fractional factor in these two modes only
        heeds = mode in ("nearest-exact", "bicubic") and factors[i] not in (None, 1.0)
        if input.shape[dim] != sizes[i] or heeds:
            input = _resize(input, dim, sizes[i], factors[i], mode, bool(align_corners))
    return input.permute(0, 3, 1, 2) if nhwc else input


def _output_sizes(input: Tensor, size, scale_factor, dims: int) -> tuple[list[int], list[float | None]]:
    if (size is None) == (scale_factor is None):
        raise ValueError("either size or scale_factor should be defined" if size is None else
                         "only one of size or scale_factor should be defined")  # fmt: skip
    given = size if scale_factor is None else scale_factor
    given = [given] * dims if isinstance(given, (int, float)) else list(given)
    if len(given) != dims:
        raise ValueError(
            f"interpolate: input has {dims} spatial dimensions, but size or scale_factor has {len(given)} values"
        )
    if scale_factor is None:
        return [int(n) for n in given], [None] * dims
    return [math.floor(input.shape[2 + i] * given[i]) for i in range(dims)], [float(factor) for factor in given]


def _resize(input: Tensor, dim: int, n_out: int, factor: float | None, mode: str, align_corners: bool) -> Tensor:
    """One dimension: gather the neighbours of each output position and sum them with their weights."""
    n_in = input.shape[dim]
    if min(n_in, n_out) <= 0:
        raise RuntimeError(f"interpolate: input and output sizes must be positive, got {n_in} and {n_out}")
    step = n_in / n_out if factor is None else 1 / factor
    position = np.arange(n_out)
    if mode in ("nearest", "nearest-exact"):
        shift = 0.5 if mode == "nearest-exact" else 0.0
        # in float32, as PyTorch: 3 * (10 / 6) is 5 there, and a little less in float64
        nearest = np.floor((position + shift).astype(np.float32) * np.float32(step)).astype(np.int64)
        return _take(input, dim, nearest)
    if align_corners:
        source = position * ((n_in - 1) / (n_out - 1) if n_out > 1 else 0.0)
    else:
        source = (position + 0.5) * step - 0.5
        if mode != "bicubic":
            source = np.maximum(source, 0)
    left = np.floor(source).astype(np.int64)
    t = source - left
    if mode == "bicubic":
        neighbours = [(-1, _cubic_far(t + 1)), (0, _cubic_near(t)), (1, _cubic_near(1 - t)), (2, _cubic_far(2 - t))]
    else:
        neighbours = [(0, 1 - t), (1, t)]
    shape = [1] * input.ndim
    shape[dim] = n_out
    terms = [
        _take(input, dim, left + offset) * from_numpy(weight.reshape(shape)).to(input.device).to(input.dtype)
        for offset, weight in neighbours
    ]
    return sum(terms[1:], terms[0])


def _take(input: Tensor, dim: int, index: np.ndarray) -> Tensor:
    return index_select(input, dim, from_numpy(np.clip(index, 0, input.shape[dim] - 1)).to(input.device))


# Keys (1981), https://doi.org/10.1109/TASSP.1981.1163711, with PyTorch's a = -3/4
def _cubic_near(t: np.ndarray) -> np.ndarray:
    return (1.25 * t - 2.25) * t * t + 1


def _cubic_far(t: np.ndarray) -> np.ndarray:
    return ((-0.75 * t + 3.75) * t - 6) * t + 3


def upsample(
    input: Tensor,
    size: Size | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """The old name of `interpolate`."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Turns channels into space. Shape: (*, C r r, H, W) -> (*, C, H r, W r), r = `upscale_factor`.

    Shi et al. (2016), https://arxiv.org/abs/1609.05158
    """
    r = upscale_factor
    if input.ndim < 3:
        raise RuntimeError(f"pixel_shuffle expects input to have at least 3 dimensions, but got {input.ndim}")
    *batch, channels, height, width = input.shape
    if r <= 0 or channels % (r * r):
        raise RuntimeError(
            f"pixel_shuffle expects its input's 'channel' dimension ({channels}) to be divisible by the square of "
            f"upscale_factor ({r})"
        )
    x = input.reshape(math.prod(batch), channels // (r * r), r, r, height, width).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(*batch, channels // (r * r), height * r, width * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Turns space into channels. Shape: (*, C, H r, W r) -> (*, C r r, H, W), r = `downscale_factor`."""
    r = downscale_factor
    if input.ndim < 3:
        raise RuntimeError(f"pixel_unshuffle expects input to have at least 3 dimensions, but got {input.ndim}")
    *batch, channels, height, width = input.shape
    if r <= 0 or height % r or width % r:
        raise RuntimeError(
            f"pixel_unshuffle expects height and width ({height}, {width}) to be divisible by downscale_factor ({r})"
        )
    x = input.reshape(math.prod(batch), channels, height // r, r, width // r, r).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(*batch, channels * r * r, height // r, width // r)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Deals the channels of `groups` groups in turn. Shape: (N, C, *) -> same.

    Zhang et al. (2017), https://arxiv.org/abs/1707.01083
    """
    batch, channels, *space = input.shape
    if groups <= 0 or channels % groups:
        raise RuntimeError(f"channel_shuffle: {channels} channels cannot be dealt from {groups} groups")
    return input.reshape(batch, groups, channels // groups, *space).transpose(1, 2).reshape(batch, channels, *space)


def unfold(input: Tensor, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1) -> Tensor:
    """Sliding windows as columns. Shape: (N, C, H, W) or (C, H, W) -> (N, C kh kw, L), L the number of windows."""
    if input.ndim not in (3, 4):
        raise RuntimeError(f"unfold: expected 3D or 4D input, got {input.ndim}D")
    kernel, dilated, border, step = _pair(kernel_size), _pair(dilation), _pair(padding), _pair(stride)
    padded = pad(input, (border[1], border[1], border[0], border[0]))
    rows, columns = _windows(padded.shape[-2:], kernel, dilated, step)
    taps = [
        padded[..., _tap(i, dilated[0], step[0], rows), _tap(j, dilated[1], step[1], columns)]
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]
    channels = input.shape[-3] * kernel[0] * kernel[1]
    return stack(taps, -3).reshape(*input.shape[:-3], channels, rows * columns)


def fold(
    input: Tensor, output_size: Size, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
) -> Tensor:
    """Sums columns back into the windows they came from. Shape: (N, C kh kw, L) -> (N, C, *output_size).

    Also without N.
    """
    if input.ndim not in (2, 3):
        raise RuntimeError(f"fold: expected 2D or 3D input, got {input.ndim}D")
    sizes = tuple(_pair(each) for each in (output_size, kernel_size, dilation, padding, stride))
    return _Fold.apply(input, *sizes)


class _Fold(Function):
    """The gradient of `unfold`; its own gradient is `unfold`."""

    @staticmethod
    def forward(ctx, input, size, kernel, dilated, border, step):
        ctx.sizes = kernel, dilated, border, step
        *batch, channels, count = input.shape
        space = [size[i] + 2 * border[i] for i in range(2)]
        rows, columns = _windows(space, kernel, dilated, step)
        if channels % (kernel[0] * kernel[1]) or count != rows * columns:
            raise RuntimeError(
                f"fold: input {tuple(input.shape)} does not fit {rows} x {columns} windows of {kernel[0]} x {kernel[1]}"
            )
        channels //= kernel[0] * kernel[1]
        taps = input.reshape(*batch, channels, kernel[0], kernel[1], rows, columns)
        out = zeros((*batch, channels, *space), dtype=input.dtype, device=input.device)
        for i in range(kernel[0]):
            for j in range(kernel[1]):
                window = out[..., _tap(i, dilated[0], step[0], rows), _tap(j, dilated[1], step[1], columns)]
                window.add_(taps[..., i, j, :, :])
        inner = out[..., border[0] : border[0] + size[0], border[1] : border[1] + size[1]]
        return inner.contiguous()

    @staticmethod
    def backward(ctx, grad_out):
        return (unfold(grad_out, *ctx.sizes),) + (None,) * 5


def _pair(size: Size) -> tuple[int, int]:
    first, second = (size, size) if isinstance(size, int) else size
    return first, second


def _windows(space: Sequence[int], kernel, dilated, step) -> tuple[int, int]:
    rows, columns = ((space[i] - dilated[i] * (kernel[i] - 1) - 1) // step[i] + 1 for i in range(2))
    if rows <= 0 or columns <= 0:
        raise RuntimeError(f"unfold, fold: a window of {kernel}, dilation {dilated}, does not fit into {tuple(space)}")
    return rows, columns


def _tap(i: int, dilation: int, step: int, count: int) -> slice:
    """The places that element i of the window takes as the window slides."""
    start = i * dilation
    return slice(start, start + step * (count - 1) + 1, step)
