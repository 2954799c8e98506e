"""Basic indexing: ints, slices, None and Ellipsis give views."""
from libc.stdint cimport int64_t

from kernelgrad.core.array cimport Array, MAX_DIMS
from kernelgrad.core.views cimport Plan, view_by_plan


cdef int64_t clipped(object bound, int64_t size, int64_t absent) except? -1:
    """One end of a slice as 0 .. size."""
    cdef int64_t b
    if bound is None:
        return absent
    try:
        b = bound
    except OverflowError:
        b = size if bound > 0 else -size
    if b < 0:
        b += size
    return 0 if b < 0 else size if b > size else b


cdef int take_slice(Plan *plan, Array x, int d, slice s) except -1:
    cdef int64_t step = 1, first, last
    if s.step is not None:
        step = s.step
        if step <= 0:
            raise ValueError("step must be greater than zero")
    first = clipped(s.start, x.dims[d], 0)
    last = clipped(s.stop, x.dims[d], x.dims[d])
    plan.source[plan.nd] = d
    plan.size[plan.nd] = (last - first + step - 1) // step if last > first else 0
    plan.start[d] = first if plan.size[plan.nd] else 0
    plan.step[d] = step
    if plan.size[plan.nd] != x.dims[d]:
        plan.whole = False
    plan.nd += 1
    return 0


cdef int take_index(Plan *plan, Array x, int d, int64_t i) except -1:
    if i < -x.dims[d] or i >= x.dims[d]:
        raise IndexError(f"index {i} is out of bounds for dimension {d} with size {x.dims[d]}")
    plan.start[d] = i + x.dims[d] if i < 0 else i
    plan.step[d] = 1
    if x.dims[d] != 1:
        plan.whole = False
    return 0


cdef bint is_index(object item) noexcept:
    """An integer that is neither a bool nor an array."""
    return type(item) is int or (hasattr(item, "__index__") and not isinstance(item, (bool, Array)) and not hasattr(item, "ndim"))


cdef Array index_one(Array x, object item):
    """x[item] for an int or a slice."""
    cdef Plan plan
    cdef int i, taken
    if x.nd == 0:
        if isinstance(item, slice):
            raise IndexError("slice() cannot be applied to a 0-dim tensor.")
        raise IndexError("invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim "
                         "tensor to a number")
    plan.nd = 0
    plan.whole = True
    if type(item) is slice:
        take_slice(&plan, x, 0, <slice>item)
    else:
        take_index(&plan, x, 0, item)
    for i in range(1, x.nd):
        plan.source[plan.nd] = i
        plan.size[plan.nd] = x.dims[i]
        plan.start[i] = 0
        plan.step[i] = 1
        plan.nd += 1
    return view_by_plan(x, &plan, "SelectBackward")


def index_basic(Array input not None, index):
    """The view x[index] if `index` has only ints, slices, None and Ellipsis; None if it has anything else."""
    cdef Array x = input
    cdef Plan plan
    cdef int d = 0, i, used = 0
    cdef bint dots = False
    cdef object kind = type(index)
    if kind is int or kind is slice:
        return index_one(x, index)
    if kind is not tuple:
        if index is None or index is Ellipsis:
            index = (index,)
        elif is_index(index):
            return index_one(x, index.__index__())
        elif hasattr(index, "ndim") and not isinstance(index, Array) and index.ndim == 0 and index.dtype.kind in "iu":
            return index_one(x, int(index))
        else:
            return None
    for item in <tuple>index:
        kind = type(item)
        if kind is int or kind is slice:
            used += 1
        elif item is None:
            pass
        elif item is Ellipsis:
            if dots:
                raise IndexError("an index can only have a single ellipsis ('...')")
            dots = True
        elif is_index(item):
            used += 1
        else:
            return None
    if used > x.nd:
        raise IndexError(f"too many indices for tensor of dimension {x.nd}")
    plan.nd = 0
    plan.whole = True
    for item in <tuple>index:
        if plan.nd == MAX_DIMS and (item is None or type(item) is slice):
            raise ValueError(f"index: kernelgrad arrays have at most {MAX_DIMS} dimensions")
        if item is None:
            plan.source[plan.nd] = -1
            plan.size[plan.nd] = 1
            plan.nd += 1
        elif item is Ellipsis:
            for i in range(x.nd - used):
                if plan.nd == MAX_DIMS:
                    raise ValueError(f"index: kernelgrad arrays have at most {MAX_DIMS} dimensions")
                keep_dim(&plan, x, d)
                d += 1
        elif type(item) is slice:
            take_slice(&plan, x, d, <slice>item)
            d += 1
        else:
            take_index(&plan, x, d, item if type(item) is int else item.__index__())
            d += 1
    while d < x.nd:
        if plan.nd == MAX_DIMS:
            raise ValueError(f"index: kernelgrad arrays have at most {MAX_DIMS} dimensions")
        keep_dim(&plan, x, d)
        d += 1
    return view_by_plan(x, &plan, "SliceBackward")


cdef void keep_dim(Plan *plan, Array x, int d) noexcept:
    plan.source[plan.nd] = d
    plan.size[plan.nd] = x.dims[d]
    plan.start[d] = 0
    plan.step[d] = 1
    plan.nd += 1
