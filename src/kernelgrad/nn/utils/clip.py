"""Bounding gradients before an optimizer step."""

from __future__ import annotations

import math
import types
import warnings
from collections.abc import Iterable

from kernelgrad.core import no_grad
from kernelgrad.core.stepper import scale_all, squared_norm
from kernelgrad.ops.creation import tensor
from kernelgrad.ops.shape import stack
from kernelgrad.tensor import Tensor


@no_grad()
def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all elements of all tensors together, as a 0-d tensor; `norm_type` may be infinity."""
    tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    norm_type = float(norm_type)
    if not tensors:
        return tensor(0.0)
    if norm_type == 2.0:
        total = tensor(math.sqrt(squared_norm(tensors)), device=tensors[0].device)
    else:
        total = _vector_norm(stack([_vector_norm(each, norm_type) for each in tensors]), norm_type)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    return total


def _vector_norm(x: Tensor, p: float) -> Tensor:
    if p == 2:
        return (x * x).sum().sqrt()
    if p == math.inf:
        return x.abs().max()
    if p == -math.inf:
        return x.abs().min()
    if p == 0:
        return (x != 0).sum().to(x.dtype)
    return (x.abs() ** p).sum() ** (1 / p)


@no_grad()
def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scales the gradients in place by ``min(1, max_norm / (total_norm + 1e-6))``."""
    grads = _grads(parameters)
    if not grads:
        return
    total = float(total_norm)
    scale_all(grads, float(max_norm) / (total + 1e-6) if total + 1e-6 > max_norm or math.isnan(total) else 1.0)


@no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scales all gradients in place so that their norm together is at most `max_norm`; returns the norm before.

    `foreach` is accepted for PyTorch's sake and changes nothing.
    """
    if isinstance(parameters, types.GeneratorType):
        parameters = list(parameters)
        if not parameters:
            warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=3)
    elif not isinstance(parameters, Tensor):
        parameters = list(parameters)
    total_norm = get_total_norm(_grads(parameters), norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(parameters, max_norm, total_norm, foreach)
    return total_norm


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Bounds every element of every gradient, in place, to [-clip_value, clip_value]."""
    clip_value = float(clip_value)
    for grad in _grads(parameters):
        grad.clamp_(-clip_value, clip_value)


def _grads(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [param.grad for param in parameters if param.grad is not None]
