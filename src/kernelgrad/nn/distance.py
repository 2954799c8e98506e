"""Layers that compare two batches of vectors."""

from __future__ import annotations

from kernelgrad.nn import functional as F
from kernelgrad.nn.module import Module
from kernelgrad.tensor import Tensor


class PairwiseDistance(Module):
    """``norm(x1 - x2 + eps, p)`` over the last dimension. Shape: (*, D), (*, D) -> (*), or (*, 1) with `keepdim`."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


class CosineSimilarity(Module):
    """``x1 . x2 / (|x1| |x2|)`` along `dim`, with the norms at least `eps`. Shape: (*, D, *), (*, D, *) -> (*, *)."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)
