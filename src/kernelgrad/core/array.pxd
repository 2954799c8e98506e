from libc.stdint cimport int64_t

from kernelgrad.core.memory cimport Storage

cdef enum:
    MAX_DIMS = 8
    # memory layout of an array, as bits
    CONTIGUOUS = 1        # C order, no gaps
    CHANNELS_LAST = 2     # 4-d, NHWC order, no gaps
    DENSE = 4             # some permutation of dimensions without gaps or overlap


cdef class Array:
    """Pointer, shape, strides (in elements), dtype, device, storage; and its place in the autograd graph."""
    cdef void *data
    cdef Storage storage
    cdef int64_t size                 # number of elements
    cdef int64_t dims[8]
    cdef int64_t strides[8]
    cdef int nd
    cdef int code                     # dtype code
    cdef int on                       # device
    cdef int layout
    cdef int output_nr                # which output of `node` this is
    cdef bint wants_grad              # requires_grad of a leaf, or has a node
    cdef bint is_view
    cdef object node                  # graph.Node that made it, or None
    cdef object grad_                 # accumulated gradient of a leaf
    cdef object hooks                 # tensor hooks of a leaf, or None
    cdef object __weakref__


cdef Array blank(int code, int on)
cdef Array new_array(int nd, const int64_t *dims, int code, int on, bint nhwc)
cdef Array new_like(Array x, int code)
cdef Array alias(Array x)
cdef Array view_of(Array x, int nd, const int64_t *dims, const int64_t *strides, int64_t offset)
cdef void set_layout(Array x) noexcept
cdef bint same_shape(Array a, Array b) noexcept
cdef bint same_strides(Array a, Array b) noexcept
cdef tuple shape_tuple(Array x)
cdef int read_shape(object shape, int64_t *dims) except -1
