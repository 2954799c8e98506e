"""A CUDA device made of Python: runs the very functions that the compiler takes, on host memory.

What it shows: wrong results, ragged edges, reads of shared memory nobody wrote (poisoned), indices past the end,
missing or divergent barriers, wrong shuffles. What it cannot show: rounding of fused products, races that its schedule
hides, memory fences, uint32 products (uint64 in Numba, uint32 here), speed.

Kernels that never wait for another thread run as plain calls, thread after thread; the others with one greenlet per
CUDA thread, switched at barriers and warp operations. Threads run forwards in one phase and backwards in the next, so
that code which leans on their order meets both.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from functools import cache
from types import FunctionType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from greenlet import getcurrent, greenlet

from kernelgrad.backends.cuda.rebind import element, mentions, rebind

WARP = 32
_COLLECTIVE = frozenset(
    ["shared", "syncthreads", "syncthreads_count", "syncthreads_and", "syncthreads_or", "syncwarp", "shfl_sync"]
    + ["shfl_up_sync", "shfl_down_sync", "shfl_xor_sync", "ballot_sync", "any_sync", "all_sync"]
)


class Dim3(NamedTuple):
    x: int
    y: int = 1
    z: int = 1


class SimulatorError(RuntimeError):
    """The kernel did what a GPU would answer with a hang or with undefined results."""


def simulate(
    function: FunctionType,
    key: str,
    arguments: Sequence[Any],
    grid: int | tuple[int, ...],
    block: int | tuple[int, ...],
    shared_bytes: int = 0,
) -> None:
    """Launch ``function(*arguments)`` over grid x block threads. Pointers are 1-d arrays, ``T`` is the dtype `key`."""
    kernel, device, collective = _prepared(function, key)
    device.gridDim, device.blockDim = _dim3(grid), _dim3(block)
    threads = list(_indices(device.blockDim))
    with np.errstate(all="ignore"):
        for index in _indices(device.gridDim):
            device.blockIdx = index
            if collective:
                device.enter_block(shared_bytes)
                _run_block(kernel, device, arguments, threads)
            else:
                for number, thread in enumerate(threads):
                    device.threadIdx, device.laneid = thread, number % WARP
                    kernel(*arguments)


@cache
def _prepared(function: FunctionType, key: str) -> tuple[FunctionType, Cuda, bool]:
    device = Cuda()
    names = {"T": element(key), "math": _math, "cuda": device}
    return rebind(function, names), device, mentions(function, _COLLECTIVE)


def _indices(size: Dim3) -> Iterator[Dim3]:
    return (Dim3(x, y, z) for z in range(size.z) for y in range(size.y) for x in range(size.x))


def _dim3(size: int | tuple[int, ...]) -> Dim3:
    return Dim3(size) if isinstance(size, int) else Dim3(*size)


# ---- what a kernel finds under the name `cuda` ----


class Cuda:
    """Stands in for the module ``numba.cuda``. Before a thread goes on, the scheduler sets threadIdx and laneid."""

    warpsize = WARP
    gridDim = blockDim = Dim3(1)
    blockIdx = threadIdx = Dim3(0, 0, 0)
    laneid = 0

    def __init__(self) -> None:
        self.shared = SimpleNamespace(array=self._shared_array)
        self.local = SimpleNamespace(array=lambda shape, dtype, alignment=None: _poisoned(shape, dtype))
        self.atomic = _Atomic
        self._shared: dict[Any, np.ndarray] = {}
        self._dynamic = np.empty(0, np.uint8)

    def enter_block(self, shared_bytes: int) -> None:
        self._shared = {}
        self._dynamic = _poisoned(shared_bytes, np.uint8)

    def grid(self, ndim: int) -> Any:
        at = tuple(b * d + t for b, d, t in zip(self.blockIdx, self.blockDim, self.threadIdx, strict=True))
        return at[0] if ndim == 1 else at[:ndim]

    def gridsize(self, ndim: int) -> Any:
        size = tuple(g * b for g, b in zip(self.gridDim, self.blockDim, strict=True))
        return size[0] if ndim == 1 else size[:ndim]

    def _shared_array(self, shape: Any, dtype: Any, alignment: int | None = None) -> np.ndarray:
        if shape == 0:
            return self._dynamic.view(dtype)
        frame = sys._getframe(1)
        place = (frame.f_code, frame.f_lasti)  # one array per place in the source, shared by the block's threads
        if place not in self._shared:
            self._shared[place] = _poisoned(shape, dtype)
        return self._shared[place]

    # barriers of the block
    def syncthreads(self) -> None:
        _wait("barrier")

    def syncthreads_count(self, predicate: Any) -> int:
        return sum(bool(p) for p in _wait("barrier", predicate))

    def syncthreads_and(self, predicate: Any) -> int:
        return int(all(_wait("barrier", predicate)))

    def syncthreads_or(self, predicate: Any) -> int:
        return int(any(_wait("barrier", predicate)))

    # exchange within a warp: a lane learns all lanes' values and picks; one that asks out of range keeps what it gave
    def syncwarp(self, mask: int = 0xFFFFFFFF) -> None:
        _wait("warp", None, mask)

    def shfl_sync(self, mask: int, value: Any, lane: int) -> Any:
        return self._pick(mask, value, int(lane))

    def shfl_up_sync(self, mask: int, value: Any, delta: int) -> Any:
        return self._pick(mask, value, self.laneid - int(delta))

    def shfl_down_sync(self, mask: int, value: Any, delta: int) -> Any:
        return self._pick(mask, value, self.laneid + int(delta))

    def shfl_xor_sync(self, mask: int, value: Any, lanes: int) -> Any:
        return self._pick(mask, value, self.laneid ^ int(lanes))

    def _pick(self, mask: int, value: Any, lane: int) -> Any:
        return _wait("warp", value, mask).get(lane, value)

    def ballot_sync(self, mask: int, predicate: Any) -> int:
        return sum(1 << lane for lane, value in _wait("warp", predicate, mask).items() if value)

    def any_sync(self, mask: int, predicate: Any) -> bool:
        return any(_wait("warp", predicate, mask).values())

    def all_sync(self, mask: int, predicate: Any) -> bool:
        return all(_wait("warp", predicate, mask).values())

    # threads are switched only where they wait, so memory is always in order
    def threadfence(self) -> None:
        """Nothing to do."""

    threadfence_block = threadfence_system = threadfence

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return type(a)(float(a) * float(b) + float(c))  # exact for float32, rounded twice for float64

    def selp(self, condition: Any, a: Any, b: Any) -> Any:
        return a if condition else b

    def popc(self, x: Any) -> int:
        return _bits(x).bit_count()

    def clz(self, x: Any) -> int:
        return np.dtype(type(x)).itemsize * 8 - _bits(x).bit_length()

    def ffs(self, x: Any) -> int:
        bits = _bits(x)
        return (bits & -bits).bit_length()


class _Atomic:
    """``cuda.atomic``: each returns the old value. One thread runs at a time, so plain updates are atomic.

    On shared memory alone: numba-cuda compiles no atomic through a pointer, whose view here lies on foreign memory.
    """

    @staticmethod
    def _update(array: np.ndarray, index: Any, combine: Callable[[Any], Any]) -> Any:
        if array.base is not None and not isinstance(array.base, np.ndarray):
            raise SimulatorError("cuda.atomic works on shared memory, not through the pointers a kernel is given")
        old = array[index]
        array[index] = combine(old)
        return old

    @classmethod
    def add(cls, array: np.ndarray, index: Any, value: Any) -> Any:
        return cls._update(array, index, lambda old: old + value)

    @classmethod
    def sub(cls, array: np.ndarray, index: Any, value: Any) -> Any:
        return cls._update(array, index, lambda old: old - value)

    @classmethod
    def max(cls, array: np.ndarray, index: Any, value: Any) -> Any:
        return cls._update(array, index, lambda old: max(old, value))

    @classmethod
    def min(cls, array: np.ndarray, index: Any, value: Any) -> Any:
        return cls._update(array, index, lambda old: min(old, value))

    @classmethod
    def exch(cls, array: np.ndarray, index: Any, value: Any) -> Any:
        return cls._update(array, index, lambda old: value)

    @classmethod
    def cas(cls, array: np.ndarray, index: Any, expected: Any, value: Any) -> Any:
        return cls._update(array, index, lambda old: value if old == expected else old)


def _poisoned(shape: Any, dtype: Any) -> np.ndarray:
    """Memory as a kernel finds it: nothing useful. NaN for floats, a large odd number for integers."""
    array = np.empty(shape, dtype)
    if array.dtype.kind == "f":
        array.fill(np.nan)
    else:
        array.view(np.uint8).fill(0x5B)
    return array


def _bits(x: Any) -> int:
    return int(x) & ((1 << np.dtype(type(x)).itemsize * 8) - 1)


def _typed(function: Callable[[float], float]) -> Callable[[Any], Any]:
    return lambda x: type(x)(function(float(x)))


# What a kernel finds under the name `math`: results in the argument's type, IEEE answers where Python's math raises.
_math = SimpleNamespace(
    **{name: getattr(np, name) for name in ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "hypot")},
    **{name: getattr(np, name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "fmod", "copysign", "fabs")},
    **{name: getattr(np, name) for name in ("isnan", "isinf", "isfinite", "floor", "ceil", "trunc", "rint")},
    **{"a" + name: getattr(np, "arc" + name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "tan2")},
    pow=np.power,
    erf=_typed(math.erf),
    erfc=_typed(math.erfc),
    lgamma=_typed(math.lgamma),
    gamma=_typed(math.gamma),
    pi=math.pi,
    e=math.e,
    tau=math.tau,
    inf=math.inf,
    nan=math.nan,
)


# ---- threads that wait for each other ----


class _Thread(NamedTuple):
    greenlet: Any
    place: Dim3
    lane: int


def _wait(kind: str, value: Any = None, mask: int = 0xFFFFFFFF) -> Any:
    """Called inside a thread: hand over to the scheduler, return with what the collective gave."""
    return getcurrent().parent.switch((kind, value, int(mask) & 0xFFFFFFFF))


def _run_block(kernel: FunctionType, device: Cuda, arguments: Sequence[Any], places: list[Dim3]) -> None:
    threads = [_Thread(greenlet(kernel), place, number % WARP) for number, place in enumerate(places)]
    for thread in threads:
        thread.greenlet.gr_context = copy_context()  # else NumPy's errstate would be the default one in there
    waiting: dict[int, Any] = {}  # thread number -> (kind, value, mask); finished threads are absent

    def resume(numbers: Sequence[int], *answer: Any) -> None:
        for number in numbers:
            thread = threads[number]
            device.threadIdx, device.laneid = thread.place, thread.lane
            request = thread.greenlet.switch(*answer)
            if thread.greenlet.dead:
                waiting.pop(number, None)
            else:
                waiting[number] = request

    everyone = range(len(threads))
    resume(everyone, *arguments)
    backwards = True
    while waiting:
        progress = False
        for first in range(0, len(threads), WARP):
            warp = [n for n in range(first, min(first + WARP, len(threads))) if n in waiting]
            for mask in {waiting[n][2] for n in warp if waiting[n][0] == "warp"}:
                group = [n for n in range(first, min(first + WARP, len(threads))) if mask >> threads[n].lane & 1]
                if all(n in waiting and waiting[n][0] == "warp" and waiting[n][2] == mask for n in group):
                    values = {threads[n].lane: waiting[n][1] for n in group}
                    resume(group[::-1] if backwards else group, values)
                    progress = True
        if waiting and all(request[0] == "barrier" for request in waiting.values()):
            numbers = sorted(waiting, reverse=backwards)
            resume(numbers, [request[1] for request in waiting.values()])
            progress = True
        if waiting and not progress:
            kinds = sorted({request[0] for request in waiting.values()})
            raise SimulatorError(
                f"{kernel.__name__}: block {tuple(device.blockIdx)} hangs, {len(waiting)} of {len(threads)} threads "
                f"wait at {' and '.join(kinds)} operations that the others never reach"
            )
        backwards = not backwards
