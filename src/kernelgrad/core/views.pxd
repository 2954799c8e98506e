from libc.stdint cimport int64_t

from kernelgrad.core.array cimport Array
from kernelgrad.core.graph cimport Node

cdef struct Plan:
    int nd                 # of the output
    int source[8]
    int64_t size[8]        # of the output's dimensions
    int64_t start[8]       # of the input's dimensions
    int64_t step[8]
    bint whole             # every element of the input is in the output, once


cdef void identity(Plan *plan, Array x) noexcept
cdef Array apply_plan(Plan *plan, Array x)
cdef int dim_of(int64_t dim, int nd) except -1
cdef void link(Node node, Array x)
cdef Array view_by_plan(Array x, Plan *plan, str label)
