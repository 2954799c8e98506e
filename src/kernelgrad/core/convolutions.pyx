"""Compiled caller of convolutions: allocate, run, record. Shapes are checked, and plans made, in ops/conv.py.

Sizes of all kernels: N, H, W, C, K, kh, kw, OH, OW, stride, padding and dilation (two each), groups, activation, method,
whether there is a bias. A transposed convolution has those of the convolution whose backward-data pass it is.
"""
from cpython.ref cimport Py_REFCNT
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from kernelgrad.core.array cimport CONTIGUOUS, Array, new_array, new_like, view_of
from kernelgrad.core.copying cimport channels_last, contiguous
from kernelgrad.core.dtypes cimport CPU, FLOAT32, FLOAT64, INT64
from kernelgrad.core.dispatch cimport Kernel, get_kernel, kg_kernel
from kernelgrad.core.graph cimport Node, check_version, connect, grad_enabled, record, send, wanted
from kernelgrad.core.kept cimport Kept, kept_of
from kernelgrad.core.memory cimport Storage

cdef enum:
    SIZES = 19
    N_ = 0
    H_ = 1
    W_ = 2
    C_ = 3
    K_ = 4
    KH = 5
    KW = 6
    OH = 7
    OW = 8
    GROUPS = 15
    ACTIVATION = 16
    METHOD = 17
    BIAS = 18
    PLANES = 2  # added to the method: x is as it came, in NCHW memory

cdef Kernel forward_kernel = get_kernel("conv2d_forward")
cdef Kernel keep_kernel = get_kernel("conv2d_keep_weight")
cdef Kernel data_kernel = get_kernel("conv2d_backward_data")
cdef Kernel weight_kernel = get_kernel("conv2d_backward_weight")
cdef Kernel bias_kernel = get_kernel("conv_backward_bias")
cdef Kernel transpose_kernel = get_kernel("conv_transpose2d_forward")
cdef Kernel relu_kernel = get_kernel("relu_backward")
cdef Kernel relu_bias_kernel = get_kernel("conv_backward_relu_bias")
cdef double no_scalars[1]


cdef class ConvPlan:
    """The sizes of one convolution, found once for each set of shapes and options.

    `dims`: spatial dimensions of the call, `batched`: whether its input has N; what `convolution` gets is 4-d always.
    """
    cdef readonly int dims
    cdef readonly bint batched, transposed
    cdef int64_t sizes[SIZES]

    def __init__(self, dims, batched, transposed, sizes):
        cdef int i
        self.dims, self.batched, self.transposed = dims, batched, transposed
        if len(sizes) != ACTIVATION:
            raise ValueError(f"a convolution has {ACTIVATION} sizes, got {len(sizes)}")
        for i in range(ACTIVATION):
            self.sizes[i] = sizes[i]
        self.sizes[ACTIVATION] = self.sizes[METHOD] = self.sizes[BIAS] = 0


cdef class Known:
    """A plan and the call it was made for."""
    cdef object op, stride, padding, dilation, groups
    cdef int nd, weight_nd
    cdef int64_t dims[4]
    cdef int64_t weight_dims[4]
    cdef int64_t bias
    cdef ConvPlan plan


cdef class KnownPlans:
    """The plans of latest calls, found without hashing shapes and options, which takes as long as a small convolution.

    Options count as the same if they are the same objects, none of which can change. A plan is in one place, by shapes
    and options; the next one that falls there takes it.
    """
    cdef list slots

    def __init__(self, int places=256):
        self.slots = [None] * places

    def find(self, op, x, weight, bias, stride, padding, dilation, groups):
        """The plan, or None: not known, or not a call of tensors of one type with at most four dimensions."""
        cdef int i
        cdef Known known
        cdef Array a, w
        if not (isinstance(x, Array) and isinstance(weight, Array)):
            return None
        a, w = <Array>x, <Array>weight
        if not takes(a, w, bias):
            return None
        known = <Known>self.slots[slot(a, w, stride, padding, dilation, groups) % len(self.slots)]
        if (known is None or known.stride is not stride or known.padding is not padding
                or known.dilation is not dilation or known.groups is not groups or known.op != op
                or known.nd != a.nd or known.weight_nd != w.nd
                or known.bias != (-1 if bias is None else (<Array>bias).dims[0])):
            return None
        for i in range(a.nd):
            if known.dims[i] != a.dims[i]:
                return None
        for i in range(w.nd):
            if known.weight_dims[i] != w.dims[i]:
                return None
        return known.plan

    def keep(self, op, Array x not None, Array weight not None, bias, stride, padding, dilation, groups, ConvPlan plan):
        """`plan` is that of this call, whose options are no lists."""
        cdef int i
        cdef Known known
        if not takes(x, weight, bias):
            return
        known = Known.__new__(Known)
        known.op, known.stride, known.padding, known.dilation, known.groups = op, stride, padding, dilation, groups
        known.nd, known.weight_nd, known.plan = x.nd, weight.nd, plan
        known.bias = -1 if bias is None else (<Array>bias).dims[0]
        for i in range(x.nd):
            known.dims[i] = x.dims[i]
        for i in range(weight.nd):
            known.weight_dims[i] = weight.dims[i]
        self.slots[slot(x, weight, stride, padding, dilation, groups) % len(self.slots)] = known


cdef bint takes(Array x, Array weight, bias):
    if x.code != weight.code or (x.code != FLOAT32 and x.code != FLOAT64) or x.nd > 4 or weight.nd > 4:
        return False
    return bias is None or (isinstance(bias, Array) and (<Array>bias).code == x.code and (<Array>bias).nd == 1)


cdef Py_ssize_t slot(Array x, Array weight, stride, padding, dilation, groups):
    cdef int i
    cdef uint64_t at = 0
    for i in range(x.nd):
        at = at * 31 + <uint64_t>x.dims[i]
    for i in range(weight.nd):
        at = at * 31 + <uint64_t>weight.dims[i]
    at = at * 31 + (<uint64_t><void *>stride >> 4)
    at = at * 31 + (<uint64_t><void *>padding >> 4)
    at = at * 31 + (<uint64_t><void *>dilation >> 4)
    at = at * 31 + (<uint64_t><void *>groups >> 4)
    return (at * <uint64_t>0x9E3779B97F4A7C15) >> 48


cdef Array images(int64_t n, int64_t channels, int64_t height, int64_t width, Array like):
    cdef int64_t dims[4]
    dims[0], dims[1], dims[2], dims[3] = n, channels, height, width
    return new_array(4, dims, like.code, like.on, True)


def convolution(Array x not None, Array weight not None, Array bias, ConvPlan plan not None, int activation, int method):
    """activation(x * weight + bias), x (N, C, H, W). activation: 0 none, 1 relu; method: 0 the quickest, 1 a plain sum."""
    cdef int64_t sizes[SIZES]
    cdef void *arrays[5]
    cdef Array out, kept_x, kept_weight, flat_bias = None, form = None
    cdef ConvNode node
    cdef bint transposed = plan.transposed, recorded
    memcpy(sizes, plan.sizes, sizeof(sizes))
    sizes[ACTIVATION], sizes[METHOD], sizes[BIAS] = activation, method, bias is not None
    recorded = grad_enabled() and (x.wants_grad or weight.wants_grad or (bias is not None and bias.wants_grad))
    kept_weight = contiguous(weight)
    if not recorded and not transposed and takes_planes(x, sizes):
        sizes[METHOD] += PLANES
        kept_x = x
    else:
        kept_x = channels_last(x)
    if bias is not None:
        flat_bias = contiguous(bias)
    if transposed:
        out = images(sizes[N_], sizes[C_], sizes[H_], sizes[W_], x)
    else:
        out = images(sizes[N_], sizes[K_], sizes[OH], sizes[OW], x)
    arrays[0] = <void *>kept_x
    arrays[1] = <void *>kept_weight
    arrays[2] = NULL if bias is None else <void *>flat_bias
    if out.size == 0:
        pass
    elif transposed:
        arrays[3] = <void *>out
        transpose_kernel.launch(arrays, 4, sizes, SIZES, no_scalars, 0, False)
    else:
        if not recorded and kept_weight is weight:
            form = kept_form(weight, sizes)
        arrays[3] = NULL if form is None else <void *>form
        arrays[4] = <void *>out
        forward_kernel.launch(arrays, 5, sizes, SIZES, no_scalars, 0, False)
    if not recorded:
        return out
    node = ConvNode.__new__(ConvNode)
    memcpy(node.sizes, sizes, sizeof(sizes))
    node.transposed = transposed
    connect(node, x, weight, bias)
    if weight.wants_grad:
        node.x = kept_x
        node.x_version = kept_x.storage.version
    if x.wants_grad:
        node.weight = kept_weight
        node.weight_version = kept_weight.storage.version
    if activation:
        node.out = view_of(out, 4, out.dims, out.strides, 0)
        node.out_version = out.storage.version
    record(node, out)
    return out


cdef bint takes_planes(Array x, int64_t *sizes):
    """Whether the forward kernel takes these images as they lie, in NCHW memory."""
    cdef kg_kernel *keep
    cdef int64_t about[3]
    cdef void *arrays[3]
    if not 2 <= sizes[C_] <= 4 or x.on != CPU or x.code != FLOAT32 or x.size == 0 or not x.layout & CONTIGUOUS:
        return False
    keep = keep_kernel.find(x.code)
    if keep == NULL:
        return False
    arrays[0], arrays[1], arrays[2] = NULL, NULL, about
    keep(arrays, sizes, no_scalars, 0, 1)
    return about[2]


cdef dict forms = {}         # id of the weight -> Kept


cdef Array kept_form(Array weight, int64_t *sizes):
    """The weight as the forward kernel's method takes it, or None where nothing is kept."""
    cdef Kept kept
    cdef kg_kernel *forward
    cdef kg_kernel *keep
    cdef int64_t about[3]         # the number of floats, 0 where nothing is kept; the method; whether planes will do
    cdef int64_t three = 3
    cdef void *arrays[3]
    cdef Array told
    if weight.on != CPU or weight.code != FLOAT32:
        return None
    kept = kept_of(forms, weight)
    forward, keep = forward_kernel.find(weight.code), keep_kernel.find(weight.code)
    if kept is None or forward == NULL or keep == NULL:
        return None
    # Which method it is may change with the size of the images.
    arrays[0], arrays[1], arrays[2] = weight.data, NULL, about
    keep(arrays, sizes, no_scalars, 0, 1)
    if about[0] == 0:
        return None
    if kept.form is None or kept.kernel != <void *>forward or kept.form.size != about[0] or kept.method != about[1]:
        kept.form = new_array(1, about, FLOAT32, CPU, False)
        kept.kernel, kept.method = <void *>forward, about[1]
        told = new_array(1, &three, INT64, CPU, False)
        arrays[0], arrays[1], arrays[2] = <void *>weight, <void *>kept.form, <void *>told
        keep_kernel.launch(arrays, 3, sizes, SIZES, no_scalars, 0, False)
    return kept.form


cdef class ConvNode(Node):
    """Keeps x (NHWC) if the weight wants a gradient, the weight if x wants one, the output if an activation is in it."""
    cdef Array x, weight, out
    cdef int64_t x_version, weight_version, out_version
    cdef int64_t sizes[SIZES]
    cdef bint transposed

    def name(self):
        return "ConvTranspose2dBackward" if self.transposed else "Conv2dBackward"

    cdef int release(self) except -1:
        self.x = self.weight = self.out = None
        return 0

    cdef int apply(self) except -1:
        cdef Array g = channels_last(self.grad), grad_bias = None, out, before
        cdef Storage memory = g.storage
        cdef bint wants_bias = wanted(self, 2), bias_done = False
        if wants_bias:
            grad_bias = vector(g.dims[1], g)
        if self.sizes[ACTIVATION]:
            check_version(self.out, self.out_version, self)
            # held by g and self.grad alone, its memory by it (and `memory`) alone: written over
            if Py_REFCNT(g) <= 2 and Py_REFCNT(memory) <= 2 and not memory.read_only:
                before = g
            else:
                before = new_like(g, g.code)
            bias_done = wants_bias and self.sizes[GROUPS] == 1
            through_relu(self.out, g, before, grad_bias if bias_done else None)
            g = before
        if wants_bias and not bias_done and (self.transposed or not wanted(self, 1)):
            bias_gradient(g, grad_bias)
            bias_done = True
        if wanted(self, 1):
            check_version(self.x, self.x_version, self)
            if self.transposed:
                out = self.weight_gradient(g, self.x, None)
            else:
                out = self.weight_gradient(self.x, g, None if bias_done else grad_bias)
            send(self, 1, out, True)
        if wants_bias:
            send(self, 2, grad_bias, True)
        if wanted(self, 0):
            check_version(self.weight, self.weight_version, self)
            send(self, 0, self.data_gradient(g), True)
        return 0

    cdef Array weight_gradient(self, Array x, Array g, Array grad_bias):
        """Work items of this kernel are output channels, so K leads its sizes and N takes K's place."""
        cdef int64_t *s = self.sizes
        cdef int64_t sizes[SIZES]
        cdef int64_t dims[4]
        cdef void *arrays[4]
        cdef Array out
        memcpy(sizes, s, sizeof(sizes))
        sizes[N_], sizes[K_], sizes[BIAS] = s[K_], s[N_], grad_bias is not None
        dims[0], dims[1], dims[2], dims[3] = s[K_], s[C_] // s[GROUPS], s[KH], s[KW]
        out = new_array(4, dims, g.code, g.on, False)
        arrays[0] = <void *>x
        arrays[1] = <void *>g
        arrays[2] = <void *>out
        arrays[3] = NULL if grad_bias is None else <void *>grad_bias
        weight_kernel.launch(arrays, 4, sizes, SIZES, no_scalars, 0, False)
        return out

    cdef Array data_gradient(self, Array g):
        cdef int64_t *s = self.sizes
        cdef int64_t sizes[SIZES]
        cdef void *arrays[5]
        cdef Array out
        memcpy(sizes, s, sizeof(sizes))
        sizes[ACTIVATION] = sizes[BIAS] = 0
        arrays[0] = <void *>g
        arrays[1] = <void *>self.weight
        if self.transposed:
            out = images(s[N_], s[K_], s[OH], s[OW], g)
            arrays[2] = arrays[3] = NULL
            arrays[4] = <void *>out
            if out.size:
                forward_kernel.launch(arrays, 5, sizes, SIZES, no_scalars, 0, False)
        else:
            out = images(s[N_], s[C_], s[H_], s[W_], g)
            arrays[2] = <void *>out
            if out.size:
                data_kernel.launch(arrays, 3, sizes, SIZES, no_scalars, 0, False)
        return out


cdef Array vector(int64_t n, Array like):
    return new_array(1, &n, like.code, like.on, False)


cdef int bias_gradient(Array g, Array grad_bias) except -1:
    cdef int64_t sizes[2]
    cdef void *arrays[2]
    sizes[0], sizes[1] = g.dims[1], g.dims[0] * g.dims[2] * g.dims[3]
    arrays[0] = <void *>g
    arrays[1] = <void *>grad_bias
    return bias_kernel.launch(arrays, 2, sizes, 2, no_scalars, 0, False)


cdef int through_relu(Array out, Array g, Array before, Array grad_bias) except -1:
    """The gradient before a relu, from its output, all in NHWC memory; and its sums over the pixels, unless that is None."""
    cdef void *arrays[4]
    cdef int64_t sizes[2]
    arrays[0] = <void *>out
    arrays[1] = <void *>g
    arrays[2] = <void *>before
    if grad_bias is not None:
        arrays[3] = <void *>grad_bias
        sizes[0], sizes[1] = g.dims[1], g.dims[0] * g.dims[2] * g.dims[3]
        relu_bias_kernel.launch(arrays, 4, sizes, 2, no_scalars, 0, False)
    elif g.size:
        sizes[0] = g.size
        relu_kernel.launch(arrays, 3, sizes, 1, no_scalars, 0, True)
    return 0
