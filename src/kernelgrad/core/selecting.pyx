"""Compiled callers of rows and elements by index, on the CPU: index_select, embedding, gather, scatter, scatter_add.

Indices are int64 and contiguous here; they are checked in C before use, and again before backward uses them, since they may be
the caller's own memory. Other dtypes and layouts of indices, and other devices, go by the `general` functions.
"""
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from kernelgrad.core.array cimport Array, CONTIGUOUS, alias, new_array, new_like, same_shape
from kernelgrad.core.copying cimport contiguous
from kernelgrad.core.dtypes cimport CPU, FLOAT32, FLOAT64, INT64, itemsize_of
from kernelgrad.core.blocks cimport run_direct
from kernelgrad.core.dispatch cimport Kernel, get_kernel
from kernelgrad.core.graph cimport Node, check_version, edge_of, grad_enabled, record, send, wanted

cdef Kernel normalize_kernel = get_kernel("normalize_index")
cdef Kernel take_kernel = get_kernel("embedding_forward")
cdef Kernel add_rows_kernel = get_kernel("add_rows_forward")
cdef Kernel gather_kernel = get_kernel("gather_forward")
cdef Kernel scatter_kernel = get_kernel("scatter_forward")
cdef Kernel scatter_add_kernel = get_kernel("scatter_add_forward")


cdef int run(Kernel k, Array a, Array b, Array c, const int64_t *sizes, int n_sizes, int64_t elements) except -1:
    cdef void *arrays[3]
    arrays[0], arrays[1], arrays[2] = <void *>a, <void *>b, <void *>c
    if run_direct(k, arrays, 3, sizes, NULL, elements):
        return 0
    return k.launch(arrays, 3, sizes, n_sizes, NULL, 0, False)


cdef bint plain_index(object index) noexcept:
    """Whether this is an index that the kernels take as it is."""
    return isinstance(index, Array) and (<Array>index).code == INT64 and (<Array>index).on == CPU and (<Array>index).layout & CONTIGUOUS


cdef int check_index(Array index, int64_t size, int64_t dim) except -1:
    """IndexError unless every index lies in [0, size)."""
    cdef void *arrays[3]
    cdef int64_t sizes[3]
    cdef int64_t one = 1, at
    cdef Array bad = new_array(1, &one, INT64, CPU, False)
    arrays[0], arrays[1], arrays[2] = <void *>index, NULL, <void *>bad
    sizes[0], sizes[1], sizes[2] = index.size, size, 0
    if not run_direct(normalize_kernel, arrays, 3, sizes, NULL, index.size):
        normalize_kernel.launch(arrays, 3, sizes, 3, NULL, 0, False)
    at = (<int64_t *>bad.data)[0]
    if at >= 0:
        raise IndexError(f"index {(<int64_t *>index.data)[at]} is out of bounds for dimension {dim} with size {size}")
    return 0


# ---- Rows ----

cdef Array take_rows(Array x, Array index, int64_t outer, int64_t inner, int64_t size, int nd, const int64_t *dims, int64_t padding,
                     str label):
    """out[o, i, :] = x[o, index[i], :] for x seen as (outer, size, inner), in an array of shape `dims`."""
    cdef Array source = x if x.layout & CONTIGUOUS else contiguous(x), out = new_array(nd, dims, x.code, CPU, False)
    cdef RowsNode node
    cdef int64_t sizes[4]
    sizes[0], sizes[1], sizes[2], sizes[3] = outer * index.size, index.size, size, inner
    if out.size:
        run(take_kernel, source, index, out, sizes, 4, out.size)
    if x.wants_grad and grad_enabled():
        node = RowsNode.__new__(RowsNode)
        node.edges = (edge_of(x),)
        if x.output_nr:
            node.edge_nrs = (x.output_nr,)
        node.index = index
        node.version = index.storage.version
        node.sizes[0], node.sizes[1], node.sizes[2], node.sizes[3], node.sizes[4] = outer, index.size, size, inner, 1
        node.nd = x.nd
        memcpy(node.dims, x.dims, sizeof(x.dims))
        node.padding = padding
        node.title = label
        record(node, out)
    return out


cdef class RowsNode(Node):
    """The gradient of each row is the sum of those of its copies, in order of position."""
    cdef Array index
    cdef int64_t version, padding
    cdef int64_t sizes[5]
    cdef int64_t dims[8]
    cdef int nd
    cdef str title

    cdef str label(self):
        return self.title

    cdef int release(self) except -1:
        self.index = None
        return 0

    cdef int apply(self) except -1:
        cdef Array g = contiguous(self.grad), out = new_array(self.nd, self.dims, g.code, CPU, False)
        cdef int64_t row = self.sizes[3] * itemsize_of(g.code)
        check_version(self.index, self.version, self)
        check_index(self.index, self.sizes[2], 0)
        if out.size:
            run(add_rows_kernel, g, self.index, out, self.sizes, 5, out.size + g.size)
            if self.padding >= 0:
                memset(<char *>out.data + self.padding * row, 0, row)
        return send(self, 0, out, True)


def add_rows(Array out not None, Array src not None, Array index not None, int64_t outer, int64_t rows, int64_t inner):
    """out[o, index[i]] += src[o, i] in order of i, in place; everything contiguous on the CPU, `index` checked."""
    cdef int64_t sizes[5]
    sizes[0], sizes[1], sizes[2], sizes[3], sizes[4] = outer, index.size, rows, inner, 0
    if src.size:
        run(add_rows_kernel, src, index, out, sizes, 5, src.size)
    return out


cdef class IndexSelect:
    cdef readonly str __name__
    cdef public str __doc__
    cdef object general

    def __init__(self, general):
        self.__name__ = "index_select"
        self.__doc__ = general.__doc__
        self.general = general

    def __repr__(self):
        return f"<op {self.__name__}>"

    def __call__(self, input, dim, index):
        cdef Array x
        cdef int64_t d, outer = 1, inner = 1
        cdef int64_t dims[8]
        cdef int i
        if isinstance(input, Array) and type(dim) is int and plain_index(index) and (<Array>index).nd == 1:
            x = <Array>input
            d = dim
            if x.on == CPU and -x.nd <= d < x.nd:
                d += x.nd if d < 0 else 0
                check_index(<Array>index, x.dims[d], d)
                for i in range(x.nd):
                    dims[i] = x.dims[i]
                    if i < d:
                        outer *= x.dims[i]
                    elif i > d:
                        inner *= x.dims[i]
                dims[d] = (<Array>index).size
                return take_rows(x, <Array>index, outer, inner, x.dims[d], x.nd, dims, -1, "IndexSelectBackward")
        return self.general(input, dim, index)


cdef class Embedding:
    cdef readonly str __name__
    cdef public str __doc__
    cdef object general

    def __init__(self, general):
        self.__name__ = "embedding"
        self.__doc__ = general.__doc__
        self.general = general

    def __repr__(self):
        return f"<op {self.__name__}>"

    def __call__(self, input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
        cdef Array x, index
        cdef int64_t padding = -1
        cdef int64_t dims[8]
        cdef int i
        if isinstance(weight, Array) and plain_index(input) and max_norm is None and not scale_grad_by_freq and not sparse:
            x = <Array>weight
            index = <Array>input
            if padding_idx is not None:
                padding = padding_idx
            if x.nd == 2 and x.on == CPU and index.nd < 8 and -x.dims[0] <= padding < x.dims[0]:
                if padding_idx is not None and padding < 0:
                    padding += x.dims[0]
                check_index(index, x.dims[0], 0)
                for i in range(index.nd):
                    dims[i] = index.dims[i]
                dims[index.nd] = x.dims[1]
                return take_rows(x, index, 1, x.dims[1], x.dims[0], index.nd + 1, dims, padding, "EmbeddingBackward")
        return self.general(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)


# ---- Elements ----

cdef bint alike_but(Array x, Array index, int64_t dim) noexcept:
    """Whether two arrays have the same sizes in all dimensions but one."""
    cdef int i
    if x.nd != index.nd:
        return False
    for i in range(x.nd):
        if i != dim and x.dims[i] != index.dims[i]:
            return False
    return True


cdef bint elements_fit(object input, object dim, object index) except -1:
    cdef Array x
    if not isinstance(input, Array) or type(dim) is not int or not plain_index(index):
        return False
    x = <Array>input
    return x.on == CPU and -x.nd <= <int64_t>dim < x.nd and alike_but(x, <Array>index, <int64_t>dim + (x.nd if <int64_t>dim < 0 else 0))


cdef class ElementsNode(Node):
    """What gather and scatter share: index, and sizes (outer, count, size, inner)."""
    cdef Array index
    cdef int64_t version
    cdef int64_t sizes[4]
    cdef int64_t dims[8]
    cdef int nd
    cdef bint gathers, adds

    cdef str label(self):
        return "GatherBackward" if self.gathers else "ScatterAddBackward" if self.adds else "ScatterBackward"

    cdef int release(self) except -1:
        self.index = None
        return 0

    cdef int prepare(self, Array x, Array index, int64_t dim) except -1:
        cdef int i
        dim += x.nd if dim < 0 else 0
        self.index = index
        self.version = index.storage.version
        self.nd = x.nd
        memcpy(self.dims, x.dims, sizeof(x.dims))
        self.sizes[0] = self.sizes[3] = 1
        self.sizes[1], self.sizes[2] = index.dims[dim], x.dims[dim]
        for i in range(x.nd):
            if i < dim:
                self.sizes[0] *= x.dims[i]
            elif i > dim:
                self.sizes[3] *= x.dims[i]
        return check_index(index, x.dims[dim], dim)

    cdef int apply(self) except -1:
        cdef Array g = contiguous(self.grad), out
        check_version(self.index, self.version, self)
        check_index(self.index, self.sizes[2], 0)
        if self.gathers:
            out = new_array(self.nd, self.dims, g.code, CPU, False)
            memset(out.data, 0, out.size * itemsize_of(g.code))
            if g.size:
                run(scatter_add_kernel, g, self.index, out, self.sizes, 4, g.size)
            return send(self, 0, out, True)
        if wanted(self, 0):
            if self.adds or not self.index.size:
                send(self, 0, self.grad, False)
            else:
                zeros = new_array(self.index.nd, self.index.dims, g.code, CPU, False)
                memset(zeros.data, 0, zeros.size * itemsize_of(g.code))
                out = copied(g)
                run(scatter_kernel, zeros, self.index, out, self.sizes, 4, zeros.size)
                send(self, 0, out, True)
        if wanted(self, 1):
            out = new_array(self.index.nd, self.index.dims, g.code, CPU, False)
            if out.size:
                run(gather_kernel, g, self.index, out, self.sizes, 4, out.size)
            send(self, 1, out, True)
        return 0


cdef Array copied(Array x):
    cdef Array out = new_like(x, x.code)
    memcpy(out.data, x.data, x.size * itemsize_of(x.code))
    return out


cdef class Gather:
    cdef readonly str __name__
    cdef public str __doc__
    cdef object general

    def __init__(self, general):
        self.__name__ = "gather"
        self.__doc__ = general.__doc__
        self.general = general

    def __repr__(self):
        return f"<op {self.__name__}>"

    def __call__(self, input, dim, index):
        cdef Array x, source, out
        cdef ElementsNode node
        if not elements_fit(input, dim, index):
            return self.general(input, dim, index)
        x = <Array>input
        node = ElementsNode.__new__(ElementsNode)
        node.gathers = True
        node.prepare(x, <Array>index, dim)
        source = x if x.layout & CONTIGUOUS else contiguous(x)
        out = new_array(node.index.nd, node.index.dims, x.code, CPU, False)
        if out.size:
            run(gather_kernel, source, node.index, out, node.sizes, 4, out.size)
        if x.wants_grad and grad_enabled():
            node.edges = (edge_of(x),)
            if x.output_nr:
                node.edge_nrs = (x.output_nr,)
            record(node, out)
        return out


cdef class Scatter:
    """scatter (the last of duplicates stays) and scatter_add (they add up)."""
    cdef readonly str __name__
    cdef public str __doc__
    cdef Kernel kernel
    cdef bint adds
    cdef object general

    def __init__(self, str name, bint adds, general):
        self.__name__ = name
        self.__doc__ = general.__doc__
        self.adds = adds
        self.kernel = scatter_add_kernel if adds else scatter_kernel
        self.general = general

    def __repr__(self):
        return f"<op {self.__name__}>"

    def __call__(self, input, dim, index, src=None, **options):
        cdef Array x, source, out
        cdef ElementsNode node
        if (options or not isinstance(src, Array) or not elements_fit(input, dim, index) or (<Array>src).code != (<Array>input).code
                or (<Array>src).on != CPU or not same_shape(<Array>src, <Array>index)):
            return self.general(input, dim, index, src, **options)
        x = <Array>input
        node = ElementsNode.__new__(ElementsNode)
        node.adds = self.adds
        node.prepare(x, <Array>index, dim)
        source = <Array>src if (<Array>src).layout & CONTIGUOUS else contiguous(<Array>src)
        out = copied(x if x.layout & CONTIGUOUS else contiguous(x))
        if source.size:
            run(self.kernel, source, node.index, out, node.sizes, 4, source.size)
        if (x.wants_grad or (<Array>src).wants_grad) and grad_enabled():
            node.edges = (edge_of(x), edge_of(<Array>src))
            if x.output_nr or (<Array>src).output_nr:
                node.edge_nrs = (x.output_nr, (<Array>src).output_nr)
            record(node, out)
        return out
