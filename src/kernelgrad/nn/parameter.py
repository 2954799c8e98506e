"""`Parameter` and `Buffer`: tensors that a `Module` registers when they are assigned to it."""

from __future__ import annotations

from typing import Any

from kernelgrad.core import empty
from kernelgrad.core.array import rebind
from kernelgrad.core.copying import copy
from kernelgrad.tensor import Tensor


class Parameter(Tensor):
    """A tensor to be trained: assigned to an attribute of a `Module`, it joins the module's parameters.

    Shares the memory of `data`. Results of operations on parameters are plain tensors.
    """

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        rebind(self, _as_tensor("Parameter", data))
        self.requires_grad = requires_grad

    def __repr__(self) -> str:
        return f"Parameter containing:\n{Tensor.__repr__(self)}"

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) not in memo:
            memo[id(self)] = _restore(type(self), copy(self), self.requires_grad, dict(self.__dict__))
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return _restore, (type(self), self.detach(), self.requires_grad, dict(self.__dict__))


class Buffer(Tensor):
    """A tensor that is state but not trained: assigned to an attribute of a `Module`, it joins the module's buffers."""

    persistent: bool

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True) -> None:
        rebind(self, _as_tensor("Buffer", data))
        self.requires_grad = data is not None and data.requires_grad
        self.persistent = persistent

    def __deepcopy__(self, memo: dict[int, Any]) -> Buffer:
        if id(self) not in memo:
            memo[id(self)] = _restore(type(self), copy(self), self.requires_grad, dict(self.__dict__))
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return _restore, (type(self), self.detach(), self.requires_grad, dict(self.__dict__))


def _as_tensor(name: str, data: Tensor | None) -> Tensor:
    if data is None:
        return empty(0)
    if not isinstance(data, Tensor):
        raise TypeError(f"{name}: expected a Tensor, got {type(data).__name__}; make one with kernelgrad.tensor()")
    return data


def _restore(kind: type, data: Tensor, requires_grad: bool, attributes: dict[str, Any]) -> Any:
    restored = kind(data)
    restored.requires_grad = requires_grad
    restored.__dict__.update(attributes)
    return restored
