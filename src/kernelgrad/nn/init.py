"""Initial values for weights: PyTorch's functions, formulas and signatures, drawn from kernelgrad's generator.

Each fills its tensor in place, outside the graph, and returns it.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from kernelgrad.core import empty, no_grad
from kernelgrad.ops.creation import from_numpy
from kernelgrad.tensor import Tensor

LINEAR = (
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "sigmoid",
)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights are scaled up to make good for what `nonlinearity` takes from the variance."""
    if nonlinearity in LINEAR:
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3.0 / 4  # measured in PyTorch, not derived
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")


@no_grad()
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform in [a, b)."""
    return tensor.uniform_(a, b, generator=generator)


@no_grad()
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Normal with `mean` and standard deviation `std`."""
    return tensor.normal_(mean, std, generator=generator)


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Any = None
) -> Tensor:
    """Normal with `mean` and `std`, values outside [a, b] (absolute, not in units of `std`) drawn again."""
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. "
            "The distribution of values may be incorrect.",
            stacklevel=2,
        )
    inside = (math.erf((b - mean) / std / math.sqrt(2)) - math.erf((a - mean) / std / math.sqrt(2))) / 2
    peak = (max(a, min(mean, b)) - mean) / std
    values = np.empty(tensor.numel())
    left = np.arange(tensor.numel())
    while left.size:
        if inside > 0.3:
            candidates = mean + std * normal_(empty(left.size), generator=generator).numpy().astype(np.float64)
            accepted = (a <= candidates) & (candidates <= b)
        else:  # normal numbers would nearly all fall outside: draw uniform ones, accept by density
            candidates = a + (b - a) * uniform_(empty(left.size), generator=generator).numpy().astype(np.float64)
            density = np.exp((peak**2 - ((candidates - mean) / std) ** 2) / 2)
            accepted = uniform_(empty(left.size), generator=generator).numpy() < density
        values[left[accepted]] = candidates[accepted]
        left = left[~accepted]
    return _fill(tensor, values.reshape(tensor.shape))


@no_grad()
def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every element `val`."""
    return tensor.fill_(val)


@no_grad()
def ones_(tensor: Tensor) -> Tensor:
    """Every element 1."""
    return tensor.fill_(1.0)


@no_grad()
def zeros_(tensor: Tensor) -> Tensor:
    """Every element 0."""
    return tensor.zero_()


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix; 2-d."""
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    return _fill(tensor, np.eye(*tensor.shape))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Convolution weights that pass as many channels as possible through unchanged; 3-, 4- or 5-d."""
    if tensor.dim() not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    out_channels, in_channels, *window = tensor.shape
    if out_channels % groups != 0:
        raise ValueError("dim 0 must be divisible by groups")
    per_group = out_channels // groups
    values = np.zeros(tensor.shape)
    middle = tuple(size // 2 for size in window)
    for group in range(groups):
        for channel in range(min(per_group, in_channels)):
            place = (group * per_group + channel, channel, *middle)
            values[place] = 1
    return _fill(tensor, values)


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    if tensor.dim() < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    rows, columns, *window = tensor.shape
    field = math.prod(window)
    return columns * field, rows * field


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return fan_in if mode == "fan_in" else fan_out


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform in +-gain sqrt(6 / (fan_in + fan_out)).

    Glorot & Bengio (2010), https://proceedings.mlr.press/v9/glorot10a
    """
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    bound = gain * math.sqrt(6.0 / (fan_in + fan_out))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Normal with standard deviation gain sqrt(2 / (fan_in + fan_out)). Glorot & Bengio (2010)."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / (fan_in + fan_out)), generator)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """Uniform in +-gain sqrt(3 / fan); `a` is the negative slope of the leaky ReLU that follows.

    He et al. (2015), https://arxiv.org/abs/1502.01852
    """
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3.0 / _calculate_correct_fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """Normal with standard deviation gain / sqrt(fan); `a` is the negative slope of the leaky ReLU that follows.

    He et al. (2015), https://arxiv.org/abs/1502.01852
    """
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    std = calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))
    return normal_(tensor, 0.0, std, generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """A matrix with orthonormal rows or columns, whichever are fewer, times `gain`; trailing dimensions are flattened.

    Saxe et al. (2013), https://arxiv.org/abs/1312.6120
    """
    if tensor.dim() < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    normal = normal_(empty((rows, columns), dtype=tensor.dtype), generator=generator).numpy().astype(np.float64)
    q, r = np.linalg.qr(normal.T if rows < columns else normal)
    q *= np.sign(np.diag(r))  # makes the distribution uniform: https://arxiv.org/abs/math-ph/0609050
    q = q.T if rows < columns else q
    return _fill(tensor, (q * gain).reshape(tensor.shape))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """Normal with `std`, but in each column a fraction `sparsity` of the rows, chosen at random, is zero; 2-d.

    Martens (2010), https://icml.cc/Conferences/2010/papers/458.pdf
    """
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    rows, _ = tensor.shape
    values = normal_(empty(tensor.shape, dtype=tensor.dtype), 0, std, generator).numpy().copy()
    order = uniform_(empty(tensor.shape), generator=generator).numpy().argsort(axis=0)
    np.put_along_axis(values, order[: math.ceil(sparsity * rows)], 0, axis=0)
    return _fill(tensor, values)


@no_grad()
def _fill(tensor: Tensor, values: np.ndarray) -> Tensor:
    return tensor.copy_(from_numpy(np.ascontiguousarray(values)).to(tensor.dtype))
