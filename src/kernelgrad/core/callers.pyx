"""Compiled callers, one per kind of op: check, allocate, run, record.

Unary      out = f(x; scalars)        kernels <name>_forward, <name>_backward
Binary     out = f(a, b), broadcast   kernel <name>_forward; a backward rule or kernels <name>_backward_x, <name>_backward_y
Ops of other kinds are `Function`s in ops/, beside their backward.
"""
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from kernelgrad.core.array cimport Array, DENSE, alias, new_like, same_shape, same_strides, shape_tuple
from kernelgrad.core.copying cimport cast, contiguous, copy_into, scalar_array
from kernelgrad.core.dtypes cimport BFLOAT16, BOOL, CPU, FLOAT32, default_float, dtype_of
from kernelgrad.core.broadcast cimport broadcast_run, sum_to
from kernelgrad.core.dispatch cimport Kernel, SERIAL_NS, get_kernel, kg_kernel, observed
from kernelgrad.core.graph cimport Node, check_version, edge_of, grad_enabled, record, send
from kernelgrad.core.promotion cimport category, is_float, is_number, number_array, recorded_cast, result_code

cdef int refuse(str name, object x) except -1:
    raise TypeError(f"{name}(): argument 'input' must be Tensor, not {type(x).__name__}")


# ---- Unary ----

NONE, INPUT, OUTPUT = 0, 1, 2


cdef class Unary:
    """An elementwise op of one array. Declares itself: what backward saves, its scalar parameters, what integers become.

    integers: "float" computes integers in the default float dtype, "keep" in their own dtype, "raise" refuses them.
    """
    cdef readonly str __name__
    cdef public str __doc__
    cdef readonly int saves
    cdef tuple scalars          # ((name, default), ...)
    cdef tuple scalar_names
    cdef str integers
    cdef Kernel forward, backward

    def __init__(self, str name, saves=NONE, scalars=(), integers="float", differentiable=True, doc=None):
        self.__name__ = name
        self.__doc__ = doc
        self.saves = saves
        self.scalars = tuple(scalars)
        self.scalar_names = tuple([s[0] for s in scalars])
        self.integers = integers
        self.forward = get_kernel(name + "_forward")
        self.backward = get_kernel(name + "_backward") if differentiable else None

    def __repr__(self):
        return f"<op {self.__name__}>"

    def __call__(self, *args, **kwargs):
        cdef Array x
        cdef double scalars[4]
        cdef int i, n = len(self.scalars), given = len(args)
        if given:
            if not isinstance(args[0], Array):
                refuse(self.__name__, args[0])
            x = <Array>args[0]
        elif "input" in kwargs:
            if not isinstance(kwargs["input"], Array):
                refuse(self.__name__, kwargs["input"])
            x = <Array>kwargs.pop("input")
            given = 1
        else:
            raise TypeError(f"{self.__name__}() missing 1 required positional argument: 'input'")
        if given > n + 1:
            raise TypeError(f"{self.__name__}() takes from 1 to {n + 1} positional arguments but {given} were given")
        for i in range(n):
            scalars[i] = args[i + 1] if i + 1 < given else kwargs.pop(self.scalar_names[i], self.scalars[i][1])
        if kwargs:
            raise TypeError(f"{self.__name__}() got an unexpected keyword argument {next(iter(kwargs))!r}")
        return self.run(x, scalars, None)

    def into(self, Array x not None, *args):
        """In place: x becomes f(x). Recorded like any op; a leaf that requires grad is refused."""
        cdef double scalars[4]
        cdef int i
        for i in range(len(self.scalars)):
            scalars[i] = args[i] if i < len(args) else self.scalars[i][1]
        check_inplace(x, self.__name__)
        if not is_float(x.code) and self.integers != "keep":
            raise RuntimeError(f"{self.__name__}_: result type Float can't be cast to the desired output type {dtype_of(x.code).name}")
        return self.run(x, scalars, x)

    cdef Array run(self, Array x, double *scalars, Array target):
        cdef Array out, source
        cdef void *arrays[2]
        cdef int64_t n
        cdef UnaryNode node
        cdef int i
        if not is_float(x.code) and self.integers != "keep":
            if self.integers == "raise":
                raise TypeError(f"{self.__name__}: expected a floating-point tensor, got {dtype_of(x.code).name}; convert with .float()")
            return self.run(cast(x, default_float()), scalars, None)
        if x.code == BFLOAT16:
            return through_float32(self, x, scalars, target)
        source = x if x.layout & DENSE else contiguous(x)
        n = x.size
        if target is None:
            out = new_like(source, x.code)
        elif source is x:
            out = x
        else:
            out = new_like(source, x.code)
        if n:
            arrays[0] = <void *>source
            arrays[1] = <void *>out
            self.forward.launch(arrays, 2, &n, 1, scalars, <int>len(self.scalars), True)
        if target is not None:
            if out is not target:
                copy_into(target, out)
                out = target
            target.storage.version += 1
        if x.wants_grad and self.backward is not None and grad_enabled():
            node = UnaryNode.__new__(UnaryNode)
            node.op = self
            node.edges = (edge_of(x),)
            if x.output_nr:
                node.edge_nrs = (x.output_nr,)
            for i in range(len(self.scalars)):
                node.scalars[i] = scalars[i]
            if self.saves == INPUT:
                if target is not None:
                    raise RuntimeError(f"{self.__name__}_: backward needs the input that the in-place form overwrites; use the out-of-place form")
                node.saved = source
                node.version = source.storage.version
            elif self.saves == OUTPUT:
                node.saved = alias(out)
                node.version = out.storage.version
            record(node, out)
            out.output_nr = 0
        return out


cdef Array through_float32(Unary op, Array x, double *scalars, Array target):
    """bfloat16 stores; arithmetic is float32."""
    cdef Array wide
    if x.wants_grad and grad_enabled():
        raise NotImplementedError(f"{op.__name__}: gradients through bfloat16 tensors are not supported; compute with .float()")
    wide = cast(op.run(cast(x, dtype_of(FLOAT32)), scalars, None), dtype_of(BFLOAT16))
    if target is None:
        return wide
    copy_into(target, wide)
    target.storage.version += 1
    return target


cdef int check_inplace(Array x, str name) except -1:
    if x.storage.read_only:
        raise RuntimeError(f"{name}_: this tensor shares memory with a read-only NumPy array; clone() it first")
    if x.wants_grad and grad_enabled():
        if x.node is None:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        if x.is_view:
            raise NotImplementedError(f"{name}_: in-place operations on a view that is part of a graph are not supported; use the out-of-place form")
    if not x.layout & DENSE:
        for i in range(x.nd):
            if x.strides[i] == 0 and x.dims[i] > 1:
                raise RuntimeError("unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
                                   "Please clone() the tensor before performing the operation.")
    return 0


def check_writable(Array x not None, str name):
    """Raise unless `x` may be changed in place now."""
    check_inplace(x, name)


cdef class UnaryNode(Node):
    cdef Unary op
    cdef Array saved
    cdef int64_t version
    cdef double scalars[4]

    cdef str label(self):
        return self.op.__name__.title().replace("_", "") + "Backward"

    cdef int release(self) except -1:
        self.saved = None
        return 0

    cdef int apply(self) except -1:
        cdef Array g = self.grad, out
        cdef void *arrays[3]
        cdef int64_t n = g.size
        cdef int count = 2
        if self.saved is not None:
            check_version(self.saved, self.version, self)
            if not same_strides(g, self.saved) or not g.layout & DENSE:
                like = new_like(self.saved, g.code)
                copy_into(like, g)
                g = like
            arrays[0] = <void *>self.saved
            count = 3
        elif not g.layout & DENSE:
            g = contiguous(g)
        out = new_like(g, g.code)
        arrays[count - 2] = <void *>g
        arrays[count - 1] = <void *>out
        if n:
            self.op.backward.launch(arrays, count, &n, 1, self.scalars, <int>len(self.op.scalars), True)
        return send(self, 0, out, True)


# ---- Binary ----

RULES = ("none", "add", "sub", "mul", "div", "kernels", "add_scaled")
cdef enum:
    RULE_NONE = 0
    RULE_ADD = 1
    RULE_SUB = 2
    RULE_MUL = 3
    RULE_DIV = 4
    RULE_KERNELS = 5
    RULE_ADD_SCALED = 6

cdef Kernel mul_kernel, div_kernel, div_backward_y


cdef class Binary:
    """An elementwise op of two operands with broadcasting; either may be a Python number.

    rule: how gradients are formed ("add", "sub", "mul", "div", "kernels" for <name>_backward_x and _y, "none").
    result: "promote", "bool" for comparisons, "float" for true division (integers become the default float).
    """
    cdef readonly str __name__
    cdef public str __doc__
    cdef int rule
    cdef str result
    cdef Kernel forward, backward_x, backward_y
    cdef bint fast                   # float32 kernel in C

    def __init__(self, str name, rule="none", result="promote", doc=None):
        self.__name__ = name
        self.__doc__ = doc
        self.rule = RULES.index(rule)
        self.result = result
        self.forward = get_kernel(name + "_forward")
        if self.rule == RULE_KERNELS:
            self.backward_x = get_kernel(name + "_backward_x")
            self.backward_y = get_kernel(name + "_backward_y")

    def __repr__(self):
        return f"<op {self.__name__}>"

    def __call__(self, input, other):
        cdef Array a, b, out
        cdef kg_kernel *run
        cdef void *pointers[3]
        cdef int64_t sizes[3]
        cdef float number
        if isinstance(input, Array):
            a = <Array>input
            if isinstance(other, Array):
                b = <Array>other
                # The common case: float32 tensors of one shape and layout on the CPU.
                if a.code == FLOAT32 and b.code == FLOAT32 and a.on == CPU and b.on == CPU and a.layout & b.layout & DENSE \
                        and same_shape(a, b) and same_strides(a, b) and self.result != "bool":
                    run = self.forward.find(FLOAT32)
                    if run != NULL and a.size * self.forward.ns < SERIAL_NS and not observed():
                        out = new_like(a, FLOAT32)
                        pointers[0] = a.data
                        pointers[1] = b.data
                        pointers[2] = out.data
                        sizes[0] = a.size
                        sizes[1] = 1
                        sizes[2] = 1
                        run(pointers, sizes, NULL, 0, sizes[0])
                        if (a.wants_grad or b.wants_grad) and self.rule != RULE_NONE and grad_enabled():
                            self.record(a, b, 0, out)
                        return out
            elif type(other) is float and a.code == FLOAT32 and a.on == CPU and a.layout & DENSE and self.result != "bool":
                run = self.forward.find(FLOAT32)
                if run != NULL and a.size * self.forward.ns < SERIAL_NS and not observed():
                    out = new_like(a, FLOAT32)
                    number = <float><double>other
                    pointers[0] = a.data
                    pointers[1] = &number
                    pointers[2] = out.data
                    sizes[0] = a.size
                    sizes[1] = 1
                    sizes[2] = 0
                    run(pointers, sizes, NULL, 0, sizes[0])
                    if a.wants_grad and self.rule != RULE_NONE and grad_enabled():
                        self.record(a, None, <double>other, out)
                    return out
        return self.general(input, other, None)

    def into(self, Array x not None, other):
        """In place: x becomes f(x, other), in x's dtype. Recorded like any op; a leaf that requires grad is refused."""
        check_inplace(x, self.__name__)
        return self.general(x, other, x)

    cdef object general(self, object input, object other, Array target):
        cdef int code, on = CPU, out_code
        cdef Array a = None, b = None, x, y, out
        cdef double number = 0
        if isinstance(input, Array):
            a = <Array>input
        elif not is_number(input):
            return NotImplemented
        if isinstance(other, Array):
            b = <Array>other
        elif not is_number(other):
            return NotImplemented
        if a is None and b is None:
            raise TypeError(f"{self.__name__}(): at least one argument must be a Tensor, got {type(input).__name__} and {type(other).__name__}")
        code = result_code([input, other])
        if self.result == "float" and not is_float(code):
            code = default_float().code
        on = a.on if a is not None else b.on
        if a is not None and b is not None and a.on != b.on:
            if a.nd == 0 and a.on == CPU and not a.wants_grad:
                input, a, on = a.item(), None, b.on
            elif b.nd == 0 and b.on == CPU and not b.wants_grad:
                other, b = b.item(), None
            else:
                raise RuntimeError(f"{self.__name__}: expected all tensors to be on the same device, got {a.device} and {b.device}: move one with .to()")
        out_code = BOOL if self.result == "bool" else code
        if target is not None:
            if category(out_code) > category(target.code):
                raise RuntimeError(f"result type {dtype_of(out_code).name} can't be cast to the desired output type {dtype_of(target.code).name}")
        if code == BFLOAT16:
            return self.in_float32(input, other, target)
        x = cast(a, dtype_of(code)) if a is not None else number_array(input, code, on)
        y = cast(b, dtype_of(code)) if b is not None else number_array(other, code, on)
        if target is not None and target.code == out_code:
            out = broadcast_run(self.forward, [x, y], out_code, NULL, 0, self.target_of(target, x, y))
            if out is not target:
                copy_into(target, out)
                out = target
            target.storage.version += 1
        elif target is not None:
            out = broadcast_run(self.forward, [x, y], out_code, NULL, 0, None)
            if not same_shape(out, target):
                raise RuntimeError(f"{self.__name__}_: output with shape {shape_tuple(target)} doesn't match the broadcast shape {shape_tuple(out)}")
            copy_into(target, cast(out, dtype_of(target.code)))
            target.storage.version += 1
            out = target
        else:
            out = broadcast_run(self.forward, [x, y], out_code, NULL, 0, None)
        if self.rule != RULE_NONE and is_float(out_code) and grad_enabled() and (
                (a is not None and a.wants_grad) or (b is not None and b.wants_grad)):
            if a is not None and x is not a and a.wants_grad:
                x = recorded_cast(a, x)
            if b is not None and y is not b and b.wants_grad:
                y = recorded_cast(b, y)
            if a is None:
                number = input
            elif b is None:
                number = other
            self.record(x if a is not None else None, y if b is not None else None, number, out)
        return out

    cdef Array target_of(self, Array target, Array x, Array y):
        """Write straight into the target unless an operand overlaps it in another order."""
        cdef Array other
        for other in (x, y):
            if other is not target and other.storage is target.storage and not (other.data == target.data and same_shape(other, target)
                                                                                and same_strides(other, target)):
                return None
        return target if target.layout & DENSE else None

    cdef object in_float32(self, object input, object other, Array target):
        """bfloat16 stores; arithmetic is float32."""
        if grad_enabled() and ((isinstance(input, Array) and (<Array>input).wants_grad) or (isinstance(other, Array) and (<Array>other).wants_grad)):
            raise NotImplementedError(f"{self.__name__}: gradients through bfloat16 tensors are not supported; compute with .float()")
        if isinstance(input, Array):
            input = cast(<Array>input, dtype_of(FLOAT32))
        if isinstance(other, Array):
            other = cast(<Array>other, dtype_of(FLOAT32))
        out = self.general(input, other, None)
        if self.result != "bool":
            out = cast(<Array>out, dtype_of(BFLOAT16))
        if target is None:
            return out
        copy_into(target, cast(<Array>out, dtype_of(target.code)))
        target.storage.version += 1
        return target

    cdef int record(self, Array a, Array b, double number, Array out) except -1:
        cdef BinaryNode node = BinaryNode.__new__(BinaryNode)
        cdef bint grad_a = a is not None and a.wants_grad, grad_b = b is not None and b.wants_grad
        node.op = self
        node.number = number
        node.edges = (edge_of(a) if grad_a else None, edge_of(b) if grad_b else None)
        if (grad_a and a.output_nr) or (grad_b and b.output_nr):
            node.edge_nrs = (a.output_nr if grad_a else 0, b.output_nr if grad_b else 0)
        if a is not None:
            node.a_nd = a.nd
            node.a_same = same_shape(a, out)
            if not node.a_same:
                memcpy(node.a_dims, a.dims, sizeof(a.dims))
        if b is not None:
            node.b_nd = b.nd
            node.b_same = same_shape(b, out)
            if not node.b_same:
                memcpy(node.b_dims, b.dims, sizeof(b.dims))
        if self.rule == RULE_MUL:
            if grad_b:
                node.save_a(a)
            if grad_a:
                node.save_b(b)
        elif self.rule == RULE_DIV or self.rule == RULE_KERNELS:
            if grad_b or self.rule == RULE_KERNELS:
                node.save_a(a)
            node.save_b(b)
        out.output_nr = 0
        record(node, out)
        return 0


cdef class BinaryNode(Node):
    cdef Binary op
    cdef Array a, b
    cdef int64_t a_version, b_version
    cdef double number
    cdef int a_nd, b_nd
    cdef bint a_same, b_same
    cdef int64_t a_dims[8]
    cdef int64_t b_dims[8]

    cdef str label(self):
        return self.op.__name__.title().replace("_", "") + "Backward"

    cdef int save_a(self, Array a) except -1:
        self.a = a
        if a is not None:
            self.a_version = a.storage.version
        return 0

    cdef int save_b(self, Array b) except -1:
        self.b = b
        if b is not None:
            self.b_version = b.storage.version
        return 0

    cdef int release(self) except -1:
        self.a = None
        self.b = None
        return 0

    cdef Array operand(self, Array x, Array g):
        return x if x is not None else scalar_array(self.number, g.code, g.on)

    cdef int apply(self) except -1:
        cdef Array g = self.grad
        cdef int rule = self.op.rule
        if self.a is not None:
            check_version(self.a, self.a_version, self)
        if self.b is not None:
            check_version(self.b, self.b_version, self)
        if self.edges[0] is not None:
            if rule == RULE_ADD or rule == RULE_SUB:
                self.deliver(0, g, False)
            elif rule == RULE_MUL:
                self.deliver(0, broadcast_run(mul_kernel, [g, self.operand(self.b, g)], g.code, NULL, 0, None), True)
            elif rule == RULE_DIV:
                self.deliver(0, broadcast_run(div_kernel, [g, self.operand(self.b, g)], g.code, NULL, 0, None), True)
            else:
                self.deliver(0, broadcast_run(self.op.backward_x, [self.operand(self.a, g), self.operand(self.b, g), g], g.code, NULL, 0, None), True)
        if self.edges[1] is not None:
            if rule == RULE_ADD:
                self.deliver(1, g, False)
            elif rule == RULE_SUB:
                self.deliver(1, broadcast_run(mul_kernel, [g, scalar_array(-1, g.code, g.on)], g.code, NULL, 0, None), True)
            elif rule == RULE_MUL:
                self.deliver(1, broadcast_run(mul_kernel, [g, self.operand(self.a, g)], g.code, NULL, 0, None), True)
            elif rule == RULE_DIV:
                self.deliver(1, broadcast_run(div_backward_y, [self.operand(self.a, g), self.b, g], g.code, NULL, 0, None), True)
            else:
                self.deliver(1, broadcast_run(self.op.backward_y, [self.operand(self.a, g), self.operand(self.b, g), g], g.code, NULL, 0, None), True)
        return 0

    cdef int deliver(self, int i, Array g, bint owned) except -1:
        if i == 0 and not self.a_same:
            return send(self, 0, sum_to(g, self.a_nd, self.a_dims), True)
        if i == 1 and not self.b_same:
            return send(self, 1, sum_to(g, self.b_nd, self.b_dims), True)
        return send(self, i, g, owned)


mul_kernel = get_kernel("mul_forward")
div_kernel = get_kernel("div_forward")
div_backward_y = get_kernel("div_backward_y")
