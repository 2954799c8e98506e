"""Compiled callers, one per kind of op: check, allocate, run, record.

Unary      out = f(x; scalars)        kernels <name>_forward, <name>_backward
Binary     out = f(a, b), broadcast   kernel <name>_forward; a backward rule or kernels <name>_backward_x, <name>_backward_y
Ops of other kinds are `Function`s in ops/, beside their backward.
"""
cimport cython
from cpython.ref cimport PyObject, Py_REFCNT
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from kernelgrad.core.array cimport (
    Array, BFLOAT16, BOOL, CHANNELS_LAST, CONTIGUOUS, CPU, CUDA, DENSE, FLOAT32, FLOAT64, INT64, MAX_DIMS, UINT8, alias, cast, contiguous,
    copy_into, dtype, dtype_of, itemsize_of, new_array, new_like, same_shape, same_strides, scalar_array, set_layout, shape_tuple, view_of)
from kernelgrad.core.dispatch cimport Kernel, get_kernel, jit_function, kg_kernel, observed, run_chunks
from kernelgrad.core.graph cimport Node, check_version, edge_of, grad_enabled, record, send

from kernelgrad.core import array as arrays_module
from kernelgrad.core import graph as graph_module

cdef extern from "runtime/pool.h":
    ctypedef void kg_task(void *context, int64_t chunk) noexcept nogil
    void kg_parallel(kg_task *task, void *context, int64_t chunks, double us) nogil

cdef bint is_float(int code) noexcept nogil:
    return code >= BFLOAT16


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

    def into(self, Array x, *args):
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
            return self.run(cast(x, arrays_module.get_default_dtype()), scalars, None)
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


def check_writable(Array x, str name):
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


# ---- Broadcasting ----

cdef int broadcast_shape(list inputs, int64_t *dims, str name) except -1:
    """The common shape of the inputs by NumPy's rule; returns the number of dimensions."""
    cdef int nd = 0, i, offset
    cdef Array x
    for x in inputs:
        if x.nd > nd:
            nd = x.nd
    for i in range(nd):
        dims[i] = 1
    for x in inputs:
        offset = nd - x.nd
        for i in range(x.nd):
            if x.dims[i] != 1:
                if dims[offset + i] == 1:
                    dims[offset + i] = x.dims[i]
                elif dims[offset + i] != x.dims[i]:
                    shapes = " and ".join([str(shape_tuple(<Array>y)) for y in inputs])
                    raise RuntimeError(f"{name}: shapes {shapes} do not broadcast: sizes {dims[offset + i]} and {x.dims[i]} differ in dimension "
                                       f"{offset + i}; each pair must be equal or one of them 1")
    return nd


cdef struct Rows:
    kg_kernel *run
    int inputs, nd                   # outer dimensions
    char *base[6]                    # inputs, then output
    int64_t item[6]
    int64_t dims[8]
    int64_t steps[6][8]              # in bytes
    int64_t sizes[8]                 # n, then one step per input
    const double *scalars
    int64_t rows, count              # outer iterations, chunks


cdef void run_rows(void *context, int64_t chunk) noexcept nogil:
    """One chunk of the outer iterations: step all pointers like an odometer, one kernel call per row."""
    cdef Rows *r = <Rows *>context
    cdef int64_t start = chunk * r.rows // r.count, stop = (chunk + 1) * r.rows // r.count, row, rest = start
    cdef int64_t at[8]
    cdef void *pointers[6]
    cdef int d, i
    for i in range(r.inputs + 1):
        pointers[i] = r.base[i]
    for d in range(r.nd - 1, -1, -1):
        at[d] = rest % r.dims[d]
        rest //= r.dims[d]
        for i in range(r.inputs + 1):
            pointers[i] = <char *>pointers[i] + at[d] * r.steps[i][d]
    for row in range(start, stop):
        r.run(pointers, r.sizes, r.scalars, 0, r.sizes[0])
        d = r.nd - 1
        while d >= 0:
            at[d] += 1
            for i in range(r.inputs + 1):
                pointers[i] = <char *>pointers[i] + r.steps[i][d]
            if at[d] < r.dims[d]:
                break
            for i in range(r.inputs + 1):
                pointers[i] = <char *>pointers[i] - at[d] * r.steps[i][d]
            at[d] = 0
            d -= 1


cdef Array broadcast_run(Kernel k, list inputs, int out_code, const double *scalars, int n_scalars, Array out):
    """Run a broadcasting kernel over arrays of any strides; allocates `out` where None. Dtypes must be what the kernel takes."""
    cdef Rows r
    cdef int64_t dims[8]
    cdef int64_t steps[6][8]         # elements, output order of dimensions
    cdef int order[8]
    cdef int nd, i, j, d, n_inputs = len(inputs), offset, kept, swap
    cdef Array x
    cdef void *objects[6]
    cdef int64_t n
    nd = broadcast_shape(inputs, dims, k.name)
    if out is None:
        out = new_array(nd, dims, out_code, (<Array>inputs[0]).on, False)
        for x in inputs:             # keep the layout of an input that already has the output's shape
            if x.layout & DENSE and same_shape(x, out) and x.nd > 1:
                if not x.layout & CONTIGUOUS:
                    out = new_like(x, out_code)
                break
    elif not out.nd == nd or not all_equal(out, dims):
        raise RuntimeError(f"{k.name}: output with shape {shape_tuple(out)} doesn't match the broadcast shape {tuple([dims[i] for i in range(nd)])}")
    if out.size == 0:
        return out
    x = <Array>inputs[k.key]
    if x.on == CUDA:
        return broadcast_on_device(k, inputs, scalars, n_scalars, out, dims, nd)
    r.run = k.find(x.code)
    cdef str twin = "simd"
    if r.run == NULL:
        for i in range(n_inputs):
            objects[i] = <void *><Array>inputs[i]
        objects[n_inputs] = <void *>out
        r.run = jit_function(k, objects, n_inputs + 1, n_inputs + 1, n_scalars, x.code)
        twin = "jit"
        if r.run == NULL:
            n = out.size
            k.launch(objects, n_inputs + 1, &n, 1, scalars, n_scalars, True)     # the reference broadcasts by itself
            return out
    if observed():
        from kernelgrad.core.dispatch import observe_python
        observe_python(k, [*inputs, out], twin)
    # Dimensions in the output's memory order, largest stride first.
    for i in range(nd):
        order[i] = i
    for i in range(1, nd):
        j = i
        while j > 0 and out.strides[order[j - 1]] < out.strides[order[j]]:
            swap = order[j]
            order[j] = order[j - 1]
            order[j - 1] = swap
            j -= 1
    for i in range(n_inputs):
        x = <Array>inputs[i]
        offset = nd - x.nd
        for j in range(nd):
            d = order[j] - offset
            steps[i][j] = 0 if d < 0 or x.dims[d] == 1 else x.strides[d]
    for j in range(nd):
        steps[n_inputs][j] = out.strides[order[j]]
    # Coalesce neighbours that every array steps through alike; drop sizes of 1.
    kept = 0
    for j in range(nd):
        n = dims[order[j]]
        if n == 1:
            continue
        if kept:
            for i in range(n_inputs + 1):
                if steps[i][kept - 1] != steps[i][j] * n:
                    break
            else:
                for i in range(n_inputs + 1):
                    steps[i][kept - 1] = steps[i][j]
                r.dims[kept - 1] *= n
                continue
        for i in range(n_inputs + 1):
            steps[i][kept] = steps[i][j]
        r.dims[kept] = n
        kept += 1
    if kept == 0:
        kept = 1
        r.dims[0] = 1
        for i in range(n_inputs + 1):
            steps[i][0] = 1
    # The kernel takes steps of 0 or 1 along the innermost dimension.
    if steps[n_inputs][kept - 1] != 1:
        return through_contiguous_output(k, inputs, scalars, n_scalars, out)
    for i in range(n_inputs):
        if steps[i][kept - 1] != 0 and steps[i][kept - 1] != 1:
            replaced = list(inputs)
            like = new_like(out, (<Array>inputs[i]).code) if same_shape(<Array>inputs[i], out) and out.layout & DENSE else None
            if like is not None:
                copy_into(<Array>like, <Array>inputs[i])
                replaced[i] = like
            else:
                replaced[i] = contiguous(<Array>inputs[i]) if not (<Array>inputs[i]).layout & CONTIGUOUS else expanded(<Array>inputs[i], out)
            return broadcast_run(k, replaced, out_code, scalars, n_scalars, out)
    r.inputs = n_inputs
    r.nd = kept - 1
    r.sizes[0] = r.dims[kept - 1]
    r.rows = 1
    for j in range(r.nd):
        r.rows *= r.dims[j]
    r.scalars = scalars
    for i in range(n_inputs + 1):
        x = out if i == n_inputs else <Array>inputs[i]
        r.base[i] = <char *>x.data
        if i < n_inputs:
            r.sizes[i + 1] = steps[i][kept - 1]
        for j in range(r.nd):
            r.steps[i][j] = steps[i][j] * itemsize_of(x.code)
    cdef double ns = out.size * k.ns + r.rows * 5
    cdef void *pointers[6]
    if r.rows == 1:
        for i in range(n_inputs + 1):
            pointers[i] = r.base[i]
        if ns < 15000:
            r.run(pointers, r.sizes, scalars, 0, r.sizes[0])
        else:
            with nogil:
                run_chunks(r.run, pointers, r.sizes, scalars, ns, 64)
        return out
    r.count = 1 if ns < 15000 else min(<int64_t>(ns / 10000) + 1, 64)
    if r.count > r.rows:
        r.count = r.rows
    if r.count == 1:
        run_rows(&r, 0)
    else:
        with nogil:
            kg_parallel(run_rows, &r, r.count, ns / 1000)
    return out


cdef bint all_equal(Array x, const int64_t *dims) noexcept:
    cdef int i
    for i in range(x.nd):
        if x.dims[i] != dims[i]:
            return False
    return True


cdef Array through_contiguous_output(Kernel k, list inputs, const double *scalars, int n_scalars, Array out):
    cdef Array dense = broadcast_run(k, inputs, out.code, scalars, n_scalars, None)
    copy_into(out, dense)
    return out


cdef Array expanded(Array x, Array out):
    """x copied to out's full shape and layout."""
    cdef Array full = new_like(out, x.code) if out.layout & DENSE else new_array(out.nd, out.dims, x.code, out.on, False)
    cdef int64_t strides[8]
    cdef int i, offset = out.nd - x.nd
    for i in range(out.nd):
        strides[i] = 0 if i < offset or x.dims[i - offset] == 1 else x.strides[i - offset]
    copy_into(full, view_of(x, out.nd, out.dims, strides, 0))
    return full


cdef Array broadcast_on_device(Kernel k, list inputs, const double *scalars, int n_scalars, Array out, const int64_t *dims, int nd):
    """On a GPU every input is brought to the output's full shape first, unless it is one element."""
    cdef void *objects[6]
    cdef int64_t sizes[8]
    cdef int i
    cdef Array x
    full = []
    sizes[0] = out.size
    for i in range(len(inputs)):
        x = <Array>inputs[i]
        sizes[i + 1] = 1
        if x.size == 1 and out.size != 1:
            sizes[i + 1] = 0
        elif not (x.layout & DENSE and same_shape(x, out) and same_strides(x, out)):
            x = expanded(x, out)
        full.append(x)
        objects[i] = <void *>x
    objects[len(inputs)] = <void *>out
    k.launch(objects, len(inputs) + 1, sizes, len(inputs) + 1, scalars, n_scalars, False)
    return out


def broadcast(Kernel k, *inputs, dtype=None, scalars=()):
    """Run a broadcasting kernel on arrays; no graph. `dtype` is the output's, the first input's by default."""
    cdef double c_scalars[16]
    cdef int i
    cdef list arrays = list(inputs)
    for i in range(len(scalars)):
        c_scalars[i] = scalars[i]
    return broadcast_run(k, arrays, (<Array>arrays[0]).code if dtype is None else arrays_module.as_dtype(dtype).code, c_scalars, len(scalars), None)


cdef Kernel sum_kernel = None


cdef Array sum_to(Array g, int nd, const int64_t *dims):
    """Sum g over the dimensions that broadcasting added or stretched, so that it has the shape dims."""
    cdef int i, j, offset = g.nd - nd
    cdef int64_t sizes[3]
    cdef Array out, x
    cdef void *arrays[2]
    cdef bint reduce
    global sum_kernel
    if sum_kernel is None:
        sum_kernel = get_kernel("sum_forward")
    if g.size == 0 or itemsize_of(g.code) == 0:
        out = new_array(nd, dims, g.code, g.on, False)
        arrays_module.zero_(out)
        return out
    x = contiguous(g)
    cdef int64_t steps[8]
    cdef int64_t pair[2]
    cdef Array view
    # View as (outer, n, inner) around one run of reduced dimensions at a time, innermost run first.
    cdef int64_t shape[8]
    cdef bint reduced[8]
    for i in range(x.nd):
        shape[i] = x.dims[i]
        reduced[i] = i < offset or (dims[i - offset] == 1 and x.dims[i] != 1)
    cdef int nd_in = x.nd
    i = nd_in - 1
    while i >= 0:
        if not reduced[i]:
            i -= 1
            continue
        j = i
        sizes[1] = 1
        while j >= 0 and (reduced[j] or shape[j] == 1):
            sizes[1] *= shape[j]
            shape[j] = 1
            j -= 1
        sizes[0] = 1
        sizes[2] = 1
        for a in range(0, j + 1):
            sizes[0] *= shape[a]
        for a in range(i + 1, nd_in):
            sizes[2] *= shape[a]
        pair[0] = sizes[0]
        pair[1] = sizes[2]
        view = view_of(x, 3, sizes, contiguous_strides(3, sizes, steps), 0)
        out = new_array(2, pair, x.code, x.on, False)
        arrays[0] = <void *>view
        arrays[1] = <void *>out
        sum_kernel.launch(arrays, 2, sizes, 3, NULL, 0, False)
        x = out
        i = j
    return view_of(x, nd, dims, contiguous_strides(nd, dims, shape), 0)


cdef int64_t *contiguous_strides(int nd, const int64_t *dims, int64_t *strides) noexcept:
    cdef int64_t n = 1
    cdef int i
    for i in range(nd - 1, -1, -1):
        strides[i] = n
        n *= dims[i]
    return strides


def sum_to_shape(Array g, shape):
    """Sum `g` to a shape it broadcasts from; no graph."""
    cdef int64_t dims[8]
    cdef int i
    for i in range(len(shape)):
        dims[i] = shape[i]
    return sum_to(g, len(shape), dims)


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

cdef Kernel add_kernel, mul_kernel, div_kernel, neg_kernel


cdef Array add_raw(Array a, Array b):
    return broadcast_run(add_kernel, [a, b], a.code, NULL, 0, None)


def add_into(Array dst, Array src):
    """dst += src for equal shapes; no graph."""
    broadcast_run(add_kernel, [dst, src], dst.code, NULL, 0, dst)
    dst.storage.version += 1


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
            code = BOOL if isinstance(x, bool) else INT64 if isinstance(x, int) else (<dtype>arrays_module.get_default_dtype()).code
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
                    if run != NULL and a.size * self.forward.ns < 15000 and not observed():
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
                if run != NULL and a.size * self.forward.ns < 15000 and not observed():
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

    def into(self, Array x, other):
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
            code = (<dtype>arrays_module.get_default_dtype()).code
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


cdef Array number_array(object value, int code, int on):
    """A 0-d array of a Python number; exact for integers."""
    cdef Array x
    if is_float(code):
        return scalar_array(value, code, on)
    x = new_array(0, NULL, code, CPU, False)
    if code == INT64:
        (<int64_t *>x.data)[0] = value
        return x if on == CPU else arrays_module.move(x, "cuda")
    return arrays_module.full((), value, dtype_of(code), "cpu" if on == CPU else "cuda")


cdef Array recorded_cast(Array source, Array wide):
    """The cast of an operand that wants a gradient, as part of the graph."""
    cdef CastNode node = CastNode.__new__(CastNode)
    cdef Array out = alias(wide) if wide is not source else wide
    node.edges = (edge_of(source),)
    node.edge_nrs = (source.output_nr,)
    node.code = source.code
    record(node, out)
    return out


def to_dtype(Array x, dtype):
    """`x` in another dtype, recorded; `x` itself where the dtype is already right."""
    cdef dtype_type = arrays_module.as_dtype(dtype)
    cdef Array out = cast(x, dtype_type)
    if out is not x and x.wants_grad and grad_enabled() and is_float(out.code):
        return recorded_cast(x, out)
    return out


cdef class CastNode(Node):
    cdef int code

    cdef int apply(self) except -1:
        return send(self, 0, cast(self.grad, dtype_of(self.code)), self.grad.code != self.code)


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


cdef Kernel div_backward_y
add_kernel = get_kernel("add_forward")
mul_kernel = get_kernel("mul_forward")
div_kernel = get_kernel("div_forward")
div_backward_y = get_kernel("div_backward_y")


def add_arrays(Array a, Array b):
    """a + b for gradients; no graph."""
    return add_raw(a, b)


graph_module.set_accumulators(add_arrays, add_into)
