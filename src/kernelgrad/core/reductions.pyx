"""Compiled callers of reductions: over everything (sum, mean), and over any set of dimensions of an array of any layout.

A reduction follows memory: dimensions in the order of their strides, neighbours of a kind taken together, so that an NHWC
activation reduced over N, H and W is (1, N H W, C) as it lies. Where kept and reduced dimensions alternate in memory, one
permuted copy is made; sums, means and extrema take two steps instead. Backward fills an array laid out like the input.
"""
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from kernelgrad.core.array cimport Array, CHANNELS_LAST, CONTIGUOUS, DENSE, new_array, new_like, set_layout, view_of
from kernelgrad.core.copying cimport contiguous, copy_into
from kernelgrad.core.dtypes cimport CPU, FLOAT32, FLOAT64, INT64, dtype
from kernelgrad.core.blocks cimport run_blocks
from kernelgrad.core.dispatch cimport Kernel, get_kernel, kg_kernel, observed
from kernelgrad.core.graph cimport Node, check_version, edge_of, grad_enabled, record, send

cdef int64_t SMALL = 65536      # elements, some 5 us: for less, letting go of the GIL costs more than it gives


# ---- How memory groups into (outer, n, inner) ----

cdef class Grouping:
    cdef int64_t outer, n, inner
    cdef bint permuted
    cdef int nd, count, kept_count, mask
    cdef int layout
    cdef int64_t dims[8]
    cdef int64_t strides[8]         # of the input, or of a gradient in the order of the permuted copy
    cdef int order[8]               # dimensions longer than 1 in the order of the kernel's memory
    cdef int kept[8]                # those of them that stay

    cdef Array block(self, Array x):
        """The input as the kernel takes it; x is dense."""
        cdef int64_t dims[8]
        cdef int64_t strides[8]
        cdef int i
        if not self.permuted:
            return x
        for i in range(self.count):
            dims[i] = x.dims[self.order[i]]
            strides[i] = x.strides[self.order[i]]
        return contiguous(view_of(x, self.count, dims, strides, 0))

    cdef Array new_gradient(self, int code, int on):
        """An array of the input's shape in the memory of the kernel's block."""
        cdef Array x = new_array(self.nd, self.dims, code, on, False)
        memcpy(x.strides, self.strides, sizeof(self.strides))
        x.layout = self.layout
        return x

    cdef int result_dims(self, bint keepdim, int64_t *dims, int64_t *strides) noexcept:
        """Shape and strides of a result in the kernel's order; returns the number of dimensions."""
        cdef int64_t step[8]
        cdef int64_t n = 1
        cdef int i, nd = 0
        for i in range(self.nd):
            step[i] = 1
        for i in range(self.kept_count - 1, -1, -1):
            step[self.kept[i]] = n
            n *= self.dims[self.kept[i]]
        for i in range(self.nd):
            if self.mask >> i & 1:
                if not keepdim:
                    continue
                dims[nd] = 1
            else:
                dims[nd] = self.dims[i]
            strides[nd] = step[i]
            nd += 1
        return nd

    cdef Array new_result(self, int code, int on, bint keepdim):
        cdef int64_t dims[8]
        cdef int64_t strides[8]
        cdef int nd = self.result_dims(keepdim, dims, strides)
        cdef Array out = new_array(nd, dims, code, on, False)
        if nd > 1 and out.size > 1:
            memcpy(out.strides, strides, sizeof(strides))
            set_layout(out)
        return out

    cdef Array in_order(self, Array g, bint keepdim):
        """An upstream gradient in the memory of the kernel's result."""
        cdef int64_t dims[8]
        cdef int64_t strides[8]
        cdef int nd = self.result_dims(keepdim, dims, strides), i
        cdef Array ordered
        for i in range(nd):
            if dims[i] != 1 and g.strides[i] != strides[i]:
                ordered = self.new_result(g.code, g.on, keepdim)
                copy_into(ordered, g)
                return ordered
        return g


cdef Grouping group(Array x, int mask):
    """x dense; bit d of mask: dimension d is reduced."""
    cdef Grouping g = Grouping.__new__(Grouping)
    cdef int i, j, d, first = -1, last = -1, reduced = 0
    cdef int64_t n
    g.nd = x.nd
    g.mask = mask
    g.layout = x.layout
    memcpy(g.dims, x.dims, sizeof(x.dims))
    memcpy(g.strides, x.strides, sizeof(x.strides))
    for d in range(x.nd):
        if x.dims[d] == 1:
            continue
        j = g.count
        while j > 0 and x.strides[g.order[j - 1]] < x.strides[d]:
            g.order[j] = g.order[j - 1]
            j -= 1
        g.order[j] = d
        g.count += 1
    for i in range(g.count):
        d = g.order[i]
        if mask >> d & 1:
            first = i if first < 0 else first
            last = i + 1
            reduced += 1
        else:
            g.kept[g.kept_count] = d
            g.kept_count += 1
    if last - first > reduced and reduced:      # they alternate: kept ones first
        g.permuted = True
        j = g.kept_count
        for i in range(g.count):
            if mask >> g.order[i] & 1:
                g.kept[j] = g.order[i]          # room after the kept ones, for a moment
                j += 1
        for i in range(g.count):
            g.order[i] = g.kept[i]
        first = g.kept_count
        last = g.count
        n = 1
        for i in range(g.count - 1, -1, -1):
            g.strides[g.order[i]] = n
            n *= x.dims[g.order[i]]
        g.layout = DENSE
    if not reduced:
        first = last = 0
    g.outer = g.n = g.inner = 1
    for i in range(g.count):
        n = x.dims[g.order[i]]
        if i < first:
            g.outer *= n
        elif i < last:
            g.n *= n
        else:
            g.inner *= n
    return g


cdef int launch(Kernel k, Grouping g, void **arrays, int count, int blocks, const double *scalars, int n_scalars) except -1:
    """A kernel over arrays of which bit i of `blocks` marks the (outer, n, inner) ones; the others are (outer, inner)."""
    cdef int64_t sizes[3]
    cdef int64_t dims[3]
    cdef int64_t strides[3]
    cdef void *pointers[6]
    cdef kg_kernel *run
    cdef int i
    cdef Array x = <Array>arrays[k.key]
    sizes[0] = g.outer
    sizes[1] = g.n
    sizes[2] = g.inner
    if x.on == CPU and not observed():
        run = k.find(x.code)
        if run != NULL:
            for i in range(count):
                pointers[i] = (<Array>arrays[i]).data
            if g.outer * g.n * g.inner < SMALL:
                run(pointers, sizes, scalars, 0, g.outer)
            else:
                with nogil:
                    run(pointers, sizes, scalars, 0, g.outer)
            return 0
    views = []
    for i in range(count):
        dims[0] = g.outer
        if blocks >> i & 1:
            dims[1], dims[2] = g.n, g.inner
            strides[0], strides[1], strides[2] = g.n * g.inner, g.inner, 1
            views.append(view_of(<Array>arrays[i], 3, dims, strides, 0))
        else:
            dims[1] = g.inner
            strides[0], strides[1] = g.inner, 1
            views.append(view_of(<Array>arrays[i], 2, dims, strides, 0))
        pointers[i] = <void *><Array>views[i]
    return k.launch(pointers, count, sizes, 3, scalars, n_scalars, False)


# ---- Over any dimensions ----

cdef tuple innermost(Array x, int mask):
    """Of the dimensions in `mask` those that lie next to each other in memory and innermost."""
    cdef list order = sorted([(x.strides[d], d) for d in range(x.nd) if x.dims[d] != 1])
    cdef list found = []
    for stride, d in order:
        if mask >> d & 1:
            found.append(d)
        elif found:
            break
    return tuple(found + [d for d in range(x.nd) if x.dims[d] == 1 and mask >> d & 1])


cdef object drop(Array x, tuple dims):
    """Without the dimensions `dims`, which have size 1; recorded."""
    from kernelgrad.core.views import reshape
    return reshape(x, tuple([x.dims[d] for d in range(x.nd) if d not in dims]))


cdef enum:
    PLAIN = 0          # kernel (x, out)
    MOMENTS = 1        # (x, mean, out), with a correction
    EXTREMUM = 2       # (x, out, indices)


cdef class Reduction:
    """Kernels <name>_forward, and <backward>_backward over what `keeps` names (x, mean, out, indices), grad_out, grad_x."""
    cdef readonly str name
    cdef Kernel forward, backward
    cdef int kind
    cdef bint in_steps, extremum
    cdef tuple keeps

    def __init__(self, str name, tuple keeps=(), str backward=None, bint differentiable=True):
        self.extremum = name == "amax" or name == "amin"
        self.in_steps = name == "sum" or name == "mean" or self.extremum
        self.name = name
        self.keeps = keeps
        self.kind = MOMENTS if "mean" in keeps else EXTREMUM if "indices" in keeps else PLAIN
        self.forward = get_kernel(name + "_forward")
        self.backward = get_kernel((name if backward is None else backward) + "_backward") if differentiable else None

    def __call__(self, Array x not None, tuple dims, bint keepdim, dtype result, double correction=0):
        """Over the dimensions `dims`, counted from 0, into an array of dtype `result`; with indices (out, indices)."""
        cdef int mask = 0, d
        cdef Array source = x if x.layout & DENSE else contiguous(x), out, extra = None, block, final
        cdef Grouping g
        cdef void *arrays[3]
        cdef bint recorded
        for d in dims:
            mask |= 1 << d
        g = group(source, mask)
        recorded = x.wants_grad and self.backward is not None and grad_enabled()
        if g.permuted and self.in_steps:
            if not (self.extremum and recorded):
                return self.steps(x, source, mask, keepdim, result)
            # Equal extrema share the gradient, wherever they lie: one node, which the steps do not make.
            out = g.new_result(result.code, x.on, keepdim)
            block = view_of(source, source.nd, source.dims, source.strides, 0)
            copy_into(out, self.steps(block, source, mask, keepdim, result))
            return self.finished(x, source, out, None, g, keepdim, correction)
        block = g.block(source)
        out = g.new_result(result.code, x.on, keepdim)
        arrays[0] = <void *>block
        arrays[1] = <void *>out
        if self.kind == MOMENTS:
            extra = g.new_result(result.code, x.on, keepdim)
            arrays[1] = <void *>extra
            arrays[2] = <void *>out
        elif self.kind == EXTREMUM:
            extra = g.new_result(INT64, x.on, keepdim)
            arrays[2] = <void *>extra
        launch(self.forward, g, arrays, 2 if self.kind == PLAIN else 3, 1, &correction, self.kind == MOMENTS)
        final = self.finished(x, block, out, extra, g, keepdim, correction)
        if self.kind == EXTREMUM:
            return final, extra if extra.layout & (CONTIGUOUS | CHANNELS_LAST) else contiguous(extra)
        return final

    cdef Array steps(self, Array x, Array source, int mask, bint keepdim, dtype result):
        """The innermost of the dimensions first, then the others. `source`: x, dense."""
        cdef tuple dims = innermost(source, mask), rest
        cdef int d
        for d in dims:
            mask &= ~(1 << d)
        rest = tuple([d for d in range(x.nd) if mask >> d & 1])
        out = self(self(x, dims, True, result), rest, True, result)
        return out if keepdim else drop(out, dims + rest)

    cdef Array finished(self, Array x, Array block, Array out, Array extra, Grouping g, bint keepdim, double correction):
        """The result, laid out as users expect it, and recorded. `block`: x as the kernel takes it, or about to be."""
        cdef Array final = out if out.layout & (CONTIGUOUS | CHANNELS_LAST) else contiguous(out)
        cdef ReductionNode node
        if x.wants_grad and self.backward is not None and grad_enabled():
            node = ReductionNode.__new__(ReductionNode)
            node.op = self
            node.edges = (edge_of(x),)
            if x.output_nr:
                node.edge_nrs = (x.output_nr,)
            node.grouping = g
            node.keepdim = keepdim
            node.correction = correction
            if "x" in self.keeps:
                node.block = block
                node.to_permute = g.permuted and self.extremum
                node.block_version = block.storage.version
            if "out" in self.keeps:
                node.out = view_of(out, out.nd, out.dims, out.strides, 0)     # not `out` itself: it will hold the node
                node.out_version = out.storage.version
            node.extra = extra
            node.extra_version = 0 if extra is None else extra.storage.version
            record(node, final)
        return final


cdef class ReductionNode(Node):
    cdef Reduction op
    cdef Grouping grouping
    cdef Array block, out, extra
    cdef int64_t block_version, out_version, extra_version
    cdef bint keepdim, to_permute
    cdef double correction

    def name(self):
        return self.op.name.title() + "Backward"

    cdef int release(self) except -1:
        self.block = self.out = self.extra = None
        return 0

    cdef int apply(self) except -1:
        cdef Grouping grouping = self.grouping
        cdef Array g = grouping.in_order(self.grad, self.keepdim), grad_x = grouping.new_gradient(g.code, g.on)
        cdef void *arrays[5]
        cdef int count = 0, blocks = 0
        cdef Array block
        if self.block is not None:
            check_version(self.block, self.block_version, self)
            block = grouping.block(self.block) if self.to_permute else self.block
            arrays[0] = <void *>block
            blocks = 1
            count = 1
        if self.extra is not None:
            check_version(self.extra, self.extra_version, self)
            arrays[count] = <void *>self.extra
            count += 1
        if self.out is not None:
            check_version(self.out, self.out_version, self)
            arrays[count] = <void *>self.out
            count += 1
        arrays[count] = <void *>g
        arrays[count + 1] = <void *>grad_x
        blocks |= 1 << (count + 1)
        launch(self.op.backward, grouping, arrays, count + 2, blocks, &self.correction, self.op.kind == MOMENTS)
        return send(self, 0, grad_x, True)


# ---- Over everything ----

cdef class FullReduction:
    """``op(input, dim=None, keepdim=False, *, dtype=None)``: a dense float array to one number here, all else by `general`."""
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


# ---- Running sums ----

cdef Kernel cumsum_forward = get_kernel("cumsum_forward")
cdef Kernel cumsum_backward = get_kernel("cumsum_backward")


cdef Array running(Kernel k, Array x, int64_t dim):
    """A running sum along `dim` of a dense array, in its layout."""
    cdef Array out = new_like(x, x.code)
    cdef void *arrays[2]
    cdef int64_t dims[3]
    dims[0], dims[1], dims[2] = 1, 1, x.size
    if x.nd and x.dims[dim] != 1 and x.size:
        dims[1], dims[2] = x.dims[dim], x.strides[dim]
        dims[0] = x.size // (dims[1] * dims[2])
    arrays[0] = <void *>x
    arrays[1] = <void *>out
    run_blocks(k, arrays, 2, 3, 3, dims, dims, 3, NULL, 0)
    return out


cdef class Cumsum:
    """``cumsum(input, dim, *, dtype=None)``: arrays of float32 and float64 here, all else by `general`."""
    cdef readonly str __name__
    cdef public str __doc__
    cdef object general

    def __init__(self, general):
        self.__name__ = "cumsum"
        self.__doc__ = general.__doc__
        self.general = general

    def __repr__(self):
        return f"<op {self.__name__}>"

    def __call__(self, input, dim, *, dtype=None):
        cdef Array x
        cdef int64_t d
        if isinstance(input, Array) and dtype is None and type(dim) is int:
            x = <Array>input
            d = dim
            if (x.code == FLOAT32 or x.code == FLOAT64) and -x.nd <= d < x.nd:
                return self.run(x, d + x.nd if d < 0 else d)
        return self.general(input, dim, dtype=dtype)

    cpdef Array run(self, Array x, int64_t dim):
        """dim: counted from 0."""
        cdef Array out = running(cumsum_forward, x if x.layout & DENSE else contiguous(x), dim)
        cdef CumsumNode node
        if x.wants_grad and grad_enabled():
            node = CumsumNode.__new__(CumsumNode)
            node.edges = (edge_of(x),)
            if x.output_nr:
                node.edge_nrs = (x.output_nr,)
            node.dim = dim
            record(node, out)
        return out


cdef class CumsumNode(Node):
    cdef int64_t dim

    def name(self):
        return "CumsumBackward"

    cdef int apply(self) except -1:
        return send(self, 0, running(cumsum_backward, self.grad if self.grad.layout & DENSE else contiguous(self.grad), self.dim), True)
