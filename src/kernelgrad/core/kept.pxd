from libc.stdint cimport int64_t

from kernelgrad.core.array cimport Array


cdef class Kept:
    """Another form of a weight, for kernels that read the weight in an order of their own."""
    cdef object weight        # weak: the form goes with the weight
    cdef void *data
    cdef int64_t version
    cdef void *kernel         # whose form it is
    cdef int64_t method       # and of which of its methods
    cdef Array form           # None: not made, or nothing to keep


cdef Kept kept_of(dict store, Array weight)
