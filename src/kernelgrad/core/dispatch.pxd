from libc.stdint cimport int64_t

from kernelgrad.core.array cimport Array

cdef extern from "runtime/kernel.h":
    ctypedef void kg_kernel(void **arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop) noexcept nogil

cdef enum:
    MAX_ARRAYS = 16
    MAX_SIZES = 48
    MAX_SCALARS = 16
    SERIAL_NS = 8000    # up to which one thread works alone: what is in one cache would first have to move to the other


cdef class Kernel:
    cdef readonly str name
    cdef readonly str family
    cdef readonly tuple simd
    cdef readonly tuple jit
    cdef readonly tuple cuda
    cdef readonly int key
    cdef readonly bint whole
    cdef readonly double ns
    cdef kg_kernel *entry[8]      # resolved C function for each dtype, or NULL
    cdef bint resolved[8]
    cdef dict compiled            # Numba's, by the dtypes of all arrays
    cdef object reference

    cdef int resolve(self, int code) except -1
    cdef kg_kernel *find(self, int code) except? NULL
    cdef int launch(self, void **arrays, int count, const int64_t *sizes, int n_sizes, const double *scalars, int n_scalars,
                    bint elementwise) except -1


cdef Kernel get_kernel(str name)
cdef kg_kernel *jit_function(Kernel k, void **arrays, int count, int n_sizes, int n_scalars, int code) except? NULL
cdef void run_chunks(kg_kernel *run, void **pointers, const int64_t *sizes, const double *scalars, double ns, int64_t grain) noexcept nogil
cdef bint observed() noexcept nogil
cdef int observe(Kernel k, list arrays, str backend) except -1
