"""Compiled caller of the reductions of everything to one number: sum and mean.

A dense float array is summed in the order of its memory, whatever its layout, and backward fills an array laid out alike.
Other dtypes, devices, gaps, and reductions over some dimensions go to `general`, a function of ops.
"""
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from kernelgrad.core.array cimport Array, CPU, DENSE, FLOAT32, FLOAT64, new_array, view_of
from kernelgrad.core.dispatch cimport Kernel, get_kernel, kg_kernel, observed
from kernelgrad.core.graph cimport Node, edge_of, grad_enabled, record, send

cdef int64_t SMALL = 65536      # elements, some 5 us: for less, letting go of the GIL costs more than it gives


cdef int run_full(Kernel k, Array whole, Array one, bint whole_first) except -1:
    """A kernel over (1, n, 1) and (1, 1)."""
    cdef int64_t sizes[3]
    cdef int64_t strides[3]
    cdef void *arrays[2]
    cdef kg_kernel *run
    cdef int first = 0 if whole_first else 1
    cdef Array block, result
    sizes[0] = 1
    sizes[1] = whole.size
    sizes[2] = 1
    if whole.on == CPU and not observed():
        run = k.find(whole.code)
        if run != NULL:
            arrays[first] = whole.data
            arrays[1 - first] = one.data
            if whole.size < SMALL:
                run(arrays, sizes, NULL, 0, 1)
            else:
                with nogil:
                    run(arrays, sizes, NULL, 0, 1)
            return 0
    strides[0] = whole.size
    strides[1] = 1
    strides[2] = 1
    block = view_of(whole, 3, sizes, strides, 0)
    strides[0] = 1
    result = view_of(one, 2, strides, strides, 0)      # (1, 1)
    arrays[first] = <void *>block
    arrays[1 - first] = <void *>result
    return k.launch(arrays, 2, sizes, 3, NULL, 0, False)


cdef class FullReduction:
    """An op ``op(input, dim=None, keepdim=False, *, dtype=None)``, kernels <name>_forward and <name>_backward."""
    cdef readonly str __name__
    cdef public str __doc__
    cdef Kernel forward, backward
    cdef object general

    def __init__(self, str name, general):
        self.__name__ = name
        self.__doc__ = general.__doc__
        self.forward = get_kernel(name + "_forward")
        self.backward = get_kernel(name + "_backward")
        self.general = general

    def __repr__(self):
        return f"<op {self.__name__}>"

    def __call__(self, input, dim=None, keepdim=False, *, dtype=None):
        cdef Array x, out
        cdef FullNode node
        if dim is not None or dtype is not None or keepdim or not isinstance(input, Array):
            return self.general(input, dim, keepdim, dtype=dtype)
        x = <Array>input
        if (x.code != FLOAT32 and x.code != FLOAT64) or x.on != CPU or not x.layout & DENSE:
            return self.general(input, dim, keepdim, dtype=dtype)
        out = new_array(0, NULL, x.code, CPU, False)
        run_full(self.forward, x, out, True)
        if x.wants_grad and grad_enabled():
            node = FullNode.__new__(FullNode)
            node.op = self
            node.edges = (edge_of(x),)
            if x.output_nr:
                node.edge_nrs = (x.output_nr,)
            node.nd = x.nd
            node.layout = x.layout
            memcpy(node.dims, x.dims, sizeof(x.dims))
            memcpy(node.strides, x.strides, sizeof(x.strides))
            record(node, out)
        return out


cdef class FullNode(Node):
    cdef FullReduction op
    cdef int nd, layout
    cdef int64_t dims[8]
    cdef int64_t strides[8]

    def name(self):
        return self.op.__name__.title() + "Backward"

    cdef int apply(self) except -1:
        cdef Array g = self.grad
        cdef Array out = new_array(self.nd, self.dims, g.code, g.on, False)
        out.layout = self.layout
        memcpy(out.strides, self.strides, sizeof(self.strides))
        run_full(self.op.backward, out, g, False)
        return send(self, 0, out, True)
