"""Compiled callers of losses, with the reduction (0 none, 1 mean, 2 sum) in the same kernel.

PointwiseLoss   of input and target, element by element; kernels <name>_forward, <name>_backward[_target]
CrossEntropy    of logits (outer, classes, inner) and int64 classes (outer, inner); NLLLoss of log-probabilities
They keep their arguments for backward, cross entropy the log-sum-exp of each row as well, NLLLoss the classes alone.
"""
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from kernelgrad.core.array cimport Array, CHANNELS_LAST, CONTIGUOUS, DENSE, new_array, new_like, same_shape
from kernelgrad.core.copying cimport contiguous
from kernelgrad.core.dtypes cimport CPU, FLOAT32, FLOAT64, INT64
from kernelgrad.core.blocks cimport block_of, flat_of, laid_like, run_direct
from kernelgrad.core.dispatch cimport Kernel, get_kernel
from kernelgrad.core.graph cimport Node, check_version, edge_of, grad_enabled, record, send, wanted

REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}
cdef dict reductions = REDUCTIONS
cdef int NONE = 0


cdef int link_inputs(Node node, Array x, Array y) except -1:
    node.edges = (edge_of(x), edge_of(y))
    if (x.wants_grad and x.output_nr) or (y.wants_grad and y.output_nr):
        node.edge_nrs = (x.output_nr, y.output_nr)
    return 0


# ---- Pointwise ----

cdef class PointwiseLoss:
    """``loss(input, target, size_average, reduce, reduction, weight)``: equal dense float arrays in C, all else by `general`."""
    cdef readonly str __name__
    cdef public str __doc__
    cdef Kernel forward, backward, backward_target
    cdef object general

    def __init__(self, str name, symmetric=True, general=None):
        self.__name__ = name
        self.__doc__ = general.__doc__
        self.forward = get_kernel(name + "_forward")
        self.backward = get_kernel(name + "_backward")
        self.backward_target = None if symmetric else get_kernel(name + "_backward_target")
        self.general = general

    def __repr__(self):
        return f"<op {self.__name__}>"

    def __call__(self, input, target, size_average=None, reduce=None, reduction="mean", weight=None):
        cdef Array x, y
        if isinstance(input, Array) and isinstance(target, Array) and weight is None and size_average is None and reduce is None:
            x = <Array>input
            y = <Array>target
            mode = reductions.get(reduction)
            if mode is not None and x.code == y.code and (x.code == FLOAT32 or x.code == FLOAT64) and x.layout & DENSE and same_shape(x, y):
                return self.run(x, y, mode)
        return self.general(input, target, size_average, reduce, reduction, weight)

    cpdef Array run(self, Array x, Array y, int reduction, tuple extra=(), tuple sizes=(), tuple scalars=()):
        """x and y of one float dtype and shape; extra: weights (or None) of that shape; sizes and scalars of the kernel."""
        cdef Array out, one
        cdef PointwiseNode node = PointwiseNode.__new__(PointwiseNode)
        cdef int i
        node.op = self
        node.extra = len(extra)
        node.n_sizes = 2 + len(sizes)
        node.n_scalars = len(scalars)
        node.x = x if x.layout & DENSE else contiguous(x)
        node.y = laid_like(y, node.x)
        if node.extra > 0:
            node.first = laid_like(extra[0], node.x)
        if node.extra > 1:
            node.second = laid_like(extra[1], node.x)
        node.sizes[0] = x.size
        node.sizes[1] = reduction
        for i in range(len(sizes)):
            node.sizes[i + 2] = sizes[i]
        for i in range(node.n_scalars):
            node.scalars[i] = scalars[i]
        if reduction == NONE:
            out = new_like(node.x, x.code)
        else:
            out = new_array(0, NULL, x.code, x.on, False)
        node.call(self.forward, node.x, node.y, out, None)
        if (x.wants_grad or y.wants_grad) and grad_enabled():
            link_inputs(node, x, y)
            node.x_version = node.x.storage.version
            node.y_version = node.y.storage.version
            record(node, out)
        return out


cdef class PointwiseNode(Node):
    cdef PointwiseLoss op
    cdef Array x, y, first, second
    cdef int64_t x_version, y_version
    cdef int64_t sizes[4]
    cdef double scalars[1]
    cdef int extra, n_sizes, n_scalars

    def name(self):
        return self.op.__name__.title().replace("_", "") + "Backward"

    cdef int release(self) except -1:
        self.x = self.y = self.first = self.second = None
        return 0

    cdef int call(self, Kernel k, Array x, Array y, Array third, Array fourth) except -1:
        """Kernel over (x, y, weights, third[, fourth])."""
        cdef void *arrays[6]
        cdef int i, count = 2
        arrays[0] = <void *>x
        arrays[1] = <void *>y
        if self.extra > 0:
            arrays[2] = NULL if self.first is None else <void *>self.first
        if self.extra > 1:
            arrays[3] = NULL if self.second is None else <void *>self.second
        count += self.extra
        arrays[count] = <void *>third
        count += 1
        if fourth is not None:
            arrays[count] = <void *>fourth
            count += 1
        if run_direct(k, arrays, count, self.sizes, self.scalars, x.size):
            return 0
        flat = [None if arrays[i] == NULL else flat_of(<Array>arrays[i]) for i in range(count)]
        for i in range(count):
            arrays[i] = NULL if flat[i] is None else <void *><Array>flat[i]
        return k.launch(arrays, count, self.sizes, self.n_sizes, self.scalars, self.n_scalars, False)

    cdef int apply(self) except -1:
        cdef Array g = self.grad, out
        check_version(self.x, self.x_version, self)
        check_version(self.y, self.y_version, self)
        if self.sizes[1] == NONE:
            g = laid_like(g, self.x)
        if wanted(self, 0):
            out = new_like(self.x, self.x.code)
            self.call(self.op.backward, self.x, self.y, g, out)
            send(self, 0, out, True)
        if wanted(self, 1):
            out = new_like(self.x, self.x.code)
            if self.op.backward_target is None:      # symmetric: the arguments change places
                self.call(self.op.backward, self.y, self.x, g, out)
            else:
                self.call(self.op.backward_target, self.x, self.y, g, out)
            send(self, 1, out, True)
        return 0


# ---- Cross entropy against classes ----

cdef Kernel class_forward = get_kernel("cross_entropy_forward")
cdef Kernel class_backward = get_kernel("cross_entropy_backward")


cdef class CrossEntropy:
    """``cross_entropy(input, target, ...)``: contiguous (N, C) logits with classes in C, all else by `general`."""
    cdef readonly str __name__
    cdef public str __doc__
    cdef object general

    def __init__(self, general):
        self.__name__ = "cross_entropy"
        self.__doc__ = general.__doc__
        self.general = general

    def __repr__(self):
        return f"<op {self.__name__}>"

    def __call__(self, input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean",
                 label_smoothing=0.0):
        cdef Array x, t
        if isinstance(input, Array) and isinstance(target, Array) and weight is None and size_average is None and reduce is None:
            x = <Array>input
            t = <Array>target
            mode = reductions.get(reduction)
            if (mode is not None and x.nd == 2 and t.nd == 1 and t.code == INT64 and x.dims[0] == t.dims[0] and label_smoothing == 0
                    and (x.code == FLOAT32 or x.code == FLOAT64) and x.layout & CONTIGUOUS and t.layout & CONTIGUOUS):
                return self.run(x, t, None, x.dims[0], x.dims[1], 1, mode, ignore_index, 0.0)
        return self.general(input, target, weight, size_average, ignore_index, reduce, reduction, label_smoothing)

    cpdef Array run(self, Array x, Array target, Array weight, int64_t outer, int64_t classes, int64_t inner, int reduction,
                    int64_t ignore_index, double smoothing):
        """x: dense, its memory (outer, classes, inner). target: contiguous int64 in the order of (outer, inner)."""
        cdef ClassNode node = ClassNode.__new__(ClassNode)
        cdef Array out
        cdef int64_t bad = -1
        node.x = x
        node.target = target
        node.weight = weight
        node.outer = outer
        node.sizes[0] = outer * inner
        node.sizes[1] = classes
        node.sizes[2] = inner
        node.sizes[3] = reduction
        node.sizes[4] = ignore_index
        node.sizes[5] = weight is not None
        node.smoothing = smoothing
        node.lse = new_array(1, node.sizes, x.code, x.on, False)
        node.total = new_array(0, NULL, x.code, x.on, False)
        if reduction == NONE:
            out = new_array(target.nd, target.dims, x.code, x.on, False)
        else:
            out = new_array(0, NULL, x.code, x.on, False)
        bad = node.forward(out)
        if bad >= 0:
            value = flat_of(target).numpy()[bad] if target.on == CPU else "(on cuda)"
            raise IndexError(f"cross_entropy: Target {value} is out of bounds: expected a class in [0, {classes})")
        if x.wants_grad and grad_enabled():
            node.edges = (edge_of(x),)
            if x.output_nr:
                node.edge_nrs = (x.output_nr,)
            node.x_version = x.storage.version
            node.target_version = target.storage.version
            record(node, out)
        return out


cdef class ClassNode(Node):
    cdef Array x, target, weight, lse, total
    cdef int64_t x_version, target_version, outer
    cdef int64_t sizes[6]
    cdef double smoothing

    def name(self):
        return "CrossEntropyBackward"

    cdef int release(self) except -1:
        self.x = self.target = self.weight = self.lse = self.total = None
        return 0

    cdef int64_t forward(self, Array out) except? -2:
        """Fill lse, total and out; returns the position of a target that is no class, or -1."""
        cdef void *arrays[7]
        cdef int64_t inner = self.sizes[2]
        cdef Array status = new_array(0, NULL, INT64, self.x.on, False), result = out
        arrays[0] = <void *>self.x
        arrays[1] = <void *>self.target
        arrays[2] = NULL if self.weight is None else <void *>self.weight
        arrays[3] = <void *>self.lse
        arrays[4] = <void *>out
        arrays[5] = <void *>self.total
        arrays[6] = <void *>status
        if not run_direct(class_forward, arrays, 7, self.sizes, &self.smoothing, self.x.size):
            x = block_of(self.x, self.outer, self.sizes[1], inner)
            target = block_of(self.target, self.outer, 0, inner)
            lse = block_of(self.lse, self.outer, 0, inner)
            if self.sizes[3] == NONE:
                result = block_of(out, self.outer, 0, inner)
            arrays[0] = <void *>x
            arrays[1] = <void *>target
            arrays[3] = <void *>lse
            arrays[4] = <void *>result
            class_forward.launch(arrays, 7, self.sizes, 6, &self.smoothing, 1, False)
        return (<int64_t *>status.data)[0] if status.on == CPU else status.item()

    cdef int apply(self) except -1:
        cdef Array g = self.grad, out
        cdef void *arrays[7]
        cdef int64_t inner = self.sizes[2]
        check_version(self.x, self.x_version, self)
        check_version(self.target, self.target_version, self)
        if self.sizes[3] == NONE:
            g = contiguous(g)
        out = new_like(self.x, self.x.code)
        arrays[0] = <void *>self.x
        arrays[1] = <void *>self.target
        arrays[2] = NULL if self.weight is None else <void *>self.weight
        arrays[3] = <void *>self.lse
        arrays[4] = <void *>g
        arrays[5] = <void *>self.total
        arrays[6] = <void *>out
        if not run_direct(class_backward, arrays, 7, self.sizes, &self.smoothing, self.x.size):
            x = block_of(self.x, self.outer, self.sizes[1], inner)
            target = block_of(self.target, self.outer, 0, inner)
            lse = block_of(self.lse, self.outer, 0, inner)
            grad = block_of(out, self.outer, self.sizes[1], inner)
            if self.sizes[3] == NONE:
                g = block_of(g, self.outer, 0, inner)
            arrays[0] = <void *>x
            arrays[1] = <void *>target
            arrays[3] = <void *>lse
            arrays[4] = <void *>g
            arrays[6] = <void *>grad
            class_backward.launch(arrays, 7, self.sizes, 6, &self.smoothing, 1, False)
        return send(self, 0, out, True)


# ---- Negative log-likelihood ----

cdef Kernel nll_forward = get_kernel("nll_loss_forward")
cdef Kernel nll_backward = get_kernel("nll_loss_backward")


cdef class NLLLoss:
    """``nll_loss(input, target, ...)``: contiguous (N, C) log-probabilities with classes in C, all else by `general`."""
    cdef readonly str __name__
    cdef public str __doc__
    cdef object general

    def __init__(self, general):
        self.__name__ = "nll_loss"
        self.__doc__ = general.__doc__
        self.general = general

    def __repr__(self):
        return f"<op {self.__name__}>"

    def __call__(self, input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
        cdef Array x, t
        if isinstance(input, Array) and isinstance(target, Array) and weight is None and size_average is None and reduce is None:
            x = <Array>input
            t = <Array>target
            mode = reductions.get(reduction)
            if (mode is not None and x.nd == 2 and t.nd == 1 and t.code == INT64 and x.dims[0] == t.dims[0]
                    and (x.code == FLOAT32 or x.code == FLOAT64) and x.layout & CONTIGUOUS and t.layout & CONTIGUOUS):
                return self.run(x, t, None, x.dims[0], x.dims[1], 1, mode, ignore_index)
        return self.general(input, target, weight, size_average, ignore_index, reduce, reduction)

    cpdef Array run(self, Array x, Array target, Array weight, int64_t outer, int64_t classes, int64_t inner, int reduction,
                    int64_t ignore_index):
        """x: dense, its memory (outer, classes, inner). target: contiguous int64 in the order of (outer, inner)."""
        cdef NLLNode node = NLLNode.__new__(NLLNode)
        cdef Array out, status = new_array(0, NULL, INT64, x.on, False), result
        cdef int64_t bad
        cdef void *arrays[6]
        node.target = target
        node.weight = weight
        node.outer = outer
        node.sizes[0], node.sizes[1], node.sizes[2], node.sizes[3] = outer * inner, classes, inner, reduction
        node.sizes[4], node.sizes[5] = ignore_index, weight is not None
        node.total = new_array(0, NULL, x.code, x.on, False)
        out = new_array(target.nd, target.dims, x.code, x.on, False) if reduction == NONE else new_array(0, NULL, x.code, x.on, False)
        arrays[0], arrays[1], arrays[2] = <void *>x, <void *>target, NULL if weight is None else <void *>weight
        arrays[3], arrays[4], arrays[5] = <void *>out, <void *>node.total, <void *>status
        if not run_direct(nll_forward, arrays, 6, node.sizes, NULL, outer * inner * 8):
            block = block_of(x, outer, classes, inner)
            rows = block_of(target, outer, 0, inner)
            result = block_of(out, outer, 0, inner) if reduction == NONE else out
            arrays[0], arrays[1], arrays[3] = <void *>block, <void *>rows, <void *>result
            nll_forward.launch(arrays, 6, node.sizes, 6, NULL, 0, False)
        bad = (<int64_t *>status.data)[0] if status.on == CPU else status.item()
        if bad >= 0:
            value = flat_of(target).numpy()[bad] if target.on == CPU else "(on cuda)"
            raise IndexError(f"nll_loss: Target {value} is out of bounds: expected a class in [0, {classes})")
        if x.wants_grad and grad_enabled():
            node.edges = (edge_of(x),)
            if x.output_nr:
                node.edge_nrs = (x.output_nr,)
            node.nd = x.nd
            node.nhwc = x.layout & CHANNELS_LAST and not x.layout & CONTIGUOUS
            memcpy(node.dims, x.dims, sizeof(x.dims))
            node.target_version = target.storage.version
            record(node, out)
        return out


cdef class NLLNode(Node):
    cdef Array target, weight, total
    cdef int64_t target_version, outer
    cdef int64_t sizes[6]
    cdef int64_t dims[8]
    cdef int nd
    cdef bint nhwc

    def name(self):
        return "NLLLossBackward"

    cdef int release(self) except -1:
        self.target = self.weight = self.total = None
        return 0

    cdef int apply(self) except -1:
        cdef Array g = self.grad, out
        cdef void *arrays[5]
        cdef int64_t inner = self.sizes[2]
        check_version(self.target, self.target_version, self)
        if self.sizes[3] == NONE:
            g = contiguous(g)
        out = new_array(self.nd, self.dims, g.code, g.on, self.nhwc)
        arrays[0], arrays[1], arrays[2] = <void *>self.target, NULL if self.weight is None else <void *>self.weight, <void *>g
        arrays[3], arrays[4] = <void *>self.total, <void *>out
        if not run_direct(nll_backward, arrays, 5, self.sizes, NULL, out.size):
            rows = block_of(self.target, self.outer, 0, inner)
            grad = block_of(out, self.outer, self.sizes[1], inner)
            if self.sizes[3] == NONE:
                g = block_of(g, self.outer, 0, inner)
            arrays[0], arrays[2], arrays[4] = <void *>rows, <void *>g, <void *>grad
            nll_backward.launch(arrays, 5, self.sizes, 6, NULL, 0, False)
        return send(self, 0, out, True)
