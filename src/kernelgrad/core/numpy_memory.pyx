"""Memory shared with NumPy: arrays over NumPy's memory, and NumPy views of an array's."""
cimport numpy as cnp
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t, uintptr_t

from kernelgrad.core.array cimport Array, MAX_DIMS, blank, set_layout
from kernelgrad.core.dtypes cimport CPU, dtype, dtype_of_numpy, itemsize_of
from kernelgrad.core.memory cimport borrow_storage

import numpy as np

cnp.import_array()

cdef int numpy_types[8]
numpy_types[:] = [cnp.NPY_BOOL, cnp.NPY_UINT8, cnp.NPY_INT8, cnp.NPY_INT32, cnp.NPY_INT64, cnp.NPY_UINT16,
                  cnp.NPY_FLOAT32, cnp.NPY_FLOAT64]


def from_numpy(a):
    """An array that shares the memory of a NumPy array (a read-only one can be read, not written, by kernelgrad's ops)."""
    cdef cnp.ndarray source
    cdef Array x
    cdef int i
    cdef int64_t item, last = 0
    if not isinstance(a, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(a).__name__})")
    source = a
    d = dtype_of_numpy(source.dtype)
    if d is None:
        raise TypeError(f"from_numpy: dtype {source.dtype} is not supported; kernelgrad has float32, float64, int64, int32, int8, "
                        "uint8 and bool: convert with .astype()")
    if source.ndim > MAX_DIMS:
        raise ValueError(f"from_numpy: at most {MAX_DIMS} dimensions are supported, got {source.ndim}")
    x = blank((<dtype>d).code, CPU)
    item = itemsize_of(x.code)
    x.nd = source.ndim
    for i in range(x.nd):
        x.dims[i] = source.shape[i]
        if source.strides[i] < 0:
            raise ValueError("from_numpy: negative strides are not supported; pass a copy, such as array.copy()")
        if source.strides[i] % item:
            raise ValueError("from_numpy: strides must be whole elements; pass a copy, such as array.copy()")
        x.strides[i] = source.strides[i] // item
        last += (x.dims[i] - 1) * x.strides[i]
    set_layout(x)
    x.storage = borrow_storage(cnp.PyArray_DATA(source), (last + 1) * item if x.size else 0, a, not source.flags.writeable)
    x.data = x.storage.data
    if <uintptr_t>x.data % item:
        return from_numpy(a.copy())
    return x


cdef double empty_block = 0  # what an array without elements points to


cdef object numpy_view(Array x):
    """A NumPy array over x's memory (uint16 for bfloat16), which keeps the storage alive."""
    cdef cnp.npy_intp dims[8]
    cdef cnp.npy_intp strides[8]
    cdef int i
    cdef cnp.ndarray view
    for i in range(x.nd):
        dims[i] = x.dims[i]
        strides[i] = x.strides[i] * itemsize_of(x.code)
    view = cnp.PyArray_New(cnp.ndarray, x.nd, dims, numpy_types[x.code], strides,
                           x.data if x.data != NULL else <void *>&empty_block, 0,
                           0 if x.storage.read_only else cnp.NPY_ARRAY_WRITEABLE, None)
    Py_INCREF(x.storage)
    cnp.PyArray_SetBaseObject(view, x.storage)
    return view


def as_numpy(Array x not None):
    """NumPy view of a CPU array's memory, whatever its graph state; kernels' references work on these."""
    if x.on != CPU:
        raise TypeError("can't convert a cuda tensor to numpy: copy it to the host first with .cpu()")
    return numpy_view(x)


def known_version(Array x not None):
    """The version of x's memory, or -1 where NumPy may have changed it unseen."""
    return -1 if x.storage.exposed else x.storage.version


def shared_with_numpy(Array x not None):
    """`as_numpy` for users: from now on x may change without a new version, so nothing derived from it is kept."""
    view = as_numpy(x)
    x.storage.exposed = True
    return view
