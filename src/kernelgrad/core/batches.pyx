"""out = a @ b over broadcast batch dimensions: the kernel walks the innermost of them, this file the others."""
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from kernelgrad.core.array cimport Array, new_array, shape_tuple, view_of
from kernelgrad.core.dtypes cimport BOOL
from kernelgrad.core.broadcast cimport sum_to
from kernelgrad.core.gemm cimport Matrices, check_pair, gemm
from kernelgrad.core.graph cimport Node, check_version, edge_of, grad_enabled, record, send, wanted


cdef struct Loop:
    # batch dimensions of the output, and the strides of both inputs and the output along them
    int nd
    int64_t dims[8]
    int64_t steps[3][8]


cdef int merge(Loop *l) noexcept:
    """Drop dimensions of size 1 and join neighbours that are one walk for all three arrays."""
    cdef int i, j, kept = 0
    cdef bint joins
    for i in range(l.nd):
        if l.dims[i] == 1:
            continue
        joins = kept > 0
        for j in range(3):
            if joins and l.steps[j][kept - 1] != l.steps[j][i] * l.dims[i]:
                joins = False
        if joins:
            kept -= 1
            l.dims[kept] *= l.dims[i]
        else:
            l.dims[kept] = l.dims[i]
        for j in range(3):
            l.steps[j][kept] = l.steps[j][i]
        kept += 1
    l.nd = kept
    return 0


cdef Array some_matrices(Array x, int64_t offset, int64_t batch, int64_t batch_step, int64_t rows, int64_t row,
                         int64_t columns, int64_t column):
    cdef int64_t dims[3]
    cdef int64_t strides[3]
    dims[0], dims[1], dims[2] = batch, rows, columns
    strides[0], strides[1], strides[2] = batch_step, row, column
    return view_of(x, 3, dims, strides, offset)


cdef int run_batches(Matrices *p, Loop *l, Array a, Array b, Array c) except -1:
    """The innermost batch dimension in the kernel, the others here."""
    cdef int64_t at[8]
    cdef int64_t offset[3]
    cdef int i, j, last
    merge(l)
    p.batch = 1
    p.a_batch = p.b_batch = p.c_batch = 0
    if c.size == 0:
        return 0
    last = l.nd - 1
    if last >= 0:
        p.batch = l.dims[last]
        p.a_batch, p.b_batch, p.c_batch = l.steps[0][last], l.steps[1][last], l.steps[2][last]
    if last <= 0:
        return gemm(p, a, b, None, None, c, 0, 1, 0)
    for i in range(last):
        at[i] = 0
    while True:
        for j in range(3):
            offset[j] = 0
            for i in range(last):
                offset[j] += at[i] * l.steps[j][i]
        gemm(p, some_matrices(a, offset[0], p.batch, p.a_batch, p.m, p.a_row, p.k, p.a_col),
             some_matrices(b, offset[1], p.batch, p.b_batch, p.k, p.b_row, p.n, p.b_col), None, None,
             some_matrices(c, offset[2], p.batch, p.c_batch, p.m, p.c_row, p.n, 1), 0, 1, 0)
        i = last - 1
        while i >= 0:
            at[i] += 1
            if at[i] < l.dims[i]:
                break
            at[i] = 0
            i -= 1
        if i < 0:
            return 0


cdef void batch_steps(Array x, int nd, int64_t *steps) noexcept:
    """Strides of x along `nd` broadcast batch dimensions; its last two dimensions are the matrix."""
    cdef int i, own = x.nd - 2
    for i in range(nd):
        steps[i] = 0
        if i >= nd - own and x.dims[i - (nd - own)] != 1:
            steps[i] = x.strides[i - (nd - own)]


cdef Array multiply(Array a, bint turn_a, Array b, bint turn_b, int nd, int64_t *dims):
    """op(a) @ op(b) for arrays of at least two dimensions whose batches broadcast to `dims`."""
    cdef Matrices p
    cdef Loop l
    cdef Array c
    cdef int64_t c_dims[8]
    cdef int i, ra = a.nd - 2 + turn_a, ca = a.nd - 1 - turn_a, rb = b.nd - 2 + turn_b, cb = b.nd - 1 - turn_b
    p.m, p.k, p.n = a.dims[ra], a.dims[ca], b.dims[cb]
    p.a_row, p.a_col, p.b_row, p.b_col = a.strides[ra], a.strides[ca], b.strides[rb], b.strides[cb]
    p.c_row = p.n
    l.nd = nd
    for i in range(nd):
        l.dims[i] = c_dims[i] = dims[i]
    c_dims[nd], c_dims[nd + 1] = p.m, p.n
    c = new_array(nd + 2, c_dims, a.code, a.on, False)
    batch_steps(a, nd, l.steps[0])
    batch_steps(b, nd, l.steps[1])
    batch_steps(c, nd, l.steps[2])
    run_batches(&p, &l, a, b, c)
    return c


cdef Array batch_product(str name, Array a, Array b):
    """a @ b where b has three dimensions or more; a vector a is a row."""
    cdef int64_t dims[8]
    cdef int64_t row[2]
    cdef int64_t row_strides[2]
    cdef int64_t out_dims[8]
    cdef Array out, given = a
    cdef BatchNode node
    cdef int nd, i
    cdef int64_t na, nb
    cdef bint vector = a.nd == 1
    if vector:
        row[0], row[1] = 1, a.dims[0]
        row_strides[0], row_strides[1] = a.dims[0], a.strides[0]
        a = view_of(a, 2, row, row_strides, 0)
    if a.code != b.code or a.on != b.on or a.code == BOOL:
        check_pair(name, a, b)
    if a.dims[a.nd - 1] != b.dims[b.nd - 2]:
        raise RuntimeError(f"{name}: mat1 and mat2 shapes cannot be multiplied: inner sizes {a.dims[a.nd - 1]} and "
                           f"{b.dims[b.nd - 2]} differ, got {shape_tuple(given)} and {shape_tuple(b)}")
    nd = (a.nd if a.nd > b.nd else b.nd) - 2
    for i in range(nd):
        na = a.dims[i - nd + a.nd - 2] if i - nd + a.nd - 2 >= 0 else 1
        nb = b.dims[i - nd + b.nd - 2] if i - nd + b.nd - 2 >= 0 else 1
        if na != nb and na != 1 and nb != 1:
            raise RuntimeError(f"{name}: The size of tensor a ({na}) must match the size of tensor b ({nb}) at "
                               f"non-singleton dimension {i}: batches of {shape_tuple(given)} and {shape_tuple(b)} do not "
                               "broadcast")
        dims[i] = nb if na == 1 else na
    out = multiply(a, False, b, False, nd, dims)
    if vector:
        for i in range(nd):
            out_dims[i] = dims[i]
        out_dims[nd] = out.dims[nd + 1]
        out = drop_row(out, nd + 1, out_dims)
    if (given.wants_grad or b.wants_grad) and grad_enabled():
        node = BatchNode.__new__(BatchNode)
        node.edges = (edge_of(given), edge_of(b))
        if given.output_nr or b.output_nr:
            node.edge_nrs = (given.output_nr, b.output_nr)
        node.a, node.b = a, b
        node.a_version, node.b_version = a.storage.version, b.storage.version
        node.vector = vector
        node.nd = nd
        memcpy(node.batch, dims, sizeof(dims))
        record(node, out)
    return out


cdef Array drop_row(Array x, int nd, int64_t *dims):
    """A fresh contiguous array under another shape."""
    cdef int64_t strides[8]
    cdef int64_t n = 1
    cdef int i
    cdef Array y
    for i in range(nd - 1, -1, -1):
        strides[i] = n
        n *= dims[i]
    y = view_of(x, nd, dims, strides, 0)
    y.is_view = False
    return y


cdef class BatchNode(Node):
    cdef Array a, b
    cdef int64_t a_version, b_version
    cdef int64_t batch[8]
    cdef int nd
    cdef bint vector

    def name(self):
        return "MatmulBackward"

    cdef int release(self) except -1:
        self.a = self.b = None
        return 0

    cdef int apply(self) except -1:
        cdef Array g = self.grad, out
        cdef int64_t dims[8]
        cdef int64_t strides[8]
        cdef int i
        check_version(self.a, self.a_version, self)
        check_version(self.b, self.b_version, self)
        if self.vector:          # the row again
            for i in range(self.nd):
                dims[i], strides[i] = g.dims[i], g.strides[i]
            dims[self.nd], strides[self.nd] = 1, 1
            dims[self.nd + 1], strides[self.nd + 1] = g.dims[self.nd], g.strides[self.nd]
            g = view_of(g, self.nd + 2, dims, strides, 0)
        if wanted(self, 0):
            out = sum_to(multiply(g, False, self.b, True, self.nd, self.batch), self.a.nd, self.a.dims)
            if self.vector:
                out = drop_row(out, 1, &self.a.dims[1])
            send(self, 0, out, True)
        if wanted(self, 1):
            send(self, 1, sum_to(multiply(self.a, True, g, False, self.nd, self.batch), self.b.nd, self.b.dims), True)
        return 0
