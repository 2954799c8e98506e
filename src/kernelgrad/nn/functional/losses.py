"""Losses composed of elementwise ops and reductions. All take `reduction` "mean", "sum" or "none"."""

from __future__ import annotations

import math
from collections.abc import Callable

from kernelgrad.nn.functional.similarity import cosine_similarity, pairwise_distance
from kernelgrad.ops.activations import logsigmoid, softplus
from kernelgrad.ops.creation import arange, full_like
from kernelgrad.tensor import Tensor


def reduce_loss(loss: Tensor, reduction: str) -> Tensor:
    """The mean or the sum of `loss`, or `loss` itself."""
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"{reduction} is not a valid value for reduction")


def resolve_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """`reduction`, unless PyTorch's two old flags are given: they win."""
    if size_average is None and reduce is None:
        return reduction
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``log(1 + exp(-target input))``, targets 1 or -1. Shape: (*), (*)."""
    return reduce_loss(softplus(-(target * input)), resolve_reduction(size_average, reduce, reduction))


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``input`` where the target is 1, ``max(0, margin - input)`` where it is -1. Shape: (*), (*)."""
    positive = (target != -1).to(input.dtype) * input
    negative = (target != 1).to(input.dtype) * (-input + margin).clamp(min=0)
    return reduce_loss(positive + negative, resolve_reduction(size_average, reduce, reduction))


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, -target (input1 - input2) + margin)``, targets 1 or -1. Shape: (*), (*), (*)."""
    if not input1.ndim == input2.ndim == target.ndim:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.shape}, input2: {input2.shape}, target: {target.shape} "
        )
    loss = (margin - target * (input1 - input2)).clamp(min=0)
    return reduce_loss(loss, resolve_reduction(size_average, reduce, reduction))


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Mean over the C classes of ``-(target log(s) + (1 - target) log(1 - s))``, s = sigmoid(input). Shape: (*, C)."""
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return reduce_loss(loss.mean(-1), resolve_reduction(size_average, reduce, reduction))


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``sum over c != target of max(0, margin - input[target] + input[c]) ** p / C``. Shape: (N, C), (N,).

    Either without N too.
    """
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise ValueError("weight must be one-dimensional")
    rows = input.reshape(-1, input.shape[-1])
    index = target.reshape(-1, 1)
    hinge = (margin - rows.gather(1, index) + rows).clamp(min=0)
    if p == 2:
        hinge = hinge * hinge
    if weight is not None:
        hinge = hinge * weight[index.reshape(-1)].unsqueeze(1)
    others = arange(rows.shape[1], device=input.device).unsqueeze(0) != index
    loss = (hinge * others.to(input.dtype)).sum(1) / rows.shape[1]
    loss = loss.reshape(target.shape)
    return reduce_loss(loss, resolve_reduction(size_average, reduce, reduction))


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``1 - cos(input1, input2)`` where the target is 1, ``max(0, cos - margin)`` where it is -1.

    Shape: (N, D), (N, D), (N,), or without N.
    """
    cosine = cosine_similarity(input1, input2, dim=-1, eps=1e-12)
    positive = (target == 1).to(cosine.dtype) * (1 - cosine)
    negative = (target == -1).to(cosine.dtype) * (cosine - margin).clamp(min=0)
    return reduce_loss(positive + negative, resolve_reduction(size_average, reduce, reduction))


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, |anchor - positive| - |anchor - negative| + margin)``. Shape: (N, D) three times, or without N.

    With `swap` the nearer of anchor and positive counts against the negative.
    Balntas et al. (2016), https://doi.org/10.5244/C.30.119
    """
    return triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        distance_function=lambda x, y: pairwise_distance(x, y, p, eps),
        margin=margin,
        swap=swap,
        reduction=resolve_reduction(size_average, reduce, reduction),
    )


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` for a distance of one's own. Shape: (N, *) three times."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    distance = pairwise_distance if distance_function is None else distance_function
    far = distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return reduce_loss((distance(anchor, positive) - far + margin).clamp(min=0), reduction)


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``exp(input) - target input``, or with `log_input` False ``input - target log(input + eps)``. Shape: (*), (*).

    `full` adds Stirling's approximation of ``log(target!)`` where the target exceeds 1.
    """
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        above = (target > 1).to(loss.dtype)
        safe = target * above + (1 - above)  # log(0) times 0 would be nan
        loss = loss + (safe * safe.log() - safe + 0.5 * (2 * math.pi * safe).log()) * above
    return reduce_loss(loss, resolve_reduction(size_average, reduce, reduction))


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """``(log(var) + (input - target) ** 2 / var) / 2``, var at least `eps`. Shape: (*), (*), var (*) or broadcast.

    The bound on var passes its gradient as if it were not there. `full` adds ``log(2 pi) / 2``.
    """
    variance = var if isinstance(var, Tensor) else full_like(input, var)
    if (variance < 0).any().item():
        raise ValueError("var has negative entry/entries")
    if variance.shape == input.shape[:-1]:
        variance = variance.unsqueeze(-1)
    elif variance.shape[:-1] != input.shape[:-1] or variance.shape[-1] not in (1, input.shape[-1]):
        raise ValueError(f"var is of incorrect size: {tuple(variance.shape)} for an input of {tuple(input.shape)}")
    variance = variance + (variance.detach().clamp(min=eps) - variance.detach())
    difference = input - target
    loss = 0.5 * (variance.log() + difference * difference / variance)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduce_loss(loss, reduction)
