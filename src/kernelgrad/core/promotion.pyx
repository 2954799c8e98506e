"""Dtypes of results: PyTorch's promotion of tensors and Python numbers, and casts as part of the graph."""
from libc.stdint cimport int64_t

from kernelgrad.core.array cimport Array, alias, new_array
from kernelgrad.core.copying cimport cast, scalar_array
from kernelgrad.core.dtypes cimport BFLOAT16, BOOL, CPU, INT64, UINT8, default_float, dtype, dtype_of
from kernelgrad.core.graph cimport Node, edge_of, grad_enabled, record, send

from kernelgrad.core.copying import full, move
from kernelgrad.core.dtypes import as_dtype


cdef bint is_float(int code) noexcept nogil:
    return code >= BFLOAT16


cdef int category(int code) noexcept:
    return 0 if code == BOOL else 1 if code <= INT64 else 2


cdef int promote(int a, int b) noexcept:
    if a == b:
        return a
    if category(a) != category(b):
        return a if category(a) > category(b) else b
    if category(a) == 1 and (a == UINT8 or b == UINT8):
        # uint8 with int8 needs a wider signed type; PyTorch says int16, the next we have is int32
        return max(max(a, b), 3)
    return max(a, b)


cdef int result_code(list operands) except -1:
    """PyTorch's promotion: dimensioned tensors, then 0-d tensors, then Python numbers; a later group counts only if its category is higher."""
    cdef int groups[3]
    cdef int g, code
    cdef object x
    groups[0] = groups[1] = groups[2] = -1
    for x in operands:
        if isinstance(x, Array):
            g = 0 if (<Array>x).nd else 1
            code = (<Array>x).code
        else:
            g = 2
            code = BOOL if isinstance(x, bool) else INT64 if isinstance(x, int) else default_float().code
        groups[g] = code if groups[g] < 0 else promote(groups[g], code)
    code = groups[0]
    for g in range(1, 3):
        if groups[g] >= 0 and (code < 0 or category(groups[g]) > category(code)):
            code = groups[g]
    return code


def result_type(*operands):
    """The dtype that PyTorch's promotion rules give tensors and Python numbers together."""
    return dtype_of(result_code(list(operands)))


cdef bint is_number(object x):
    return isinstance(x, (float, int)) or hasattr(x, "__float__") and not isinstance(x, Array) and not hasattr(x, "__array__") \
        or type(x).__module__ == "numpy" and getattr(x, "ndim", 1) == 0


cdef Array number_array(object value, int code, int on):
    """A 0-d array of a Python number; exact for integers."""
    cdef Array x
    if is_float(code):
        return scalar_array(value, code, on)
    x = new_array(0, NULL, code, CPU, False)
    if code == INT64:
        (<int64_t *>x.data)[0] = value
        return x if on == CPU else move(x, "cuda")
    return full((), value, dtype_of(code), "cpu" if on == CPU else "cuda")


cdef Array recorded_cast(Array source, Array wide):
    """The cast of an operand that wants a gradient, as part of the graph."""
    cdef CastNode node = CastNode.__new__(CastNode)
    cdef Array out = alias(wide) if wide is not source else wide
    node.edges = (edge_of(source),)
    node.edge_nrs = (source.output_nr,)
    node.code = source.code
    record(node, out)
    return out


def to_dtype(Array x not None, dtype):
    """`x` in another dtype, recorded; `x` itself where the dtype is already right."""
    cdef dtype_type = as_dtype(dtype)
    cdef Array out = cast(x, dtype_type)
    if out is not x and x.wants_grad and grad_enabled() and is_float(out.code):
        return recorded_cast(x, out)
    return out


cdef class CastNode(Node):
    cdef int code

    cdef int apply(self) except -1:
        return send(self, 0, cast(self.grad, dtype_of(self.code)), self.grad.code != self.code)
