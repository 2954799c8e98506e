"""Compiled caller of softmax and log_softmax over one dimension of a dense array; backward keeps the output."""
from libc.stdint cimport int64_t

from kernelgrad.core.array cimport Array, DENSE, alias, new_like
from kernelgrad.core.copying cimport contiguous
from kernelgrad.core.dtypes cimport FLOAT32, FLOAT64
from kernelgrad.core.blocks cimport laid_like, run_blocks
from kernelgrad.core.dispatch cimport Kernel, get_kernel
from kernelgrad.core.graph cimport Node, check_version, edge_of, grad_enabled, record, send


cdef class Softmax:
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

    def __call__(self, input, dim=None, _stacklevel=3, dtype=None):
        cdef Array x
        cdef int64_t d
        if isinstance(input, Array) and dtype is None and type(dim) is int:
            x = <Array>input
            d = dim
            if (x.code == FLOAT32 or x.code == FLOAT64) and -x.nd <= d < x.nd:
                return self.run(x, d + x.nd if d < 0 else d)
        return self.general(input, dim, _stacklevel, dtype)

    cpdef Array run(self, Array x, int64_t dim):
        """x: float32 or float64; dim counted from 0."""
        cdef Array source = x if x.layout & DENSE else contiguous(x), out = new_like(source, x.code)
        cdef SoftmaxNode node
        cdef void *arrays[2]
        cdef int64_t dims[3]
        cdef int64_t sizes[3]
        dims[0], dims[1], dims[2] = 1, 1, x.size
        if x.nd and x.dims[dim] != 1 and x.size:
            dims[1] = x.dims[dim]
            dims[2] = source.strides[dim]
            dims[0] = x.size // (dims[1] * dims[2])
        sizes[0], sizes[1], sizes[2] = dims[0] * dims[2], dims[1], dims[2]
        arrays[0] = <void *>source
        arrays[1] = <void *>out
        run_blocks(self.forward, arrays, 2, 3, 3, dims, sizes, 3, NULL, 0)
        if x.wants_grad and grad_enabled():
            node = SoftmaxNode.__new__(SoftmaxNode)
            node.op = self
            node.edges = (edge_of(x),)
            if x.output_nr:
                node.edge_nrs = (x.output_nr,)
            node.dims[0], node.dims[1], node.dims[2] = dims[0], dims[1], dims[2]
            node.out = alias(out)            # not `out` itself: it will hold the node
            node.version = out.storage.version
            record(node, out)
        return out


cdef class SoftmaxNode(Node):
    cdef Softmax op
    cdef Array out
    cdef int64_t version
    cdef int64_t dims[3]

    cdef str label(self):
        return self.op.__name__.title().replace("_", "") + "Backward"

    cdef int release(self) except -1:
        self.out = None
        return 0

    cdef int apply(self) except -1:
        cdef void *arrays[3]
        cdef int64_t sizes[3]
        cdef Array g = self.grad, grad_x
        check_version(self.out, self.version, self)
        sizes[0], sizes[1], sizes[2] = self.dims[0] * self.dims[2], self.dims[1], self.dims[2]
        g = laid_like(g, self.out)
        grad_x = new_like(g, g.code)
        arrays[0] = <void *>self.out
        arrays[1] = <void *>g
        arrays[2] = <void *>grad_x
        run_blocks(self.op.backward, arrays, 3, 7, 3, self.dims, sizes, 3, NULL, 0)
        return send(self, 0, grad_x, True)
