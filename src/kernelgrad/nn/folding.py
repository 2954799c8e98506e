"""A convolution and the batch norm behind it as one convolution, for inference.

``(w * x + b - mean) / sqrt(var + eps) * gamma + beta`` is a convolution with the weight ``w s`` and the bias
``(b - mean) s + beta``, ``s = gamma / sqrt(var + eps)``: Jacob et al. (2018), https://arxiv.org/abs/1712.05877, section
3.2. Both are worked out in float64 and kept until one of the tensors that they are made of changes.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from kernelgrad.core import as_numpy, float32, from_numpy, is_grad_enabled, known_version
from kernelgrad.nn.module import Module
from kernelgrad.tensor import Tensor

kept: WeakKeyDictionary[Module, tuple[Any, ...]] = WeakKeyDictionary()  # norm -> (sources, versions, weight, bias)


def can_fold(conv: Any, norm: Any, input: Any) -> bool:
    """Whether `norm` is a fixed affine map of the channels that `conv` makes, and nobody wants a gradient."""
    return (
        not norm.training
        and not is_grad_enabled()
        and norm.running_mean is not None
        and norm.running_var is not None
        and norm.num_features == conv.out_channels
        and input.ndim == conv.dims + 2
        and input.ndim in norm.dims
        and all(t is None or (t.dtype is float32 and t.device.type == "cpu") for t in sources(conv, norm))
    )


def sources(conv: Any, norm: Any) -> tuple[Tensor | None, ...]:
    return conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var


def folded(conv: Any, norm: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias of the two as one."""
    made_of = sources(conv, norm)
    # A tensor that NumPy may write into has no version that tells of it: then nothing is kept.
    versions = (norm.eps, *(None if t is None else known_version(t) for t in made_of))
    before = kept.get(norm)
    if before is not None and before[1] == versions and all(a is b for a, b in zip(before[0], made_of, strict=True)):
        return before[2], before[3]
    values: list[Any] = [None if t is None else as_numpy(t).astype(np.float64) for t in made_of]
    weight, bias, gamma, beta, mean, var = values
    scale = 1 / np.sqrt(var + norm.eps)
    if gamma is not None:
        scale = scale * gamma
    shift = ((0 if bias is None else bias) - mean) * scale
    if beta is not None:
        shift = shift + beta
    weight = from_numpy_copy(weight * scale.reshape(-1, *[1] * conv.dims, 1))
    bias = from_numpy_copy(shift)
    if -1 not in versions:
        kept[norm] = (made_of, versions, weight, bias)
    else:
        kept.pop(norm, None)
    return weight, bias


def from_numpy_copy(a: np.ndarray) -> Tensor:
    """In memory of our own, which nothing else writes into."""
    out: Tensor = from_numpy(a.astype(np.float32)).clone()
    return out
