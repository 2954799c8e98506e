"""Views with their place in the graph: reshape, permute, expand (basic indexing is core/slicing.pyx). The path from Python to the view is all in C.

Apart from reshape every view here is affine per dimension: output dimension j walks input dimension source[j] from start by
step, or is new (source -1). That description, unlike strides, fits an input of any memory layout, so backward applies it to
a gradient of its own layout.
"""
from cpython.ref cimport Py_REFCNT
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from kernelgrad.core.memory cimport Storage
from kernelgrad.core.array cimport (Array, CHANNELS_LAST, CONTIGUOUS, DENSE, MAX_DIMS, new_array, new_like, same_shape,
                                    shape_tuple, view_of)
from kernelgrad.core.copying cimport contiguous as contiguous_copy, channels_last as channels_last_copy, copy_into
from kernelgrad.core.dtypes cimport CPU, FLOAT32, itemsize_of
from kernelgrad.core.copying import zero_
from kernelgrad.core.dtypes import dtype
from kernelgrad.core.memory_format import channels_last as channels_last_format
from kernelgrad.core.broadcast cimport sum_to
from kernelgrad.core.broadcast import add_into
from kernelgrad.core.graph cimport Node, edge_of, grad_enabled, record, send


cdef void identity(Plan *plan, Array x) noexcept:
    cdef int i
    plan.nd = x.nd
    plan.whole = True
    for i in range(x.nd):
        plan.source[i] = i
        plan.size[i] = x.dims[i]
        plan.start[i] = 0
        plan.step[i] = 1


cdef Array apply_plan(Plan *plan, Array x):
    """The view alone, no graph."""
    cdef int64_t strides[8]
    cdef int64_t offset = 0
    cdef int i, j
    for i in range(x.nd):
        offset += plan.start[i] * x.strides[i]
    for j in range(plan.nd):
        i = plan.source[j]
        # a new dimension of size 1 gets the stride that keeps a contiguous array contiguous in PyTorch's eyes
        strides[j] = plan.step[i] * x.strides[i] if i >= 0 else 1
    for j in range(plan.nd - 1, -1, -1):
        if plan.source[j] < 0 and j + 1 < plan.nd:
            strides[j] = strides[j + 1] * plan.size[j + 1]
    return view_of(x, plan.nd, plan.size, strides, offset)


cdef class ViewNode(Node):
    cdef Plan plan
    cdef bint reshaped
    cdef bint nhwc
    cdef int nd, code, on
    cdef int64_t dims[8]
    cdef str title

    cdef str label(self):
        return self.title

    cdef int apply(self) except -1:
        cdef Array g = self.grad, out
        cdef Storage memory
        cdef int64_t strides[8]
        cdef int i, j
        if self.reshaped:
            out = reshape_plain(g, self.nd, self.dims)
        elif self.plan.whole:
            for i in range(self.nd):
                strides[i] = 1
            for j in range(self.plan.nd):
                if self.plan.source[j] >= 0:
                    strides[self.plan.source[j]] = g.strides[j]
            out = view_of(g, self.nd, self.dims, strides, 0)
        else:
            out = pending(self)
            if out is not None:
                add_into(apply_plan(&self.plan, out), g)
                return 0
            out = new_array(self.nd, self.dims, self.code, self.on, self.nhwc)
            if self.on == CPU:
                memset(out.data, 0, out.size * itemsize_of(self.code))
            else:
                zero_(out)
            copy_into(apply_plan(&self.plan, out), g)
            send(self, 0, out, True)
            return 0
        # g is held by self.grad and here, its memory by g and out: then a leaf may keep it
        memory = g.storage
        return send(self, 0, out, Py_REFCNT(g) <= 2 and Py_REFCNT(memory) <= 3)


cdef Array pending(ViewNode node):
    """The gradient that already waits at the node the view was taken from, if nobody else holds it or its memory: then a
    slice's gradient is added in its place, and slicing a tensor n times costs n slices, not n tensors."""
    cdef object edge = node.edges[0]
    cdef Node source
    cdef Array waiting
    cdef int nr = 0 if node.edge_nrs is None else node.edge_nrs[0]
    cdef bint alone
    if isinstance(edge, Array) or edge is None:
        return None
    source = <Node>edge
    if nr == 0:
        waiting = source.grad
    elif source.grads is None:
        return None
    else:
        waiting = source.grads[nr]
    if waiting is None:
        return None
    memory = waiting.storage
    # held by the node and by `waiting`; its memory by itself and by `memory`
    alone = Py_REFCNT(waiting) == 2 and Py_REFCNT(memory) == 2
    return waiting if alone and waiting.layout & DENSE and waiting.code == node.code and source.queued else None


cdef void describe(ViewNode node, Array x, str label) noexcept:
    node.title = label
    node.nd = x.nd
    node.code = x.code
    node.on = x.on
    node.nhwc = x.layout & CHANNELS_LAST and not x.layout & CONTIGUOUS
    memcpy(node.dims, x.dims, sizeof(x.dims))


cdef void link(Node node, Array x):
    node.edges = (edge_of(x),)
    if x.output_nr:
        node.edge_nrs = (x.output_nr,)


cdef Array view_by_plan(Array x, Plan *plan, str label):
    cdef Array y = apply_plan(plan, x)
    cdef ViewNode node
    if x.wants_grad and grad_enabled():
        node = ViewNode.__new__(ViewNode)
        describe(node, x, label)
        node.plan = plan[0]
        link(node, x)
        record(node, y)
    return y


# ---- reshape ----

cdef bint merged_strides(Array x, int nd, const int64_t *dims, int64_t *strides) noexcept:
    """Strides under which x's memory has the new shape; False if there are none. Equal sizes, none of them 0."""
    cdef int64_t size[8]
    cdef int64_t stride[8]
    cdef int count = 0, i, j = nd - 1
    cdef int64_t room, step
    for i in range(x.nd):      # runs of dimensions that follow each other in memory
        if x.dims[i] == 1:
            continue
        if count and stride[count - 1] == x.strides[i] * x.dims[i]:
            size[count - 1] *= x.dims[i]
            stride[count - 1] = x.strides[i]
        else:
            size[count] = x.dims[i]
            stride[count] = x.strides[i]
            count += 1
    for i in range(count - 1, -1, -1):
        room = size[i]
        step = stride[i]
        while room > 1 or (j >= 0 and dims[j] == 1):
            if j < 0 or room % dims[j]:
                return False
            strides[j] = step
            step *= dims[j]
            room //= dims[j]
            j -= 1
    while j >= 0:
        strides[j] = strides[j + 1] * dims[j + 1] if j + 1 < nd else 1
        j -= 1
    return True


cdef Array row_major(Array x, int nd, const int64_t *dims):
    """A view of a contiguous array with another shape."""
    cdef int64_t strides[8]
    cdef int64_t n = 1
    cdef int i
    for i in range(nd - 1, -1, -1):
        strides[i] = n
        n *= dims[i]
    return view_of(x, nd, dims, strides, 0)


cdef Array reshape_plain(Array x, int nd, const int64_t *dims):
    """reshape without graph: a view where there is one, else a view of a contiguous copy."""
    cdef int64_t strides[8]
    if not x.layout & CONTIGUOUS and x.size and merged_strides(x, nd, dims, strides):
        return view_of(x, nd, dims, strides, 0)
    return row_major(contiguous_copy(x), nd, dims)


cdef int read_sizes(Array x, object shape, int64_t *dims) except -1:
    """Read a shape that may hold one -1; checks it against x's size."""
    cdef int nd = len(shape), i, unknown = -1
    cdef int64_t n = 1, d
    if nd > MAX_DIMS:
        raise ValueError(f"reshape: kernelgrad arrays have at most {MAX_DIMS} dimensions, got shape {tuple(shape)}")
    for i in range(nd):
        d = shape[i]
        dims[i] = d
        if d == -1:
            if unknown >= 0:
                raise RuntimeError("only one dimension can be inferred")
            unknown = i
        elif d < 0:
            raise RuntimeError(f"invalid shape dimension {d}")
        else:
            n *= d
    if unknown >= 0:
        if n == 0:
            raise RuntimeError(f"cannot reshape tensor of {x.size} elements into shape {list(shape)} because the unspecified dimension size "
                               "-1 can be any value and is ambiguous")
        dims[unknown] = x.size // n
        n *= dims[unknown]
    if n != x.size:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {x.size}")
    return nd


cdef Array recorded_reshape(Array x, Array y):
    cdef ViewNode node
    if x.wants_grad and grad_enabled():
        node = ViewNode.__new__(ViewNode)
        describe(node, x, "ViewBackward")
        node.reshaped = True
        link(node, x)
        record(node, y)
    return y


cdef object as_ints(tuple given):
    """Several ints, or the one tuple, list or Size in their place."""
    cdef object first
    if len(given) == 1:
        first = given[0]
        if type(first) is tuple or (type(first) is not int and hasattr(first, "__len__")):
            return first
    return given


def reshape(Array input not None, *shape):
    """The elements of `x`, in C order, under another shape (one size may be -1). A view of x's memory where strides allow
    it, a copy otherwise. RuntimeError if the sizes differ."""
    cdef Array x = input
    shape = as_ints(shape)
    cdef int64_t dims[8]
    cdef int nd = read_sizes(x, shape, dims)
    if x.layout & CONTIGUOUS:
        return recorded_reshape(x, row_major(x, nd, dims))
    return recorded_reshape(x, reshape_plain(x, nd, dims))


def view(Array input not None, *shape):
    """As reshape, but RuntimeError where strides would demand a copy; a 4-d tensor in channels_last memory, which
    kernelgrad's layers make unasked, is copied all the same."""
    cdef Array x = input
    shape = as_ints(shape)
    cdef int64_t dims[8]
    cdef int64_t strides[8]
    if len(shape) == 1 and isinstance(shape[0], dtype):
        raise NotImplementedError("view(dtype): reading memory as another dtype is not supported; use .to(dtype) to convert values")
    cdef int nd = read_sizes(x, shape, dims)
    if x.layout & CONTIGUOUS:
        return recorded_reshape(x, row_major(x, nd, dims))
    if x.layout & CHANNELS_LAST or merged_strides(x, nd, dims, strides):
        return recorded_reshape(x, reshape_plain(x, nd, dims))
    raise RuntimeError("view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
                       "contiguous subspaces). Use .reshape(...) instead.")


def flatten(Array input not None, int start_dim=0, int end_dim=-1):
    """Dimensions start_dim .. end_dim made one; `x` itself if that changes nothing."""
    cdef Array x = input
    cdef int64_t dims[8]
    cdef int i, nd = 0
    cdef int64_t n = 1
    cdef int first = dim_of(start_dim, x.nd), last = dim_of(end_dim, x.nd)
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if x.nd and first == last:
        return x
    for i in range(x.nd):
        if first <= i <= last:
            n *= x.dims[i]
            if i == last:
                dims[nd] = n
                nd += 1
        else:
            dims[nd] = x.dims[i]
            nd += 1
    if x.nd == 0:
        dims[0] = 1
        nd = 1
    return recorded_reshape(x, reshape_plain(x, nd, dims))


# ---- Views that take, reorder or drop whole dimensions ----

cdef int dim_of(int64_t dim, int nd) except -1:
    """A dimension as counted from 0; IndexError if there is none such."""
    cdef int n = nd if nd else 1
    if dim < -n or dim >= n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")
    return <int>(dim + n if dim < 0 else dim)


def normalize_dim(int64_t dim, int nd):
    """A dimension as counted from 0; IndexError if there is none such."""
    return dim_of(dim, nd)


def permute(Array input not None, *dims):
    """A view with the dimensions in the given order."""
    cdef Array x = input
    dims = as_ints(dims)
    cdef Plan plan
    cdef int i, d, seen = 0
    if len(dims) != x.nd:
        raise RuntimeError(f"permute(): number of dimensions in the tensor input does not match the length of the desired ordering "
                           f"of dimensions i.e. input.dim() = {x.nd} is not equal to len(dims) = {len(dims)}")
    identity(&plan, x)
    for i in range(x.nd):
        d = dim_of(dims[i], x.nd)
        if seen >> d & 1:
            raise RuntimeError("permute(): duplicate dims are not allowed.")
        seen |= 1 << d
        plan.source[i] = d
        plan.size[i] = x.dims[d]
    return view_by_plan(x, &plan, "PermuteBackward")


def transpose(Array input not None, int64_t dim0, int64_t dim1):
    """A view with two dimensions exchanged."""
    cdef Array x = input
    cdef Plan plan
    cdef int a = dim_of(dim0, x.nd), b = dim_of(dim1, x.nd)
    identity(&plan, x)
    if x.nd:
        plan.source[a], plan.source[b] = b, a
        plan.size[a], plan.size[b] = x.dims[b], x.dims[a]
    return view_by_plan(x, &plan, "TransposeBackward")


def unsqueeze(Array input not None, int64_t dim):
    """A view with a new dimension of size 1 before `dim`."""
    cdef Array x = input
    cdef Plan plan
    cdef int at = dim_of(dim, x.nd + 1), j
    if x.nd == MAX_DIMS:
        raise ValueError(f"unsqueeze: kernelgrad arrays have at most {MAX_DIMS} dimensions")
    identity(&plan, x)
    for j in range(x.nd, at, -1):
        plan.source[j] = j - 1
        plan.size[j] = x.dims[j - 1]
    plan.source[at] = -1
    plan.size[at] = 1
    plan.nd = x.nd + 1
    return view_by_plan(x, &plan, "UnsqueezeBackward")


def squeeze(Array input not None, dim=None):
    """A view without the dimensions of size 1: all of them, or those among `dim` (an int or a tuple)."""
    cdef Array x = input
    cdef Plan plan
    cdef int i, drop = 0
    if dim is None:
        drop = (1 << MAX_DIMS) - 1
    elif isinstance(dim, (tuple, list)):
        for d in dim:
            drop |= 1 << dim_of(d, x.nd)
    else:
        drop = 1 << dim_of(dim, x.nd)
    identity(&plan, x)
    plan.nd = 0
    for i in range(x.nd):
        if drop >> i & 1 and x.dims[i] == 1:
            continue
        plan.source[plan.nd] = i
        plan.size[plan.nd] = x.dims[i]
        plan.nd += 1
    return view_by_plan(x, &plan, "SqueezeBackward")


def select(Array input not None, int64_t dim, int64_t index):
    """A view of one slice of `dim`, which disappears."""
    cdef Array x = input
    cdef Plan plan
    cdef int d, i
    if x.nd == 0:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = dim_of(dim, x.nd)
    if index < -x.dims[d] or index >= x.dims[d]:
        raise IndexError(f"select(): index {index} out of range for tensor of size {list(shape_tuple(x))} at dimension {d}")
    identity(&plan, x)
    plan.start[d] = index + x.dims[d] if index < 0 else index
    plan.whole = x.dims[d] == 1
    plan.nd = x.nd - 1
    for i in range(d, x.nd - 1):
        plan.source[i] = i + 1
        plan.size[i] = x.dims[i + 1]
    return view_by_plan(x, &plan, "SelectBackward")


def narrow(Array input not None, int64_t dim, int64_t start, int64_t length):
    """A view of `length` slices of `dim` from `start` on."""
    cdef Array x = input
    cdef Plan plan
    cdef int d
    if x.nd == 0:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    d = dim_of(dim, x.nd)
    if start < -x.dims[d] or start > x.dims[d]:
        raise IndexError(f"start out of range (expected to be in range of [{-x.dims[d]}, {x.dims[d]}], but got {start})")
    if start < 0:
        start += x.dims[d]
    if start + length > x.dims[d]:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({x.dims[d]}).")
    identity(&plan, x)
    plan.start[d] = start
    plan.size[d] = length
    plan.whole = length == x.dims[d]
    return view_by_plan(x, &plan, "SliceBackward")


# ---- Expand ----

cdef class ExpandNode(Node):
    cdef int nd
    cdef int64_t dims[8]

    cdef str label(self):
        return "ExpandBackward"

    cdef int apply(self) except -1:
        return send(self, 0, sum_to(self.grad, self.nd, self.dims), False)


def expand(Array input not None, *shape):
    """A view that repeats dimensions of size 1 (and adds leading ones) without copying; -1 keeps a size."""
    cdef Array x = input
    shape = as_ints(shape)
    cdef int64_t dims[8]
    cdef int64_t strides[8]
    cdef int nd = len(shape), i, j
    cdef ExpandNode node
    cdef Array y
    if nd > MAX_DIMS:
        raise ValueError(f"expand: kernelgrad arrays have at most {MAX_DIMS} dimensions, got shape {tuple(shape)}")
    if nd < x.nd:
        raise RuntimeError(f"expand({list(shape_tuple(x))}, size={list(shape)}): the number of sizes provided ({nd}) must be greater or "
                           f"equal to the number of dimensions in the tensor ({x.nd})")
    for i in range(nd):
        j = i - (nd - x.nd)
        dims[i] = shape[i]
        if dims[i] < -1 or (dims[i] == -1 and j < 0):
            raise RuntimeError(f"expand: the expanded size of the tensor ({dims[i]}) isn't allowed in dimension {i}, shape {list(shape)}")
        if dims[i] == -1 or (j >= 0 and dims[i] == x.dims[j]):
            dims[i] = x.dims[j]
            strides[i] = x.strides[j]
        elif j < 0 or x.dims[j] == 1:
            strides[i] = 0
        else:
            raise RuntimeError(f"The expanded size of the tensor ({dims[i]}) must match the existing size ({x.dims[j]}) at non-singleton "
                               f"dimension {i}.  Target sizes: {list(shape)}.  Tensor sizes: {list(shape_tuple(x))}")
    y = view_of(x, nd, dims, strides, 0)
    if x.wants_grad and grad_enabled():
        node = ExpandNode.__new__(ExpandNode)
        node.nd = x.nd
        memcpy(node.dims, x.dims, sizeof(x.dims))
        link(node, x)
        record(node, y)
    return y


# ---- Copies that gradients pass unchanged ----

cdef class PassNode(Node):
    cdef str title

    cdef str label(self):
        return self.title

    cdef int apply(self) except -1:
        return send(self, 0, self.grad, False)


cdef Array passing(Array x, Array y, str label):
    cdef PassNode node
    if y is not x and x.wants_grad and grad_enabled():
        node = PassNode.__new__(PassNode)
        node.title = label
        link(node, x)
        record(node, y)
    return y


def contiguous(Array input not None, memory_format=None):
    """`input` itself if it is in C order (or the memory format that is named), else a copy that is, recorded."""
    cdef Array x = input
    if memory_format is channels_last_format:
        return passing(x, channels_last_copy(x), "CloneBackward")
    return passing(x, contiguous_copy(x), "CloneBackward")


def channels_last(Array input not None):
    """`x` itself if its memory is N, H, W, C, else a copy that is, recorded; 4-d."""
    cdef Array x = input
    return passing(x, channels_last_copy(x), "CloneBackward")
