"""Activations under PyTorch's signatures: the ops, with `inplace`, and what is composed of them."""

from __future__ import annotations

from typing import Any

from kernelgrad.core import INPUT, is_grad_enabled
from kernelgrad.ops import activations as ops
from kernelgrad.ops.creation import zeros_like
from kernelgrad.ops.elementwise import where
from kernelgrad.ops.random import rand_like
from kernelgrad.ops.softmax import softmax
from kernelgrad.tensor import Tensor


def _overwrite(op: Any, x: Tensor, *scalars: float) -> Tensor:
    """`x` becomes ``op(x, *scalars)``. Where backward needs the input that is lost so, it gets a copy."""
    if op.saves == INPUT and x.requires_grad and is_grad_enabled():
        return x.copy_(op(x.clone(), *scalars))
    return op.into(x, *scalars)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(x, 0)``."""
    return _overwrite(ops.relu, input) if inplace else ops.relu(input)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """``min(max(x, 0), 6)``."""
    return _overwrite(ops.relu6, input) if inplace else ops.relu6(input)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """``min(max(x, min_val), max_val)``."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return _overwrite(ops.hardtanh, input, min_val, max_val) if inplace else ops.hardtanh(input, min_val, max_val)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``x`` above 0, ``negative_slope x`` below."""
    return _overwrite(ops.leaky_relu, input, negative_slope) if inplace else ops.leaky_relu(input, negative_slope)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``x`` above 0, ``alpha (exp(x) - 1)`` below."""
    return _overwrite(ops.elu, input, alpha) if inplace else ops.elu(input, alpha)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``x`` above 0, ``alpha (exp(x / alpha) - 1)`` below."""
    return _overwrite(ops.celu, input, alpha) if inplace else ops.celu(input, alpha)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """``scale (max(x, 0) + min(alpha (exp(x) - 1), 0))``. Klambauer et al. (2017), https://arxiv.org/abs/1706.02515"""
    return _overwrite(ops.selu, input) if inplace else ops.selu(input)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """``x sigmoid(x)``."""
    return _overwrite(ops.silu, input) if inplace else ops.silu(input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """``x tanh(softplus(x))``. Misra (2019), https://arxiv.org/abs/1908.08681"""
    return _overwrite(ops.mish, input) if inplace else ops.mish(input)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``min(max(x / 6 + 1 / 2, 0), 1)``."""
    return _overwrite(ops.hardsigmoid, input) if inplace else ops.hardsigmoid(input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """``x hardsigmoid(x)``. Howard et al. (2019), https://arxiv.org/abs/1905.02244"""
    return _overwrite(ops.hardswish, input) if inplace else ops.hardswish(input)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """``x`` above `threshold`, `value` elsewhere."""
    return _overwrite(ops.threshold, input, threshold, value) if inplace else ops.threshold(input, threshold, value)


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """``x`` above 0; below, x times a slope drawn from [lower, upper] in training and their mean in evaluation."""
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    positive = (input > 0).to(input.dtype)
    slope = positive + (1 - positive) * (rand_like(input) * (upper - lower) + lower)
    return input.mul_(slope) if inplace else input * slope


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """``x`` above 0, ``weight x`` below; one weight for all, or one for each channel (dimension 1).

    He et al. (2015), https://arxiv.org/abs/1502.01852
    """
    if weight.ndim > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}")
    if weight.numel() != 1:
        channels = input.shape[1] if input.ndim >= 2 else 1
        if channels != weight.numel():
            raise RuntimeError(
                f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {weight.numel()} "
                f"and channel size = {channels}."
            )
        weight = weight.reshape(channels, *[1] * (input.ndim - 2))
    elif input.ndim == 0:
        weight = weight.reshape(())
    return where(input > 0, input, weight * input)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """``a sigmoid(b)``, where a and b are the halves of x along `dim`. Shape: (*, 2 D, *) -> (*, D, *).

    Dauphin et al. (2016), https://arxiv.org/abs/1612.08083
    """
    if input.ndim == 0:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    size = input.shape[dim]
    if size % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {size}")
    return input.narrow(dim, 0, size // 2) * ops.sigmoid(input.narrow(dim, size // 2, size // 2))


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """``softmax((logits + g) / tau)``, g Gumbel noise; with `hard` one-hot, but with the gradient of the soft sample.

    Jang, Gu & Poole (2016), https://arxiv.org/abs/1611.01144
    """
    noise = -(-(rand_like(logits).clamp(min=1e-38).log())).clamp(min=1e-38).log()
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    one_hot = zeros_like(soft).scatter_(dim, soft.detach().argmax(dim, keepdim=True), 1.0)
    return one_hot + (soft - soft.detach())


def relu_(input: Tensor) -> Tensor:
    """`relu` in place."""
    return relu(input, True)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """`leaky_relu` in place."""
    return leaky_relu(input, negative_slope, True)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`elu` in place."""
    return elu(input, alpha, True)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`celu` in place."""
    return celu(input, alpha, True)


def selu_(input: Tensor) -> Tensor:
    """`selu` in place."""
    return selu(input, True)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """`hardtanh` in place."""
    return hardtanh(input, min_val, max_val, True)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """`threshold` in place."""
    return _overwrite(ops.threshold, input, threshold, value)


def rrelu_(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Tensor:
    """`rrelu` in place."""
    return rrelu(input, lower, upper, training, True)
