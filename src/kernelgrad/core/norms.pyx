"""Compiled callers of the normalizations: arguments that fit run here, all else by the `general` function.

LayerNorm, RMSNorm   over the last dimensions of a contiguous array; keep the input, the weight, (mean,) rstd of each row
BatchNorm   over the channels of contiguous or NHWC memory; GroupNorm by image and group of channels
"""
from libc.stdint cimport int64_t

from kernelgrad.core.array cimport Array, CHANNELS_LAST, CONTIGUOUS, DENSE, new_array, new_like
from kernelgrad.core.copying cimport contiguous, copy_into
from kernelgrad.core.dtypes cimport CPU, FLOAT32, FLOAT64, INT64
from kernelgrad.core.blocks cimport flat_of, laid_like, run_blocks
from kernelgrad.core.dispatch cimport Kernel, get_kernel
from kernelgrad.core.graph cimport Node, check_version, connect, grad_enabled, record, send


cdef bint is_real(Array x) noexcept:
    return x.code == FLOAT32 or x.code == FLOAT64


cdef bint wants(Array x, Array y, Array z) noexcept:
    return (x.wants_grad or (y is not None and y.wants_grad) or (z is not None and z.wants_grad)) and grad_enabled()


cdef void *pointer(Array x) noexcept:
    return NULL if x is None else <void *>x


cdef class NormNode(Node):
    """What the backward of every norm keeps, and what it does with three gradients."""
    cdef Array x, weight, mean, rstd
    cdef int64_t x_version, weight_version
    cdef bint has_bias

    cdef int release(self) except -1:
        self.x = self.weight = self.mean = self.rstd = None
        return 0

    cdef bint follows(self, Array x, Array weight, Array bias, Array out) except -1:
        """Make `out` this node's result, where one of the arguments wants a gradient; self.x and self.weight may be copies of theirs."""
        if not wants(x, weight, bias):
            return False
        connect(self, x, weight, bias)
        self.has_bias = bias is not None
        self.x_version = self.x.storage.version
        self.weight_version = 0 if self.weight is None else self.weight.storage.version
        record(self, out)
        return True

    cdef int check(self) except -1:
        check_version(self.x, self.x_version, self)
        if self.weight is not None:
            check_version(self.weight, self.weight_version, self)
        return 0

    cdef int deliver(self, Array grad_x, Array grad_weight, Array grad_bias) except -1:
        send(self, 0, grad_x, True)
        if grad_weight is not None:
            send(self, 1, grad_weight, True)
        if grad_bias is not None:
            send(self, 2, grad_bias, True)
        return 0


# ---- Layer norm, RMS norm ----

cdef int trailing(Array x, object shape) except -2:
    """How many dimensions `shape` (an int or a tuple) has, if they are the last ones of x; else -1."""
    cdef int k, i
    if type(shape) is int:
        return 1 if x.nd and x.dims[x.nd - 1] == <int64_t>shape else -1
    if not isinstance(shape, (tuple, list)):
        return -1
    k = len(shape)
    if k == 0 or k > x.nd:
        return -1
    for i in range(k):
        if x.dims[x.nd - k + i] != shape[i]:
            return -1
    return k


cdef bint fits(object p, Array x, int first, int count) except -1:
    """Whether a parameter is absent, or of x's dtype and device and of the shape of `count` dimensions of x from `first` on."""
    cdef Array w
    cdef int i
    if p is None:
        return True
    if not isinstance(p, Array):
        return False
    w = <Array>p
    if w.code != x.code or w.on != x.on or w.nd != count:
        return False
    for i in range(count):
        if w.dims[i] != x.dims[first + i]:
            return False
    return True


cdef class RowNorm:
    """layer_norm and rms_norm alike; `run` takes arguments that fit."""
    cdef readonly str __name__
    cdef public str __doc__
    cdef Kernel forward, backward
    cdef bint centred
    cdef object general

    def __init__(self, str name, bint centred, general):
        self.__name__ = name
        self.__doc__ = general.__doc__
        self.forward = get_kernel(name + "_forward")
        self.backward = get_kernel(name + "_backward")
        self.centred = centred
        self.general = general

    def __repr__(self):
        return f"<op {self.__name__}>"

    cpdef Array run(self, Array x, Array weight, Array bias, int count, double eps):
        """Over the last `count` dimensions, whose shape weight and bias have (or are None)."""
        cdef Array out, flat_bias
        cdef RowNormNode node = RowNormNode.__new__(RowNormNode)
        cdef void *arrays[6]
        cdef int i, k
        node.op = self
        node.sizes[0] = node.sizes[1] = 1
        for i in range(x.nd):
            k = 0 if i < x.nd - count else 1
            node.sizes[k] *= x.dims[i]
        node.sizes[2] = weight is not None
        node.sizes[3] = bias is not None
        node.x = x if x.layout & CONTIGUOUS else contiguous(x)
        node.weight = weight if weight is None or weight.layout & CONTIGUOUS else contiguous(weight)
        node.count = count
        out = new_array(x.nd, x.dims, x.code, x.on, False)
        if self.centred:
            node.mean = new_array(1, node.sizes, x.code, x.on, False)
        node.rstd = new_array(1, node.sizes, x.code, x.on, False)
        flat_bias = node.flat(bias if bias is None or bias.layout & CONTIGUOUS else contiguous(bias))
        node.call(self.forward, node.x, node.flat(node.weight), flat_bias, out, &eps)
        node.follows(x, weight, bias, out)
        return out


cdef class LayerNorm(RowNorm):
    def __call__(self, input, normalized_shape, weight=None, bias=None, eps=1e-5):
        cdef Array x
        cdef int count
        if isinstance(input, Array):
            x = <Array>input
            count = trailing(x, normalized_shape)
            if count > 0 and is_real(x) and fits(weight, x, x.nd - count, count) and fits(bias, x, x.nd - count, count):
                return self.run(x, weight, bias, count, eps)
        return self.general(input, normalized_shape, weight, bias, eps)


cdef class RMSNorm(RowNorm):
    def __call__(self, input, normalized_shape, weight=None, eps=None):
        cdef Array x
        cdef int count
        if isinstance(input, Array):
            x = <Array>input
            count = trailing(x, normalized_shape)
            if count > 0 and is_real(x) and fits(weight, x, x.nd - count, count):
                if eps is None:
                    eps = 2.0 ** -23 if x.code == FLOAT32 else 2.0 ** -52
                return self.run(x, weight, None, count, eps)
        return self.general(input, normalized_shape, weight, eps)


cdef class RowNormNode(NormNode):
    cdef RowNorm op
    cdef int64_t sizes[4]
    cdef int count

    cdef str label(self):
        return self.op.__name__.title().replace("_", "") + "Backward"

    cdef Array flat(self, Array p):
        return p if p is None or p.nd == 1 else flat_of(p)

    cdef int call(self, Kernel k, Array x, Array weight, Array bias, Array out, double *eps) except -1:
        """Forward: x, weight(, bias), out(, mean), rstd."""
        cdef void *arrays[6]
        if self.op.centred:
            arrays[0], arrays[1], arrays[2] = <void *>x, pointer(weight), pointer(bias)
            arrays[3], arrays[4], arrays[5] = <void *>out, <void *>self.mean, <void *>self.rstd
            return run_blocks(k, arrays, 6, 0b1001, 2, self.sizes, self.sizes, 4, eps, 1)
        arrays[0], arrays[1], arrays[2], arrays[3] = <void *>x, pointer(weight), <void *>out, <void *>self.rstd
        return run_blocks(k, arrays, 4, 0b101, 2, self.sizes, self.sizes, 3, eps, 1)

    cdef int apply(self) except -1:
        cdef Array g = contiguous(self.grad), weight = self.flat(self.weight), grad_x, grad_weight = None, grad_bias = None
        cdef Array flat_weight, flat_bias
        cdef void *arrays[8]
        cdef int64_t *dims = self.x.dims + (self.x.nd - self.count)
        self.check()
        grad_x = new_like(self.x, self.x.code)
        if self.weight is not None:
            grad_weight = new_array(self.count, dims, g.code, g.on, False)
        if self.has_bias:
            grad_bias = new_array(self.count, dims, g.code, g.on, False)
        flat_weight, flat_bias = self.flat(grad_weight), self.flat(grad_bias)
        arrays[0], arrays[1] = <void *>self.x, pointer(weight)
        if self.op.centred:
            arrays[2], arrays[3], arrays[4], arrays[5] = <void *>self.mean, <void *>self.rstd, <void *>g, <void *>grad_x
            arrays[6], arrays[7] = pointer(flat_weight), pointer(flat_bias)
            run_blocks(self.op.backward, arrays, 8, 0b110001, 2, self.sizes, self.sizes, 4, NULL, 0)
        else:
            arrays[2], arrays[3], arrays[4], arrays[5] = <void *>self.rstd, <void *>g, <void *>grad_x, pointer(flat_weight)
            run_blocks(self.op.backward, arrays, 6, 0b11001, 2, self.sizes, self.sizes, 3, NULL, 0)
        flat_weight = flat_bias = None       # the gradients' memory is then held by them alone
        return self.deliver(grad_x, grad_weight, grad_bias)


# ---- Norms with a weight for each channel ----

cdef class ChannelNode(NormNode):
    """Of batch and group norm: `block` describes the memory of x, `sizes` the work, both as `backward` takes them."""
    cdef str name
    cdef Kernel backward
    cdef Array bias  # what a relu behind the norm needs, or None
    cdef int64_t block[4]
    cdef int64_t sizes[6]
    cdef int dims, counts

    cdef str label(self):
        return self.name

    cdef int release(self) except -1:
        self.bias = None
        return NormNode.release(self)

    cdef int apply(self) except -1:
        cdef Array g = laid_like(self.grad, self.x), grad_x, grad_weight = None, grad_bias = None
        cdef void *arrays[9]
        self.check()
        grad_x = new_like(self.x, self.x.code)
        if self.weight is not None:
            grad_weight = new_array(1, self.x.dims + 1, g.code, g.on, False)
        if self.has_bias:
            grad_bias = new_array(1, self.x.dims + 1, g.code, g.on, False)
        arrays[0], arrays[1], arrays[2], arrays[3] = <void *>self.x, pointer(self.weight), <void *>self.mean, <void *>self.rstd
        arrays[4], arrays[5], arrays[6], arrays[7] = <void *>g, <void *>grad_x, pointer(grad_weight), pointer(grad_bias)
        arrays[8] = pointer(self.bias)
        run_blocks(self.backward, arrays, 9 if self.backward is batch_relu_backward else 8, 0b110001, self.dims, self.block,
                   self.sizes, self.counts, NULL, 0)
        return self.deliver(grad_x, grad_weight, grad_bias)


# ---- Batch norm ----

cdef Kernel batch_forward = get_kernel("batch_norm_forward")
cdef Kernel batch_backward = get_kernel("batch_norm_backward")
cdef Kernel batch_relu_forward = get_kernel("batch_norm_relu_forward")
cdef Kernel batch_relu_backward = get_kernel("batch_norm_relu_backward")
cdef Kernel inference_forward = get_kernel("batch_norm_inference")
cdef Kernel inference_backward = get_kernel("batch_norm_inference_backward")


cdef Array flat_parameter(Array p):
    """A parameter of one dimension without gaps."""
    return p if p is None or p.layout & CONTIGUOUS else contiguous(p)


cdef class BatchNorm:
    cdef readonly str __name__
    cdef public str __doc__
    cdef object general

    def __init__(self, general):
        self.__name__ = "batch_norm"
        self.__doc__ = general.__doc__
        self.general = general

    def __repr__(self):
        return f"<op {self.__name__}>"

    def __call__(self, input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
        if self.takes(input, running_mean, running_var, weight, bias, training):
            return self.run(input, running_mean, running_var, weight, bias, training, momentum, eps)
        return self.general(input, running_mean, running_var, weight, bias, training, momentum, eps)

    cpdef bint takes(self, input, running_mean, running_var, weight, bias, bint training) except -1:
        """Whether the arguments fit `run`."""
        cdef Array x
        if not isinstance(input, Array):
            return False
        x = <Array>input
        return (is_real(x) and x.nd >= 2 and fits(running_mean, x, 1, 1) and fits(running_var, x, 1, 1) and fits(weight, x, 1, 1)
                and fits(bias, x, 1, 1) and (running_mean is None) == (running_var is None)
                and (x.size != x.dims[1] if training else running_mean is not None))

    cpdef Array run(self, Array x, Array running_mean, Array running_var, Array weight, Array bias, bint training, double momentum,
                    double eps, bint relu=False):
        """Arguments that fit: x of (N, C, *), the others of (C,) or None; running ones move with `training`.

        `relu`, in training alone: max(0, the result), to the bits of a relu by itself.
        """
        cdef Array out, mean, var, flat_bias
        cdef ChannelNode node = ChannelNode.__new__(ChannelNode)
        cdef void *arrays[8]
        cdef double scalars[2]
        cdef int64_t channels = x.dims[1]
        if training and x.size == 0:
            running_mean = running_var = None  # there is nothing to follow
        if training and running_mean is not None and (running_mean.storage.read_only or running_var.storage.read_only):
            raise RuntimeError("batch_norm: a running statistic shares memory with a read-only NumPy array; clone() it first")
        if x.nd == 4 and x.layout & CHANNELS_LAST:
            node.x = x
            node.block[0], node.block[1], node.block[2] = x.size // channels if channels else 0, channels, 1
        else:
            node.x = x if x.layout & CONTIGUOUS else contiguous(x)
            node.block[0], node.block[1], node.block[2] = x.dims[0], channels, 1
            if x.nd > 2:
                node.block[2] = x.size // (x.dims[0] * channels) if x.size else 0
        node.sizes[0], node.sizes[1], node.sizes[2] = channels, node.block[0], node.block[2]
        node.sizes[3] = weight is not None
        node.sizes[4] = bias is not None
        node.sizes[5] = running_mean is not None
        node.name = "BatchNormReluBackward" if relu else "BatchNormBackward"
        node.backward = batch_relu_backward if relu else batch_backward if training else inference_backward
        node.dims, node.counts = 3, 5
        node.weight = flat_parameter(weight)
        flat_bias = flat_parameter(bias)
        mean = flat_parameter(running_mean)
        var = flat_parameter(running_var)
        node.mean = new_array(1, &channels, x.code, x.on, False)
        node.rstd = new_array(1, &channels, x.code, x.on, False)
        out = new_like(node.x, x.code)
        arrays[0], arrays[1], arrays[2] = <void *>node.x, pointer(node.weight), pointer(flat_bias)
        arrays[3], arrays[4], arrays[5] = pointer(mean), pointer(var), <void *>out
        arrays[6], arrays[7] = <void *>node.mean, <void *>node.rstd
        if training:
            scalars[0], scalars[1] = momentum, eps
            run_blocks(batch_relu_forward if relu else batch_forward, arrays, 8, 0b100001, 3, node.block, node.sizes, 6, scalars, 2)
            if running_mean is not None:
                follow(running_mean, mean)
                follow(running_var, var)
        else:
            run_blocks(inference_forward, arrays, 8, 0b100001, 3, node.block, node.sizes, 5, &eps, 1)
        if node.follows(x, weight, bias, out) and relu and bias is not None:
            node.bias = new_array(1, &channels, x.code, x.on, False)  # a copy: between forward and backward a bias may change
            copy_into(node.bias, flat_bias)
        return out


def count_batch(Array tracked not None):
    """Raise a counter, one int64 number, by one in place; returns it. A training step of batch norm does so each time."""
    if tracked.code != INT64 or tracked.size != 1 or tracked.on != CPU or tracked.storage.read_only:
        return tracked.add_(1)
    (<int64_t *>tracked.data)[0] += 1
    tracked.storage.version += 1
    return tracked


cdef int follow(Array running, Array changed) except -1:
    """The kernel has changed a running statistic, or a copy of one that lies with gaps."""
    if changed is not running:
        copy_into(running, changed)
    running.storage.version += 1
    return 0


# ---- Group norm ----

cdef Kernel group_forward = get_kernel("group_norm_forward")
cdef Kernel group_backward = get_kernel("group_norm_backward")
cdef Kernel nhwc_forward = get_kernel("group_norm_nhwc_forward")
cdef Kernel nhwc_backward = get_kernel("group_norm_nhwc_backward")


cdef class GroupNorm:
    cdef readonly str __name__
    cdef public str __doc__
    cdef object general

    def __init__(self, general):
        self.__name__ = "group_norm"
        self.__doc__ = general.__doc__
        self.general = general

    def __repr__(self):
        return f"<op {self.__name__}>"

    def __call__(self, input, num_groups, weight=None, bias=None, eps=1e-5):
        cdef Array x
        cdef int64_t groups
        if isinstance(input, Array) and type(num_groups) is int:
            x = <Array>input
            groups = num_groups
            if (is_real(x) and x.nd >= 2 and groups > 0 and x.dims[1] % groups == 0 and x.size != groups and fits(weight, x, 1, 1)
                    and fits(bias, x, 1, 1)):
                return self.run(x, groups, weight, bias, eps)
        return self.general(input, num_groups, weight, bias, eps)

    cpdef Array run(self, Array x, int64_t groups, Array weight, Array bias, double eps):
        """Arguments that fit: x of (N, C, *), weight and bias of (C,) or None."""
        cdef Array out, flat_bias
        cdef ChannelNode node = ChannelNode.__new__(ChannelNode)
        cdef void *arrays[6]
        cdef bint nhwc = x.nd == 4 and x.layout & CHANNELS_LAST and not x.layout & CONTIGUOUS
        cdef int64_t n = x.dims[0], channels = x.dims[1], inner = x.size // (n * channels) if x.size else 0
        cdef int64_t statistics[2]
        node.name = "GroupNormBackward"
        node.backward = nhwc_backward if nhwc else group_backward
        node.dims, node.counts = 4, 6
        node.x = x if nhwc or x.layout & CONTIGUOUS else contiguous(x)
        node.weight = flat_parameter(weight)
        flat_bias = flat_parameter(bias)
        statistics[0], statistics[1] = n, groups
        node.mean = new_array(2, statistics, x.code, x.on, False)
        node.rstd = new_array(2, statistics, x.code, x.on, False)
        out = new_like(node.x, x.code)
        node.sizes[0], node.sizes[1], node.sizes[2], node.sizes[3] = n if nhwc else n * groups, groups, channels // groups, inner
        node.sizes[4] = weight is not None
        node.sizes[5] = bias is not None
        node.block[0], node.block[1] = n, inner if nhwc else groups
        node.block[2], node.block[3] = groups if nhwc else channels // groups, channels // groups if nhwc else inner
        arrays[0], arrays[1], arrays[2] = <void *>node.x, pointer(node.weight), pointer(flat_bias)
        arrays[3], arrays[4], arrays[5] = <void *>out, <void *>node.mean, <void *>node.rstd
        run_blocks(nhwc_forward if nhwc else group_forward, arrays, 6, 0b1001, 4, node.block, node.sizes, 6, &eps, 1)
        node.follows(x, weight, bias, out)
        return out
