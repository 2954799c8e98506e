"""Filling, copying, casting and moving between devices: no graph. Stands above dispatch, whose kernels do the larger ones."""
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy, memset

from kernelgrad.core.array cimport (Array, CHANNELS_LAST, CONTIGUOUS, DENSE, blank, new_array, new_like, same_strides, set_layout,
                                    shape_tuple)
from kernelgrad.core.dispatch cimport Kernel, get_kernel
from kernelgrad.core.dtypes cimport (BFLOAT16, CPU, CUDA, DTYPES, FLOAT32, FLOAT64, cuda_backend, default_float, dtype, dtype_of,
                                     itemsize_of)
from kernelgrad.core.memory cimport new_storage
from kernelgrad.core.numpy_memory cimport numpy_view

import numpy as np

from kernelgrad.core.array import empty
from kernelgrad.core.dispatch import use_backend
from kernelgrad.core.dtypes import bfloat16, bool_, device_code, float32, int64

cdef enum:
    FEW = 1024       # elements up to which NumPy, whose setup is shorter, copies
    SHARED = 1 << 17  # bytes from which the threads share a plain copy or filling

cdef Kernel strided_kernel = get_kernel("copy_strided")
cdef list cast_kernels = [get_kernel(f"cast_to_{dtype_of(code).name}") for code in range(DTYPES)]


cdef int strided_copy(Array src, Array dst) except -1:
    """dst[...] = src for equal shapes and dtypes, any strides, memory that does not overlap."""
    return run_copy(strided_kernel, (src, dst), (src.nd, *shape_tuple(src), *src.stride(), *dst.stride()))


cdef int filled(Array x, Array value) except -1:
    """x[...] = value, a single element of x's dtype; any strides."""
    if x.layout & DENSE:
        return run_copy(strided_kernel, (value, x), (1, x.size, 0, 1))
    return run_copy(strided_kernel, (value, x), (x.nd, *shape_tuple(x), *[0] * x.nd, *x.stride()))


cdef int cast_copy(Array x, Array out) except -1:
    """out[...] = x for two dtypes and one dense layout."""
    return run_copy(cast_kernels[out.code], (x, out), (x.size,))


cdef int run_copy(Kernel k, tuple arrays, tuple sizes) except -1:
    """A copy is no op: where the backend is narrowed to one that has none, it is made all the same."""
    try:
        k(arrays, sizes)
    except NotImplementedError:
        with use_backend("auto"):
            k(arrays, sizes)
    return 0


# ---- Filling ----

cdef Array scalar_array(double value, int code, int on):
    """A 0-d array that holds `value`."""
    cdef Array x = new_array(0, NULL, code, CPU, False)
    if code == FLOAT32:
        (<float *>x.data)[0] = <float>value
    elif code == FLOAT64:
        (<double *>x.data)[0] = value
    else:
        numpy_view(x)[...] = value
    return x if on == CPU else to_device(x, on)


cdef Array element(value, int code):
    """A 0-d array on the CPU that holds a number of any kind, exactly where the dtype can."""
    cdef Array x
    if code == BFLOAT16:
        return cast(element(value, FLOAT32), bfloat16)
    if code == FLOAT32:
        return scalar_array(value, code, CPU)
    x = new_array(0, NULL, code, CPU, False)
    numpy_view(x)[...] = value
    return x


def zeros(shape, dtype=None, device=None, channels_last=False):
    return zero_(empty(shape, dtype, device, channels_last))


def zero_(Array x not None):
    """Fill with zeros, in place."""
    if x.storage.read_only:
        raise RuntimeError("zero_: this tensor shares memory with a read-only NumPy array; clone() it first")
    if x.on != CPU or not x.layout & DENSE:
        return fill_(x, 0)
    if x.size * itemsize_of(x.code) > SHARED:
        filled(x, element(0, x.code))
    elif x.size:
        memset(x.data, 0, x.size * itemsize_of(x.code))
    x.storage.version += 1
    return x


def fill_(Array x not None, value):
    """Fill with one value, in place; no graph."""
    cdef Array one
    cdef int64_t i
    cdef float f
    if x.storage.read_only:
        raise RuntimeError("fill_: this tensor shares memory with a read-only NumPy array; clone() it first")
    if x.on != CPU:
        copy_into(x, full_on_cpu(x, value))
    elif x.code == FLOAT32 and x.layout & DENSE and x.size * 4 <= SHARED:
        f = value
        for i in range(x.size):
            (<float *>x.data)[i] = f
    elif x.size:
        one = element(value, x.code)
        if x.size > FEW:
            filled(x, one)
        else:
            numpy_view(x)[...] = numpy_view(one)
    x.storage.version += 1
    return x


cdef Array full_on_cpu(Array x, value):
    return fill_(new_array(x.nd, x.dims, x.code, CPU, False), value)


def full(shape, value, dtype=None, device=None):
    if dtype is None:
        dtype = bool_ if isinstance(value, bool) else int64 if isinstance(value, int) else default_float()
    return fill_(empty(shape, dtype, device), value)


# ---- Copies and devices ----

cdef Array to_device(Array x, int on):
    cdef Array y
    if x.on == on:
        return x
    if not x.layout & DENSE:
        x = contiguous(x)
    y = blank(x.code, on)
    y.nd = x.nd
    y.size = x.size
    y.layout = x.layout
    memcpy(y.dims, x.dims, sizeof(x.dims))
    memcpy(y.strides, x.strides, sizeof(x.strides))
    y.storage = new_storage(x.size * itemsize_of(x.code), on)
    y.data = y.storage.data
    if x.size:
        if on == CUDA:
            cuda_backend().to_device(<uintptr_t>y.data, <uintptr_t>x.data, x.size * itemsize_of(x.code))
        else:
            cuda_backend().from_device(<uintptr_t>y.data, <uintptr_t>x.data, x.size * itemsize_of(x.code))
    return y


def move(Array x not None, device):
    """`x` itself if it is on `device`, else a copy there; no graph."""
    return to_device(x, device_code(device))


cdef int copy_into(Array dst, Array src) except -1:
    """dst[...] = src for equal shapes and dtypes, any strides, CPU or CUDA; no graph, no version change."""
    cdef bint plain = dst.layout & DENSE and src.layout & DENSE and same_strides(dst, src)
    cdef int64_t nbytes = dst.size * itemsize_of(dst.code)
    if nbytes == 0:
        return 0
    if dst.on != src.on:
        if plain and dst.on == CUDA:
            cuda_backend().to_device(<uintptr_t>dst.data, <uintptr_t>src.data, nbytes)
            return 0
        if plain:
            cuda_backend().from_device(<uintptr_t>dst.data, <uintptr_t>src.data, nbytes)
            return 0
        return copy_into(dst, to_device(src, dst.on))
    if plain and dst.on == CPU:
        if nbytes > SHARED and dst.storage is not src.storage:
            run_copy(strided_kernel, (src, dst), (1, dst.size, 1, 1))
        else:
            memcpy(dst.data, src.data, nbytes)
    elif plain:
        cuda_backend().within_device(<uintptr_t>dst.data, <uintptr_t>src.data, nbytes)
    elif dst.on == CUDA:
        cuda_backend().copy_strided(dst, src)
    elif dst.size > FEW and dst.storage is not src.storage:
        strided_copy(src, dst)
    else:
        numpy_view(dst)[...] = numpy_view(src)
    return 0


def copy_(Array dst not None, Array src not None):
    """dst[...] = src for equal shapes and dtypes; counts as an in-place change of dst; no graph."""
    copy_into(dst, src)
    dst.storage.version += 1
    return dst


cpdef Array contiguous(Array x):
    """`x` itself if it is in C order, else a copy that is; no graph."""
    if x is None:
        raise TypeError("expected a Tensor, got None")
    cdef Array y
    if x.layout & CONTIGUOUS:
        return x
    y = new_array(x.nd, x.dims, x.code, x.on, False)
    copy_into(y, x)
    return y


cpdef Array channels_last(Array x):
    """`x` itself if its memory is NHWC, else a copy that is; 4-d; no graph."""
    if x is None:
        raise TypeError("expected a Tensor, got None")
    cdef Array y
    if x.layout & CHANNELS_LAST:
        return x
    if x.nd != 4:
        raise RuntimeError(f"channels_last: expected 4 dimensions, got {x.nd}")
    y = new_array(4, x.dims, x.code, x.on, True)
    set_layout(y)
    copy_into(y, x)
    return y


def copy(Array x not None):
    """A fresh array with x's values and (where dense) layout; no graph."""
    cdef Array y = new_like(x, x.code)
    copy_into(y, x)
    return y


cpdef Array cast(Array x, dtype to):
    """A copy of another dtype, or `x` itself where the dtype is already right; no graph. Rounds to nearest even."""
    if x is None or to is None:
        raise TypeError("expected a Tensor, got None")
    cdef Array y
    if x.code == to.code:
        return x
    if x.on != CPU and (x.code == BFLOAT16 or to.code == BFLOAT16):
        return to_device(cast(to_device(x, CPU), to), x.on)
    if x.on != CPU:
        x = x if x.layout & DENSE else contiguous(x)
        y = new_like(x, to.code)
        if x.size:
            cast_copy(x, y)
        return y
    y = new_like(x, to.code)
    if x.size > FEW and x.layout & DENSE:
        cast_copy(x, y)
        return y
    source, target = numpy_view(x), numpy_view(y)
    if x.code == BFLOAT16:
        wide = (source.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            target[...] = wide.astype(target.dtype)
    elif to.code == BFLOAT16:
        bits = source.astype(np.float32).view(np.uint32)
        rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
        target[...] = np.where((bits & 0x7FFFFFFF) > 0x7F800000, (bits >> 16) | 0x40, rounded).astype(np.uint16)
    else:
        with np.errstate(invalid="ignore", over="ignore"):
            np.copyto(target, source, casting="unsafe")
    return y
