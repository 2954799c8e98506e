"""Joining and splitting: cat, stack, split, unbind. One node for all parts, so that backward fills one gradient (split) or hands
out views of one (cat).
"""
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from kernelgrad.core.array cimport Array, CHANNELS_LAST, CONTIGUOUS, MAX_DIMS, new_array, same_shape, shape_tuple
from kernelgrad.core.copying cimport copy_into
from kernelgrad.core.graph cimport Node, edge_of, grad_enabled, record, send
from kernelgrad.core.views cimport Plan, apply_plan, dim_of, identity, link

from kernelgrad.core.copying import zero_
from kernelgrad.core.promotion import result_type, to_dtype

# ---- Joining ----

cdef class JoinNode(Node):
    cdef int dim
    cdef bint stacked
    cdef tuple sizes

    cdef str label(self):
        return "StackBackward" if self.stacked else "CatBackward"

    cdef int apply(self) except -1:
        cdef int i
        cdef int64_t at = 0
        for i in range(len(self.edges)):
            if self.edges[i] is not None:
                send(self, i, part_of(self.grad, self.dim, at, self.sizes[i], self.stacked), False)
            at += self.sizes[i]
        return 0


cdef list joinable(object tensors, str name):
    """The tensors, of one dtype and device."""
    cdef list parts = list(tensors)
    cdef Array first, x
    cdef bint mixed = False
    if not parts:
        raise RuntimeError(f"{name}(): expected a non-empty list of Tensors")
    for i, part in enumerate(parts):
        if not isinstance(part, Array):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(part).__name__}")
    first = parts[0]
    for x in parts:
        if x.on != first.on:
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, got {first.device} and {x.device}: move one with .to()")
        mixed |= x.code != first.code
    if mixed:
        common = result_type(*parts)
        parts = [to_dtype(x, common) for x in parts]
    return parts


cdef Array join(list parts, int dim, bint stacked, Array out):
    """Copy the parts into `out` one behind the other along `dim`, and record."""
    cdef Array x
    cdef JoinNode node
    cdef int64_t at = 0, size
    cdef bint wanted = False, numbered = False
    for x in parts:
        size = 1 if stacked else x.dims[dim]
        if x.size:
            copy_into(part_of(out, dim, at, size, stacked), x)
        at += size
        wanted |= x.wants_grad
        numbered |= x.output_nr != 0
    if wanted and grad_enabled():
        node = JoinNode.__new__(JoinNode)
        node.dim = dim
        node.stacked = stacked
        node.sizes = tuple([1 if stacked else (<Array>part).dims[dim] for part in parts])
        node.edges = tuple([edge_of(<Array>part) for part in parts])
        if numbered:
            node.edge_nrs = tuple([(<Array>part).output_nr for part in parts])
        record(node, out)
    return out


def cat(tensors, int64_t dim=0):
    """The tensors one behind the other along a dimension that exists. Memory is channels_last if the first tensor's is."""
    cdef list parts = joinable(tensors, "cat")
    cdef Array first = None, x
    cdef int64_t dims[8]
    cdef int64_t total = 0
    cdef int i, d, n
    for i in range(len(parts)):
        x = parts[i]
        if x.nd == 0:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
        if first is None and not (x.nd == 1 and x.size == 0):
            first = x
    if first is None:
        return join(parts, 0, False, new_array(1, &total, (<Array>parts[0]).code, (<Array>parts[0]).on, False))
    # an empty 1-d tensor joins anything, as in PyTorch
    kept = [p for p in parts if not ((<Array>p).nd == 1 and (<Array>p).size == 0 and first.nd != 1)]
    d = dim_of(dim, first.nd)
    for n in range(len(kept)):
        x = kept[n]
        if x.nd != first.nd:
            raise RuntimeError(f"Tensors must have same number of dimensions: got {first.nd} and {x.nd}")
        for i in range(first.nd):
            if i != d and x.dims[i] != first.dims[i]:
                raise RuntimeError(f"Sizes of tensors must match except in dimension {d}. Expected size {first.dims[i]} but got size {x.dims[i]} "
                                   f"for tensor number {n} in the list.")
        total += x.dims[d]
    memcpy(dims, first.dims, sizeof(first.dims))
    dims[d] = total
    return join(kept, d, False, new_array(first.nd, dims, first.code, first.on,
                                          first.layout & CHANNELS_LAST and not first.layout & CONTIGUOUS))


def stack(tensors, int64_t dim=0):
    """Tensors of one shape, one behind the other along a new dimension."""
    cdef list parts = joinable(tensors, "stack")
    cdef Array first = parts[0], x
    cdef int64_t dims[8]
    cdef int i, d = dim_of(dim, first.nd + 1)
    if first.nd == MAX_DIMS:
        raise ValueError(f"stack: kernelgrad arrays have at most {MAX_DIMS} dimensions")
    for i in range(len(parts)):
        x = parts[i]
        if not same_shape(x, first):
            raise RuntimeError(f"stack expects each tensor to be equal size, but got {list(shape_tuple(first))} at entry 0 and "
                               f"{list(shape_tuple(x))} at entry {i}")
    for i in range(first.nd + 1):
        dims[i] = first.dims[i] if i < d else len(parts) if i == d else first.dims[i - 1]
    return join(parts, d, True, new_array(first.nd + 1, dims, first.code, first.on, False))


# ---- Several views at once: one node, so that backward fills one gradient ----

cdef class SplitNode(Node):
    cdef int nd, code, on, dim
    cdef bint nhwc, unbound
    cdef int64_t dims[8]
    cdef tuple sizes

    cdef str label(self):
        return "UnbindBackward" if self.unbound else "SplitBackward"

    cdef int apply(self) except -1:
        cdef Array out = new_array(self.nd, self.dims, self.code, self.on, self.nhwc), part, g
        cdef int i
        cdef int64_t at = 0, size
        for i in range(self.outputs):
            g = self.grad if i == 0 else None if self.grads is None else self.grads[i]
            size = 1 if self.unbound else self.sizes[i]
            part = part_of(out, self.dim, at, size, self.unbound)
            if g is None:
                zero_(part)
            else:
                copy_into(part, g)
            at += size
        return send(self, 0, out, True)


cdef Array part_of(Array x, int dim, int64_t at, int64_t size, bint drop):
    cdef Plan plan
    cdef int i
    identity(&plan, x)
    plan.start[dim] = at
    plan.size[dim] = size
    if drop:
        plan.nd -= 1
        for i in range(dim, plan.nd):
            plan.source[i] = i + 1
            plan.size[i] = x.dims[i + 1]
    return apply_plan(&plan, x)


cdef tuple parts_of(Array x, int dim, tuple sizes, int count, bint drop):
    cdef list parts = []
    cdef Array y
    cdef SplitNode node = None
    cdef int i
    cdef int64_t at = 0, size
    if x.wants_grad and grad_enabled() and count:
        node = SplitNode.__new__(SplitNode)
        node.nd = x.nd
        node.code = x.code
        node.on = x.on
        node.dim = dim
        node.unbound = drop
        node.nhwc = x.layout & CHANNELS_LAST and not x.layout & CONTIGUOUS
        node.sizes = sizes
        node.outputs = count
        memcpy(node.dims, x.dims, sizeof(x.dims))
        link(node, x)
    for i in range(count):
        size = 1 if drop else sizes[i]
        y = part_of(x, dim, at, size, drop)
        at += size
        if node is not None:
            record(node, y)
            y.output_nr = i
        parts.append(y)
    return tuple(parts)


def unbind(Array input not None, int64_t dim=0):
    """Tuple of views, one for each slice of `dim`."""
    cdef Array x = input
    if x.nd == 0:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    cdef int d = dim_of(dim, x.nd)
    return parts_of(x, d, None, <int>x.dims[d], True)


def split_sizes(Array input not None, tuple sizes, int64_t dim):
    """Tuple of views of the given sizes along `dim`; the caller has checked that they add up."""
    cdef Array x = input
    return parts_of(x, dim_of(dim, x.nd), sizes, len(sizes), False)
