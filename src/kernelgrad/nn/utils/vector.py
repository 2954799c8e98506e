"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from kernelgrad.core import no_grad
from kernelgrad.ops.shape import cat
from kernelgrad.tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """The elements of all parameters, one after the other, as a 1-d tensor in the graph."""
    parameters = list(parameters)
    _check_devices(parameters)
    return cat([param.reshape(-1) for param in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Sets the parameters from what `parameters_to_vector` made; each becomes a view of `vec`."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected Tensor, but got: {type(vec).__name__}")
    parameters = list(parameters)
    _check_devices(parameters)
    start = 0
    with no_grad():
        for param in parameters:
            stop = start + param.numel()
            param.data = vec.detach()[start:stop].view(param.shape)
            start = stop


def _check_devices(parameters: list[Tensor]) -> None:
    if any(param.device != parameters[0].device for param in parameters):
        raise TypeError("Found two parameters on different devices, this is currently not supported.")
