from kernelgrad.core.array cimport Array
from kernelgrad.core.dtypes cimport dtype

cdef Array scalar_array(double value, int code, int on)
cdef Array to_device(Array x, int on)
cdef int copy_into(Array dst, Array src) except -1
cpdef Array contiguous(Array x)
cpdef Array channels_last(Array x)
cpdef Array cast(Array x, dtype to)
