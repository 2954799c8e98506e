"""Numba twins for the CPU: plain functions of a family's jit.py, compiled to C callbacks that our thread pool calls.

A twin takes flat arrays, then sizes, scalars, start and stop. The wrapper made here has the signature of every C
kernel, unpacks the pointers and calls the twin, which LLVM inlines. No parallel=True (one thread pool is enough),
no fastmath.
"""

import functools
import importlib
import inspect

import numba
import numpy as np
from numba import types

LENGTH = 1 << 48  # of the flat views: kernels trust their sizes

inline_njit = numba.njit(error_model="numpy", inline="always")
"""Decorator for helpers that kernels of a jit.py call."""

SIGNATURE = types.void(
    types.CPointer(types.voidptr), types.CPointer(types.int64), types.CPointer(types.float64), types.int64, types.int64
)
alive: list = []  # compiled callbacks: their code lives as long as these


@functools.cache
def twin(family, name):
    function = getattr(importlib.import_module(f"kernelgrad.kernels.{family}.jit"), name)
    return function if hasattr(function, "py_func") else numba.njit(error_model="numpy")(function)


def compile_kernel(family, name, dtypes, n_sizes, n_scalars):
    """Address of a C callback for one kernel and the dtypes of its arrays (None for an absent one)."""
    function = twin(family, name)
    wanted = len(inspect.signature(function.py_func).parameters)
    if wanted != len(dtypes) + n_sizes + n_scalars + 2:
        raise TypeError(
            f"{name}: the Numba twin takes {wanted} arguments, called with {len(dtypes)} arrays, {n_sizes} sizes, "
            f"{n_scalars} scalars, start and stop"
        )
    names = {"carray": numba.carray, "twin": function, "LENGTH": LENGTH}
    arguments = []
    for i, dtype in enumerate(dtypes):
        names[f"t{i}"] = np.dtype(dtype or "float32").type
        arguments.append(f"carray(arrays[{i}], (LENGTH,), t{i})")
    arguments += [f"sizes[{i}]" for i in range(n_sizes)] + [f"scalars[{i}]" for i in range(n_scalars)]
    source = f"def {name}(arrays, sizes, scalars, start, stop):\n    twin({', '.join([*arguments, 'start', 'stop'])})\n"
    exec(source, names)  # noqa: S102 - the source is the line above
    callback = numba.cfunc(SIGNATURE, error_model="numpy")(names[name])
    alive.append(callback)
    return callback.address
