"""Giving a kernel its surroundings: a copy of it, and of every helper it calls, with names of our choice as globals.

A kernel in ``kernels/<family>/cuda.py`` is a plain function that speaks of ``T`` (the dtype it is compiled for),
``math`` and ``cuda``; none of the three is defined in its file. The compiler and the simulator each put in their own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import numpy as np

_STORED = {"bool": np.uint8, "bfloat16": np.uint16}  # what a kernel sees of dtypes that it cannot compute in


def element(dtype: str) -> type[np.generic]:
    """The NumPy type of an array's elements as a kernel sees them; `T` for the array that the table's key points to."""
    return _STORED.get(dtype) or np.dtype(dtype).type


def helpers(function: FunctionType) -> dict[str, FunctionType]:
    """The plain functions `function` reaches by global names, directly or through other helpers, in the order met."""
    found: dict[str, FunctionType] = {}
    queue = [function]
    while queue:
        current = queue.pop(0)
        for name in _names(current.__code__):
            value = current.__globals__.get(name)
            if isinstance(value, FunctionType) and value is not function and name not in found:
                found[name] = value
                queue.append(value)
    return found


def rebind(
    function: FunctionType, names: dict[str, Any], wrap: Callable[[FunctionType], Any] = lambda f: f
) -> FunctionType:
    """A copy of `function` whose globals hold `names` before its module's own; helpers are copied too, then wrapped."""
    surroundings = {**function.__globals__, **names}
    inner = helpers(function)
    # One dictionary for all: a helper sees the same T as the kernel, and helpers see each other, whatever the order.
    for name, helper in inner.items():
        for key, value in helper.__globals__.items():
            surroundings.setdefault(key, value)
        surroundings[name] = wrap(_copy(helper, surroundings))
    return _copy(function, surroundings)


def source(function: FunctionType) -> str:
    """The text that decides what the kernel computes: its source, its helpers', the module constants they read."""
    functions = {function.__name__: function, **helpers(function)}
    parts = []
    for name, each in functions.items():
        parts.append(_text(each))
        for constant in _names(each.__code__):
            value = each.__globals__.get(constant)
            if isinstance(value, (int, float, bool, str, tuple)):
                parts.append(f"{name}: {constant} = {value!r}")
    return "\n".join(parts)


def mentions(function: FunctionType, words: frozenset[str]) -> bool:
    """Whether the kernel or one of its helpers uses any of these names, as a global or an attribute."""
    return any(words.intersection(_names(each.__code__)) for each in (function, *helpers(function).values()))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):  # comprehensions, before Python 3.12
            yield from _names(constant)


def _text(function: FunctionType) -> str:
    try:
        return inspect.getsource(function)
    except OSError:  # made by exec, or installed without sources
        code = function.__code__
        return repr((code.co_code, code.co_consts, code.co_names, code.co_varnames))


def _copy(function: FunctionType, surroundings: dict[str, Any]) -> FunctionType:
    copy = FunctionType(function.__code__, surroundings, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__module__ = function.__module__
    copy.__qualname__ = function.__qualname__
    copy.__doc__ = function.__doc__
    return copy
