from kernelgrad.core.array cimport Array


cdef bint is_float(int code) noexcept nogil
cdef int category(int code) noexcept
cdef int result_code(list operands) except -1
cdef bint is_number(object x)
cdef Array number_array(object value, int code, int on)
cdef Array recorded_cast(Array source, Array wide)
