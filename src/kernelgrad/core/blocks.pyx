"""Kernels that see an array's memory as a block of another shape, such as (outer, n, inner).

The C kernel takes pointers and runs at once; only its twins (Numba, NumPy, CUDA), and whoever watches, need arrays of that shape.
"""
from libc.stdint cimport int64_t

from kernelgrad.core.array cimport Array, DENSE, new_like, same_strides, view_of
from kernelgrad.core.copying cimport copy_into
from kernelgrad.core.dtypes cimport CPU
from kernelgrad.core.dispatch cimport Kernel, SERIAL_NS, kg_kernel, observed, run_chunks


cdef int run_direct(Kernel k, void **arrays, int count, const int64_t *sizes, const double *scalars, int64_t elements) except -1:
    """Call the C kernel on arrays (Array objects or NULL) where there is one for them; returns 1 if it ran."""
    cdef void *pointers[16]
    cdef kg_kernel *run
    cdef Array x = <Array>arrays[k.key]
    cdef int i
    if x.on != CPU or observed():
        return 0
    run = k.find(x.code)
    if run == NULL:
        return 0
    for i in range(count):
        pointers[i] = NULL if arrays[i] == NULL else (<Array>arrays[i]).data
    if elements * k.ns < SERIAL_NS:
        run(pointers, sizes, scalars, 0, sizes[0])
    elif k.whole:
        with nogil:
            run(pointers, sizes, scalars, 0, sizes[0])
    else:
        with nogil:
            run_chunks(run, pointers, sizes, scalars, elements * k.ns, 64 if sizes[0] >= elements else 1)
    return 1


cdef int run_blocks(Kernel k, void **arrays, int count, int blocks, int nd, const int64_t *dims, const int64_t *sizes, int n_sizes,
                    const double *scalars, int n_scalars) except -1:
    """The kernel over dense arrays, of which bit i of `blocks` marks those whose memory is a block of shape `dims`."""
    cdef int i, d
    cdef int64_t strides[8]
    cdef void *views[16]
    cdef list held
    if run_direct(k, arrays, count, sizes, scalars, (<Array>arrays[k.key]).size):
        return 0
    held = []
    strides[nd - 1] = 1
    for d in range(nd - 2, -1, -1):
        strides[d] = strides[d + 1] * dims[d + 1]
    for i in range(count):
        views[i] = arrays[i]
        if blocks >> i & 1 and arrays[i] != NULL:
            block = view_of(<Array>arrays[i], nd, dims, strides, 0)
            held.append(block)
            views[i] = <void *>block
    return k.launch(views, count, sizes, n_sizes, scalars, n_scalars, False)


cdef Array block_of(Array x, int64_t a, int64_t b, int64_t c):
    """The memory of a dense array as (a, b, c), or as (a, c) where b is 0."""
    cdef int64_t dims[3]
    cdef int64_t strides[3]
    if x is None:
        return None
    dims[0] = a
    dims[1] = b
    dims[2] = c
    strides[0] = b * c
    strides[1] = c
    strides[2] = 1
    if b == 0:
        dims[1] = c
        strides[0] = c
        strides[1] = 1
        return view_of(x, 2, dims, strides, 0)
    return view_of(x, 3, dims, strides, 0)


cdef Array flat_of(Array x):
    cdef int64_t one = 1
    return None if x is None else view_of(x, 1, &x.size, &one, 0)


cdef Array laid_like(Array x, Array model):
    """x in the memory layout of a dense array of the same shape."""
    cdef Array y
    if x is None or (x.layout & DENSE and same_strides(x, model)):
        return x
    y = new_like(model, x.code)
    copy_into(y, x)
    return y
