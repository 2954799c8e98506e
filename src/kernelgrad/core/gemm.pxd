from libc.stdint cimport int64_t

from kernelgrad.core.array cimport Array


cdef struct Matrices:
    # a batch of products C = A B: sizes, and strides in elements (kernels/matmul/gemm.h)
    int64_t batch, m, n, k
    int64_t a_row, a_col, b_row, b_col, c_row
    int64_t a_batch, b_batch, c_batch


cdef int gemm(Matrices *p, Array a, Array b, Array bias, Array packed, Array c, int activation, double alpha,
              double beta) except -1
cdef Array column_sum(Array g, int64_t rows, int64_t columns)
cdef int dot(Array a, Array b, Array out) except -1
cdef void *compiled(Array x)
cdef bint dot_is_compiled(Array x)
cdef int check_pair(str name, Array a, Array b) except -1
cdef str sizes_text(Array x)
