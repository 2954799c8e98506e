"""Dropout of whole channels, and dropout that keeps mean and variance."""

from __future__ import annotations

import math
import warnings

from kernelgrad.ops.creation import ones
from kernelgrad.ops.random import dropout
from kernelgrad.tensor import Tensor

SELU_FLOOR = -1.7580993408473766  # -scale alpha: what SELU tends to far below zero


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each channel becomes 0 with probability p, else is divided by 1 - p. Shape: (N, C, L) or (C, L) -> same."""
    _check(p)
    if input.ndim not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.ndim}D input. Note that dropout1d exists to "
            "provide channel-wise dropout on inputs with 1 spatial dimension, a channel dimension, and an optional "
            "batch dimension (i.e. 2D or 3D inputs)."
        )
    return _feature_dropout(input, p, training, inplace, batched=input.ndim == 3)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each channel becomes 0 with probability p, else is divided by 1 - p. Shape: (N, C, H, W) or (N, C, L) -> same."""
    _check(p)
    if input.ndim not in (3, 4):
        warnings.warn(
            f"dropout2d: Received a {input.ndim}-D input to dropout2d, which is deprecated and will result in an error "
            "in a future release. To retain the behavior and silence this warning, please use dropout instead.",
            stacklevel=2,
        )
    return _feature_dropout(input, p, training, inplace, batched=True)


def _feature_dropout(input: Tensor, p: float, training: bool, inplace: bool, batched: bool) -> Tensor:
    if not training or p == 0:
        return input
    if p == 1:
        return input.mul_(0) if inplace else input * 0
    mask = dropout(_mask(input, batched), p, True)
    return input.mul_(mask) if inplace else input * mask


def _mask(input: Tensor, batched: bool) -> Tensor:
    """A one for each channel of each sample."""
    kept = 2 if batched else 1
    shape = tuple(size if i < kept else 1 for i, size in enumerate(input.shape))
    return ones(shape, dtype=input.dtype, device=input.device)


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout for what comes out of `selu`: sets elements to SELU's floor, then restores mean and variance.

    Klambauer et al. (2017), https://arxiv.org/abs/1706.02515
    """
    return _alpha_dropout(input, p, training, inplace, features=False)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels. Shape: (N, C, *) -> same."""
    return _alpha_dropout(input, p, training, inplace, features=True)


def _alpha_dropout(input: Tensor, p: float, training: bool, inplace: bool, features: bool) -> Tensor:
    _check(p)
    if not training or p == 0:
        return input
    if p == 1:
        return input.mul_(0) if inplace else input * 0
    scale = 1 / math.sqrt((1 - p) * (1 + p * SELU_FLOOR**2))
    if features:
        mask = _mask(input, True)
    else:
        mask = ones(input.shape, dtype=input.dtype, device=input.device)
    kept = dropout(mask, p, True) * (1 - p)
    shift = (1 - kept) * (SELU_FLOOR * scale) - scale * SELU_FLOOR * p
    if inplace:
        return input.mul_(kept * scale).add_(shift)
    return input * (kept * scale) + shift


def _check(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
