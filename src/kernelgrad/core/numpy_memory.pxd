from kernelgrad.core.array cimport Array

cdef object numpy_view(Array x)
