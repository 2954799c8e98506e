from libc.stdint cimport int64_t

from kernelgrad.core.array cimport Array
from kernelgrad.core.dispatch cimport Kernel


cdef Array broadcast_run(Kernel k, list inputs, int out_code, const double *scalars, int n_scalars, Array out)
cdef Array sum_to(Array g, int nd, const int64_t *dims)
