from libc.stdint cimport int64_t

from kernelgrad.core.array cimport Array
from kernelgrad.core.dispatch cimport Kernel

cdef int run_direct(Kernel k, void **arrays, int count, const int64_t *sizes, const double *scalars, int64_t elements) except -1
cdef int run_blocks(Kernel k, void **arrays, int count, int blocks, int nd, const int64_t *dims, const int64_t *sizes, int n_sizes,
                    const double *scalars, int n_scalars) except -1
cdef Array block_of(Array x, int64_t a, int64_t b, int64_t c)
cdef Array flat_of(Array x)
cdef Array laid_like(Array x, Array model)
