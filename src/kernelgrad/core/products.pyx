"""Compiled callers of the matrix product: check, allocate, run, record.

out = activation(x @ W + bias), x of any number of dimensions folded into rows: matmul with a matrix or vector, linear.
Batches of matrices are in batches.pyx. Transposes are swaps of two strides; no pass copies one.
"""
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from kernelgrad.core.array cimport Array, CONTIGUOUS, new_array, shape_tuple, view_of
from kernelgrad.core.copying cimport cast, contiguous
from kernelgrad.core.dtypes cimport BFLOAT16, BOOL, CPU, FLOAT32, dtype_of
from kernelgrad.core.batches cimport batch_product
from kernelgrad.core.dispatch cimport Kernel, get_kernel
from kernelgrad.core.gemm cimport (Matrices, check_pair, column_sum, compiled, dot, dot_is_compiled, gemm, sizes_text)
from kernelgrad.core.graph cimport Node, check_version, connect, grad_enabled, record, send, wanted
from kernelgrad.core.kept cimport Kept, kept_of

cdef Kernel pack_kernel = get_kernel("gemm_pack_b")
cdef dict activation_backward = {}     # activation of gemm.h -> Kernel, where backward needs the output alone
cdef double no_scalars[1]


# ---- Rows: a matrix or vector on the right ----

cdef bint fold(Array x, int64_t *rows, int64_t *step) noexcept:
    """All dimensions but the last as one of `rows` rows, `step` apart; False where strides do not allow that."""
    cdef int i
    cdef int64_t expected = -1
    rows[0] = 1
    step[0] = x.dims[x.nd - 1]
    for i in range(x.nd - 2, -1, -1):
        if x.dims[i] == 1:
            continue
        rows[0] *= x.dims[i]
        if expected < 0:
            step[0] = x.strides[i]
        elif x.strides[i] != expected:
            return False
        expected = x.strides[i] * x.dims[i]
    return True


cdef Array rows_product(str name, Array x, Array w, Array bias, bint transposed, int activation):
    """activation(x @ op(w) + bias), x (..., k); w (k,), (k, n), or (n, k) when transposed."""
    cdef Matrices p
    cdef Array out, packed = None
    cdef RowsNode node
    cdef int64_t dims[8]
    cdef int nd, last = x.nd - 1
    cdef bint bias_wants
    p.k = x.dims[last]
    if w.nd == 1:
        p.n = 1
        p.b_row, p.b_col = w.strides[0], 1
    else:
        p.n = w.dims[0 if transposed else 1]
        p.b_row, p.b_col = w.strides[1 if transposed else 0], w.strides[0 if transposed else 1]
    if w.dims[w.nd - 1 if transposed else 0] != p.k:
        refuse_sizes(name, x, w, transposed)
    if x.code != w.code or x.on != w.on or x.code == BOOL:
        check_pair(name, x, w)
    if not fold(x, &p.m, &p.a_row):
        x = contiguous_in_graph(x)
        fold(x, &p.m, &p.a_row)
    p.a_col = x.strides[last]
    if p.a_col != 1 and p.k == 1:
        p.a_col = 1
    memcpy(dims, x.dims, sizeof(dims))
    nd = last
    if w.nd == 2:
        dims[last] = p.n
        nd = x.nd
    out = new_array(nd, dims, x.code, x.on, False)
    p.c_row = p.n
    p.batch = 1
    p.a_batch = p.b_batch = p.c_batch = 0
    bias_wants = bias is not None and bias.wants_grad
    if w.nd == 1 and x.nd == 1 and x.layout & w.layout & CONTIGUOUS and dot_is_compiled(x):
        dot(x, w, out)
    elif (x.wants_grad or w.wants_grad or bias_wants) and grad_enabled():
        gemm(&p, x, w, bias, None, out, activation, 1, 0)
    else:
        if (transposed and x.code == FLOAT32 and x.on == CPU and p.n > 1 and p.n * p.k >= 4096 and p.m <= 1024
                and w.layout & CONTIGUOUS):
            packed = packed_weight(w, p.n, p.k)
        gemm(&p, x, w, bias, packed, out, activation, 1, 0)
    if (x.wants_grad or w.wants_grad or bias_wants) and grad_enabled():
        node = RowsNode.__new__(RowsNode)
        node.p = p
        node.transposed = transposed
        node.x_turned, node.w_turned = is_turned(x), is_turned(w)
        node.activation = activation
        node.nd = x.nd
        memcpy(node.dims, x.dims, sizeof(dims))
        node.w_nd = w.nd
        node.on = x.on
        node.label = name
        connect(node, x, w, bias)
        if w.wants_grad:
            node.x = x
            node.x_version = x.storage.version
        if x.wants_grad:
            node.w = w
            node.w_version = w.storage.version
        if activation:
            node.out = view_of(out, out.nd, out.dims, out.strides, 0)
            node.out_version = out.storage.version
        record(node, out)
    return out


cdef Array contiguous_in_graph(Array x):
    """A contiguous copy; where gradients are wanted, one that passes them on."""
    if not (x.wants_grad and grad_enabled()):
        return contiguous(x)
    from kernelgrad.core.views import contiguous as recorded
    return recorded(x)


cdef int refuse_sizes(str name, Array x, Array w, bint transposed) except -1:
    cdef str left = sizes_text(x), right = sizes_text(w)
    if x.nd == 1 and w.nd == 1:
        raise RuntimeError(f"{name}: inconsistent tensor size, expected tensor [{left}] and src [{right}] to have the "
                           f"same number of elements, but got {left} and {right} elements respectively")
    if w.nd == 1:
        raise RuntimeError(f"{name}: size mismatch, got input ({left}), vec ({right}): the last sizes must be equal")
    if transposed:
        raise RuntimeError(f"{name}: mat1 and mat2 shapes cannot be multiplied ({left} and {w.dims[1]}x{w.dims[0]}): "
                           f"the last size of input {shape_tuple(x)} and of weight {shape_tuple(w)} must be equal")
    raise RuntimeError(f"{name}: mat1 and mat2 shapes cannot be multiplied ({left} and {right}): the last size of the "
                       "first and the first of the second must be equal")


cdef class RowsNode(Node):
    cdef Matrices p
    cdef Array x, w, out
    cdef int64_t x_version, w_version, out_version
    cdef int64_t dims[8]         # of x
    cdef int nd, w_nd, activation, on
    cdef bint transposed, x_turned, w_turned
    cdef str label

    def name(self):
        return self.label.title() + "Backward"

    cdef int release(self) except -1:
        self.x = self.w = self.out = None
        return 0

    cdef int apply(self) except -1:
        cdef Array g = self.grad, out
        cdef Matrices q
        cdef int64_t w_dims[2]
        if not g.layout & CONTIGUOUS:
            g = contiguous(g)
        if self.activation:
            check_version(self.out, self.out_version, self)
            g = through_activation(self.activation, self.out, g)
        q.batch = 1
        q.a_batch = q.b_batch = q.c_batch = 0
        if wanted(self, 1):
            check_version(self.x, self.x_version, self)
            if self.transposed != self.w_turned:      # g' x, stored (n, k)
                q.m, q.n, q.k = self.p.n, self.p.k, self.p.m
                q.a_row, q.a_col = 1, self.p.n
                q.b_row, q.b_col = self.p.a_row, self.p.a_col
            else:                                     # x' g, stored (k, n)
                q.m, q.n, q.k = self.p.k, self.p.n, self.p.m
                q.a_row, q.a_col = self.p.a_col, self.p.a_row
                q.b_row, q.b_col = self.p.n, 1
            q.c_row = q.n
            w_dims[0], w_dims[1] = q.m, q.n
            out = new_array(self.w_nd, w_dims, g.code, self.on, False)
            if self.transposed != self.w_turned:
                gemm(&q, g, self.x, None, None, out, 0, 1, 0)
            else:
                gemm(&q, self.x, g, None, None, out, 0, 1, 0)
            if self.w_turned:
                out = turned_view(out)
            send(self, 1, out, True)
        if wanted(self, 2):
            send(self, 2, column_sum(g, self.p.m, self.p.n), True)
        if wanted(self, 0):
            check_version(self.w, self.w_version, self)
            if self.x_turned:                         # op(W) g', stored (k, m)
                q.m, q.n, q.k = self.p.k, self.p.m, self.p.n
                q.a_row, q.a_col = self.p.b_row, self.p.b_col
                q.b_row, q.b_col = 1, self.p.n
                q.c_row = q.n
                w_dims[0], w_dims[1] = q.m, q.n
                out = new_array(2, w_dims, g.code, self.on, False)
                gemm(&q, self.w, g, None, None, out, 0, 1, 0)
                out = turned_view(out)
            else:                                     # g op(W)'
                q.m, q.n, q.k = self.p.m, self.p.k, self.p.n
                q.a_row, q.a_col = self.p.n, 1
                q.b_row, q.b_col = self.p.b_col, self.p.b_row
                q.c_row = q.n
                out = new_array(self.nd, self.dims, g.code, self.on, False)
                gemm(&q, g, self.w, None, None, out, 0, 1, 0)
            send(self, 0, out, True)
        return 0


cdef bint is_turned(Array x) noexcept:
    """A dense matrix stored by columns, as the transpose of a contiguous one is."""
    return x.nd == 2 and x.dims[0] > 1 and x.dims[1] > 1 and x.strides[0] == 1 and x.strides[1] == x.dims[0]


cdef Array turned_view(Array x):
    """The transpose of a fresh matrix. A gradient stored like its operand needs no copy on its way to a leaf."""
    cdef int64_t dims[2]
    cdef int64_t strides[2]
    cdef Array y
    dims[0], dims[1] = x.dims[1], x.dims[0]
    strides[0], strides[1] = 1, x.dims[1]
    y = view_of(x, 2, dims, strides, 0)
    y.is_view = False
    return y


cdef Array through_activation(int activation, Array y, Array g):
    """The gradient before an activation, from its output y."""
    cdef Kernel k = activation_backward[activation]
    cdef Array out = new_array(g.nd, g.dims, g.code, g.on, False)
    cdef void *arrays[3]
    cdef int64_t n = g.size
    arrays[0] = <void *>y
    arrays[1] = <void *>g
    arrays[2] = <void *>out
    if n:
        k.launch(arrays, 3, &n, 1, no_scalars, 0, True)
    return out


def set_activation_backward(int activation, kernel):
    """Tell which kernel (output, grad_out, grad_x) belongs to an activation that `linear` may fuse in training."""
    activation_backward[activation] = kernel


def can_fuse(int activation, Array input not None, Array weight not None, Array bias=None):
    """Whether `linear_with` may apply it: always without gradients, else where backward needs the output alone."""
    return (activation == 0 or activation in activation_backward or not grad_enabled()
            or not (input.wants_grad or weight.wants_grad or (bias is not None and bias.wants_grad)))


# ---- Packed weights, kept while nobody changes the weight ----

cdef dict packings = {}      # id of the weight -> Kept


cdef Array packed_weight(Array w, int64_t n, int64_t k):
    """Panels of w (n, k) for gemm, or None where none are kept."""
    cdef Kept kept = kept_of(packings, w)
    cdef int64_t sizes[5]
    cdef int64_t elements
    cdef void *arrays[2]
    cdef void *kernel = compiled(w)
    if kept is None or kernel == NULL:
        return None
    if kept.form is None or kept.kernel != kernel:
        elements = (n + 31) // 32 * 32 * k
        kept.form = new_array(1, &elements, FLOAT32, CPU, False)
        kept.kernel = kernel
        sizes[0] = (n + 31) // 32
        sizes[1], sizes[2] = n, k
        sizes[3], sizes[4] = 1, k
        arrays[0] = <void *>w
        arrays[1] = <void *>kept.form
        pack_kernel.launch(arrays, 2, sizes, 5, no_scalars, 0, False)
    return kept.form


def kept_packings():
    """How many weights have a packing, or were seen once."""
    return len(packings)


# ---- What ops call ----

cdef Array narrow_result(Array out):
    return cast(out, dtype_of(BFLOAT16))


cdef int refuse_type(str name, str argument, object x) except -1:
    raise TypeError(f"{name}(): argument '{argument}' must be Tensor, not {type(x).__name__}")


cdef int refuse_bfloat16_grad(str name, Array a, Array b) except -1:
    if (a.wants_grad or b.wants_grad) and grad_enabled():
        raise NotImplementedError(f"{name}: gradients through bfloat16 tensors are not supported; use .float()")
    return 0


def matmul(input, other):
    """Matrix product, by PyTorch's rules for any number of dimensions.

    Two vectors give their dot product, a matrix and a vector a vector, two matrices ``out[i, j] = sum over k of
    input[i, k] other[k, j]``; with more dimensions the last two are matrices and those before are batches, which
    broadcast. A vector is a row on the left and a column on the right, and that dimension is dropped again.

    Parameters
    ----------
    input : Tensor of shape (k,) or (*, m, k), of any strides: a transposed matrix is read as it lies
    other : Tensor of shape (k,) or (*, k, n), of the same dtype

    Returns
    -------
    A new contiguous Tensor. Backward keeps `input` if `other` wants a gradient, and the other way round. In float32 an
    element has the same bits whatever the batch, the number of threads and the instruction set (but for "generic"); products
    with a single column and the product of two vectors sum in lanes, and have bits of their own.

    Raises
    ------
    RuntimeError
        If sizes do not fit, batches do not broadcast, or dtypes differ.
    """
    cdef Array a, b
    if not isinstance(input, Array):
        refuse_type("matmul", "input", input)
    if not isinstance(other, Array):
        refuse_type("matmul", "other", other)
    a, b = <Array>input, <Array>other
    if a.nd == 0 or b.nd == 0:
        raise RuntimeError(f"matmul: both arguments to matmul need to be at least 1D, but they are {a.nd}D and {b.nd}D")
    if a.code == BFLOAT16 and b.code == BFLOAT16:
        refuse_bfloat16_grad("matmul", a, b)
        return narrow_result(matmul(cast(a, dtype_of(FLOAT32)), cast(b, dtype_of(FLOAT32))))
    if b.nd <= 2:
        return rows_product("matmul", a, b, None, False, 0)
    return batch_product("matmul", a, b)


def linear(input, weight, bias=None):
    """``input @ weight.T + bias`` in one pass.

    Parameters
    ----------
    input : Tensor of shape (*, in_features)
    weight : Tensor of shape (out_features, in_features), or (in_features,) for one output without its dimension
    bias : Tensor of shape (out_features,), optional

    Returns
    -------
    A new contiguous Tensor of shape (*, out_features). Backward keeps `input` if `weight` wants a gradient, and the
    other way round. Without gradients the weight is packed at its second use, and the packing kept until it changes.

    Raises
    ------
    RuntimeError
        If sizes, dtypes or devices do not fit.
    """
    return linear_with(input, weight, bias, 0)


def linear_with(input, weight, bias, int activation):
    """`linear`, and an activation (a number of gemm.h) on the accumulators. Only where `can_fuse`."""
    cdef Array x, w, b = None
    if not isinstance(input, Array):
        refuse_type("linear", "input", input)
    if not isinstance(weight, Array):
        refuse_type("linear", "weight", weight)
    x, w = <Array>input, <Array>weight
    if x.nd == 0 or w.nd == 0 or w.nd > 2:
        raise RuntimeError("linear: expected input of at least one dimension and weight of shape (out_features, "
                           f"in_features), got {shape_tuple(x)} and {shape_tuple(w)}")
    if bias is not None:
        if not isinstance(bias, Array):
            refuse_type("linear", "bias", bias)
        b = <Array>bias
        if b.nd != 1 or w.nd != 2 or b.dims[0] != w.dims[0]:
            raise RuntimeError(f"linear: bias {shape_tuple(b)} does not fit weight {shape_tuple(w)}: expected "
                               f"({w.dims[0] if w.nd == 2 else 1},)")
        if b.code != x.code or b.on != x.on:
            check_pair("linear", x, b)
        if b.strides[0] != 1 and b.dims[0] > 1:
            b = contiguous_in_graph(b)
    if x.code == BFLOAT16 and w.code == BFLOAT16:
        refuse_bfloat16_grad("linear", x, w)
        wide = dtype_of(FLOAT32)
        b = None if b is None else cast(b, wide)
        return narrow_result(linear_with(cast(x, wide), cast(w, wide), b, activation))
    return rows_product("linear", x, w, b, w.nd == 2, activation)
