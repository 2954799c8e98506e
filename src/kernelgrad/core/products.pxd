from libc.stdint cimport int64_t

from kernelgrad.core.array cimport Array


cdef struct Matrices:
    # a batch of products C = A B: sizes, and strides in elements (gemm.h)
    int64_t batch, m, n, k
    int64_t a_row, a_col, b_row, b_col, c_row
    int64_t a_batch, b_batch, c_batch


cdef int gemm(Matrices *p, Array a, Array b, Array bias, Array packed, Array c, int activation, double alpha, double beta) except -1
