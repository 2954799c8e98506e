"""Losses composed of elementwise ops and reductions. All take `reduction` "mean", "sum" or "none"."""

from __future__ import annotations

import math
from collections.abc import Callable

from kernelgrad.nn.functional.similarity import cosine_similarity, pairwise_distance
from kernelgrad.ops.activations import logsigmoid, softplus
from kernelgrad.ops.creation import arange, full_like, zeros_like
from kernelgrad.ops.loss import REDUCTIONS, read_reduction
from kernelgrad.tensor import Tensor


def _reduced(loss: Tensor, reduction: str, size_average: bool | None = None, reduce: bool | None = None) -> Tensor:
    """The mean or the sum of `loss`, or `loss` itself."""
    mode = read_reduction(reduction, size_average, reduce)
    if mode == REDUCTIONS["none"]:
        return loss
    return loss.mean() if mode == REDUCTIONS["mean"] else loss.sum()


def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``log(1 + exp(-target input))``, targets 1 or -1. Shape: (*), (*)."""
    return _reduced(softplus(-(target * input)), reduction, size_average, reduce)


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
    return _reduced(positive + negative, reduction, size_average, reduce)


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
    return _reduced(loss, reduction, size_average, reduce)


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
    return _reduced(loss.mean(-1), reduction, size_average, reduce)


def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``sum over labels y and other classes c of max(0, 1 - input[y] + input[c]) / C``. Shape: (N, C), (N, C).

    The labels of a row are the classes in `target` before its first -1. Either without N too.
    """
    if input.shape != target.shape or input.ndim > 2:
        raise RuntimeError(
            f"multilabel_margin_loss: inconsistent target size: {tuple(target.shape)} for input of size: "
            f"{tuple(input.shape)}"
        )
    classes = input.shape[-1] if input.ndim else 1
    rows, labels = input.reshape(-1, classes), target.reshape(-1, classes)
    given = (labels >= 0).to(input.dtype).cumprod(1)
    labels = labels.clamp(min=0)
    others = zeros_like(given).scatter_add(1, labels, given) == 0
    hinge = (1 - rows.gather(1, labels).unsqueeze(2) + rows.unsqueeze(1)).clamp(min=0)
    loss = (hinge * given.unsqueeze(2) * others.to(input.dtype).unsqueeze(1)).sum((1, 2)) / classes
    return _reduced(loss if input.ndim == 2 else loss.reshape(()), reduction, size_average, reduce)


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
    rows = input.reshape(-1, input.shape[-1] if input.ndim else 1)
    index = target.reshape(-1, 1)
    hinge = (margin - rows.gather(1, index) + rows).clamp(min=0)
    if p == 2:
        hinge = hinge * hinge
    if weight is not None:
        hinge = hinge * weight[index.reshape(-1)].unsqueeze(1)
    others = arange(rows.shape[1], device=input.device).unsqueeze(0) != index
    loss = (hinge * others.to(input.dtype)).sum(1) / rows.shape[1]
    loss = loss.reshape(target.shape)
    return _reduced(loss, reduction, size_average, reduce)


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
    return _reduced(positive + negative, reduction, size_average, reduce)


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
    loss = _triplet(anchor, positive, negative, lambda x, y: pairwise_distance(x, y, p, eps), margin, swap)
    return _reduced(loss, reduction, size_average, reduce)


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
    distance = pairwise_distance if distance_function is None else distance_function
    return _reduced(_triplet(anchor, positive, negative, distance, margin, swap), reduction)


def _triplet(
    anchor: Tensor, positive: Tensor, negative: Tensor, distance: Callable, margin: float, swap: bool
) -> Tensor:
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    far = distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return (distance(anchor, positive) - far + margin).clamp(min=0)


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
    return _reduced(loss, reduction, size_average, reduce)


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
    elif variance.ndim != input.ndim or [n for n, m in zip(variance.shape, input.shape) if n != m] not in ([], [1]):
        raise ValueError(f"var is of incorrect size: {tuple(variance.shape)} for an input of {tuple(input.shape)}")
    variance = variance + (variance.detach().clamp(min=eps) - variance.detach())
    difference = input - target
    loss = 0.5 * (variance.log() + difference * difference / variance)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return _reduced(loss, reduction)
