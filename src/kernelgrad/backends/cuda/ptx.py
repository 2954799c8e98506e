"""Plain Python kernels to PTX, with no GPU or driver asked. The only file that knows numba-cuda's insides.

Kernels are typed on raw pointers (``types.CPointer``), int64 sizes and float64 scalars, so that a launch passes one
machine word per argument; numba-cuda's own arrays would take 5 + 2 ndim words each.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any

import numba.cuda.codegen
import numba.cuda.dispatcher
import numpy as np
from numba import cuda, types
from numba.cuda import libdevice
from numba.extending import overload
from numba.np.numpy_support import from_dtype

from kernelgrad.backends.cuda.rebind import element, rebind

_ENTRY = re.compile(r"\.visible \.entry (\w+)")
_compiling = threading.Lock()


def compile_ptx(
    function: FunctionType, key: str, arrays: tuple[str, ...], sizes: int, scalars: int, capability: tuple[int, int]
) -> tuple[str, str]:
    """PTX and the name of its entry.

    Parameters
    ----------
    function : kernel(*arrays, *sizes, *scalars) as it stands in ``kernels/<family>/cuda.py``
    key : the dtype that ``T`` stands for, "float32"
    arrays : the dtype of each array's elements
    sizes, scalars : how many int64 and float64 arguments follow
    capability : compute capability, (9, 0)

    No fast-math: denormals, division and square roots keep their IEEE results, as on the CPU. Products and sums fuse.
    """
    names = {"T": element(key), "math": _math, "cuda": cuda}
    signature = types.void(
        *(types.CPointer(from_dtype(np.dtype(element(dtype)))) for dtype in arrays),
        *[types.int64] * sizes,
        *[types.float64] * scalars,
    )
    with _compiling, _adapted(capability):
        kernel = rebind(function, names, wrap=cuda.jit(device=True))
        ptx, _ = cuda.compile_ptx(kernel, signature, cc=capability)
    entry = _ENTRY.search(ptx)
    if entry is None:
        raise RuntimeError(f"numba-cuda made no entry point for {function.__name__}")
    return ptx, entry[1]


def _rint(x: float) -> float:
    """To the nearest integer, ties to even, in the type that came: Python's round goes through int64, up to 2**63."""
    raise NotImplementedError("only inside a kernel")


@overload(_rint, target="cuda")
def _rint_overload(x):  # no annotations: numba wants the very signature of the lambdas
    if x == types.float32:
        return lambda x: libdevice.rintf(x)
    if x == types.float64:
        return lambda x: libdevice.rint(x)
    return None


_math = ModuleType("math", "Python's math and what a kernel misses there.")
_math.__dict__.update({name: value for name, value in vars(math).items() if not name.startswith("_")}, rint=_rint)


@contextmanager
def _adapted(capability: tuple[int, int]) -> Iterator[None]:
    """numba-cuda with two changes, for the time of a compilation.

    Helpers are compiled for the current device, whose capability it asks of the driver: answered here. And a helper
    reached by two ways would be handed to NVVM twice, which calls its shared memory a redefinition: once is enough.
    """

    class Device:
        compute_capability = capability
        id = 0

    library: Any = numba.cuda.codegen.CUDACodeLibrary
    device_before, modules_before = numba.cuda.dispatcher.get_current_device, library.modules
    numba.cuda.dispatcher.get_current_device = Device
    library.modules = property(lambda self: list(dict.fromkeys(modules_before.fget(self))))
    try:
        yield
    finally:
        numba.cuda.dispatcher.get_current_device = device_before
        library.modules = modules_before
