from kernelgrad.core.array cimport Array


cdef Array batch_product(str name, Array a, Array b)
