"""Norms and comparisons of vectors, composed of elementwise ops and sums."""

from __future__ import annotations

from kernelgrad.ops.shape import broadcast_tensors
from kernelgrad.tensor import Tensor


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    """``input / max(norm(input, p, dim), eps)``: vectors along `dim` of length 1. Shape: (*) -> (*)."""
    if out is not None:
        raise NotImplementedError("normalize: out= is not supported; assign the result")
    return input / input.norm(p, dim, keepdim=True).clamp(min=eps)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """``x1 . x2 / (max(|x1|, eps) max(|x2|, eps))`` along `dim`. Shape: (*, D, *), (*, D, *) broadcast -> (*, *)."""
    if x1.shape != x2.shape:  # `dim` counts in the common shape
        x1, x2 = broadcast_tensors(x1, x2)
    first = x1 / x1.norm(2, dim, keepdim=True).clamp(min=eps)
    second = x2 / x2.norm(2, dim, keepdim=True).clamp(min=eps)
    return (first * second).sum(dim)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """``norm(x1 - x2 + eps, p)`` over the last dimension. Shape: (*, D), (*, D) broadcast -> (*)."""
    return (x1 - x2 + eps).norm(p, -1, keepdim=keepdim)
