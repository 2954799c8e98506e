from libc.stdint cimport int64_t

cdef enum:
    CPU = 0
    CUDA = 1
    # dtype codes, in the order of promotion within a category
    BOOL = 0
    UINT8 = 1
    INT8 = 2
    INT32 = 3
    INT64 = 4
    BFLOAT16 = 5
    FLOAT32 = 6
    FLOAT64 = 7
    DTYPES = 8

cdef extern from *:
    """
    #include <stdint.h>
    static const int64_t kg_itemsizes[8] = {1, 1, 1, 4, 8, 2, 4, 8};
    """
    const int64_t kg_itemsizes[8]


cdef class dtype:
    cdef readonly int code
    cdef readonly int itemsize
    cdef readonly str name
    cdef readonly bint is_floating_point
    cdef readonly bint is_complex
    cdef readonly object numpy


cdef inline int64_t itemsize_of(int code) noexcept nogil:
    return kg_itemsizes[code]

cdef dtype dtype_of(int code)
cdef dtype dtype_of_numpy(object d)
cdef dtype default_float()
cdef object device_of(int on)
cdef object cuda_backend()
