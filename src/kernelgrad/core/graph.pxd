from libc.stdint cimport int64_t

from kernelgrad.core.array cimport Array


cdef class Node:
    """One recorded op. `edges`: for each input the Node that made it, the leaf Array itself, or None."""
    cdef tuple edges
    cdef tuple edge_nrs          # which output of each edge's Node, or None for all zero
    cdef int64_t sequence
    cdef Array grad              # upstream gradient of output 0 while the walk is under way
    cdef list grads              # of further outputs
    cdef int outputs
    cdef bint queued
    cdef bint released
    cdef object hooks            # {output_nr: [functions]} or None
    cdef readonly dict metadata

    cdef int apply(self) except -1
    cdef int release(self) except -1
    cdef str label(self)


cdef bint grad_enabled() noexcept nogil
cdef bint set_grad_enabled(bint on) noexcept nogil
cdef object edge_of(Array x)
cdef int connect(Node node, Array x, Array y, Array z) except -1
cdef void record(Node node, Array out) noexcept
cdef int send(Node node, int i, Array g, bint owned) except -1
cdef int check_version(Array x, int64_t version, Node node) except -1
cdef bint wanted(Node node, int i) noexcept
