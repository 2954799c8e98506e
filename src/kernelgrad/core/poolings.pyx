"""Compiled caller of pooling: allocate, run, record. Arguments are checked, and plans made, in ops/pooling.py.

Outputs and gradients keep the memory layout of the input, NHWC or NCHW. Kernels see NCHW memory as N C images of one channel.
Sizes of all kernels but the global average: rows, H, W, C, OH, OW, kernel, stride, padding, dilation (two each), adaptive,
then what is special to the kind.
"""
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from kernelgrad.core.array cimport Array, CHANNELS_LAST, new_array, view_of
from kernelgrad.core.copying cimport channels_last, contiguous
from kernelgrad.core.dtypes cimport INT32, INT64, UINT8
from kernelgrad.core.dispatch cimport Kernel, get_kernel
from kernelgrad.core.graph cimport Node, edge_of, grad_enabled, record, send

cdef enum:
    GEOMETRY = 11             # OH .. adaptive
    SIZES = 17

cdef Kernel max_forward = get_kernel("max_pool2d_forward")
cdef Kernel max_backward = get_kernel("max_pool2d_backward")
cdef Kernel max_indices = get_kernel("max_pool2d_indices")
cdef Kernel avg_forward = get_kernel("avg_pool2d_forward")
cdef Kernel avg_backward = get_kernel("avg_pool2d_backward")
cdef Kernel global_forward = get_kernel("global_avg_pool2d_forward")
cdef Kernel global_backward = get_kernel("global_avg_pool2d_backward")
cdef double no_scalars[1]


cdef class PoolPlan:
    """Geometry of one pooling, found once for each set of shapes and options.

    `geometry`: OH, OW, kernel, stride, padding, dilation, adaptive; of an average also count_include_pad, divisor_override.
    `dims`: spatial dimensions of the call; with one, the kernels see a height of 1. `batched`: whether its input has N.
    """
    cdef readonly str kind
    cdef readonly int dims
    cdef readonly bint batched
    cdef bint average
    cdef int64_t geometry[GEOMETRY + 2]

    def __init__(self, kind, dims, batched, geometry):
        cdef int i
        self.kind, self.dims, self.batched, self.average = kind, dims, batched, kind == "average"
        if len(geometry) != GEOMETRY + 2 * self.average:
            raise ValueError(f"expected {GEOMETRY + 2 * self.average} numbers of geometry, got {len(geometry)}")
        for i in range(len(geometry)):
            self.geometry[i] = geometry[i]


cdef Array four_dimensions(Array x, PoolPlan plan):
    """x as (N, C, H, W), without a copy; one of other dimensions is contiguous."""
    cdef int64_t dims[4]
    cdef int64_t strides[4]
    cdef int at = plan.batched
    if x.nd == 4:
        return x
    dims[0] = x.dims[0] if plan.batched else 1
    dims[1] = x.dims[at]
    dims[2] = x.dims[at + 1] if plan.dims == 2 else 1
    dims[3] = x.dims[x.nd - 1]
    strides[3], strides[2] = 1, dims[3]
    strides[1] = dims[2] * dims[3]
    strides[0] = dims[1] * strides[1]
    return view_of(x, 4, dims, strides, 0)


cdef Array output(Array x, PoolPlan plan, int code, bint nhwc):
    """A new array of the output's shape, with as many dimensions as x."""
    cdef int64_t dims[4]
    memcpy(dims, x.dims, sizeof(dims))
    if plan.dims == 2:
        dims[x.nd - 2] = plan.geometry[0]
    dims[x.nd - 1] = plan.geometry[1]
    return new_array(x.nd, dims, code, x.on, nhwc)


cdef int run(Kernel kernel, void **arrays, int count, Array image, int64_t height, PoolPlan plan, bint nhwc, int64_t tap_bytes) except -1:
    """image: (N, C, H, W) of the input; height: rows of an image that are work items; tap_bytes < 0: not among the sizes."""
    cdef int64_t sizes[SIZES]
    cdef int extra = 2 if plan.average else tap_bytes >= 0
    sizes[0] = image.dims[0] * height * (1 if nhwc else image.dims[1])
    sizes[1], sizes[2], sizes[3] = image.dims[2], image.dims[3], image.dims[1] if nhwc else 1
    memcpy(sizes + 4, plan.geometry, sizeof(plan.geometry))
    if not plan.average:
        sizes[4 + GEOMETRY] = tap_bytes
    return kernel.launch(arrays, count, sizes, 4 + GEOMETRY + extra, no_scalars, 0, False)


cdef int run_global(void **arrays, Array image, bint nhwc) except -1:
    cdef int64_t sizes[4]
    sizes[1] = image.dims[0] * (1 if nhwc else image.dims[1])
    sizes[2], sizes[3] = image.dims[2] * image.dims[3], image.dims[1] if nhwc else 1
    sizes[0] = sizes[1] * ((sizes[3] + 63) // 64 if sizes[1] < 8 else 1)    # few images: threads share their channels
    return global_forward.launch(arrays, 2, sizes, 4, no_scalars, 0, False)


cdef int run_global_backward(void **arrays, Array image, bint nhwc) except -1:
    cdef int64_t sizes[4]
    sizes[1] = image.dims[0] * (1 if nhwc else image.dims[1])
    sizes[2], sizes[3] = image.dims[2] * image.dims[3], image.dims[1] if nhwc else 1
    sizes[0] = sizes[1] * (8 if sizes[1] < 8 and sizes[2] >= 64 else 1)    # few images: threads share their pixels
    return global_backward.launch(arrays, 2, sizes, 4, no_scalars, 0, False)


cdef bint is_global(PoolPlan plan) noexcept:
    return plan.geometry[10] and plan.geometry[0] == 1 and plan.geometry[1] == 1


def pool(Array x not None, PoolPlan plan not None, bint return_indices=False):
    """Pool the last one or two dimensions of x; with the indices of the maxima if asked for."""
    cdef Array source, image, out, view, taps = None, indices
    cdef void *arrays[3]
    cdef int64_t tap_bytes = 0
    cdef int64_t *geometry = plan.geometry
    cdef PoolNode node
    cdef bint recorded = x.wants_grad and grad_enabled()
    cdef bint nhwc = x.nd == 4 and (x.layout & CHANNELS_LAST or (x.dims[1] > 1 and x.strides[1] == 1))
    source = channels_last(x) if nhwc else contiguous(x)
    image = four_dimensions(source, plan)
    out = output(source, plan, x.code, nhwc)
    view = four_dimensions(out, plan)
    arrays[0] = <void *>image
    arrays[1] = <void *>view
    if plan.average:
        if not out.size:
            pass
        elif is_global(plan):
            run_global(arrays, image, nhwc)
        else:
            run(avg_forward, arrays, 2, image, geometry[0], plan, nhwc, 0)
    else:
        if recorded or return_indices:
            # a byte says which tap of a window it was, unless there are more than 255
            tap_bytes = 4 if return_indices or geometry[2] * geometry[3] > 255 else 1
            taps = new_array(4, view.dims, UINT8 if tap_bytes == 1 else INT32, x.on, nhwc)
        arrays[2] = NULL if taps is None else <void *>taps
        if out.size:
            run(max_forward, arrays, 3, image, geometry[0], plan, nhwc, tap_bytes)
    if recorded:
        node = PoolNode.__new__(PoolNode)
        node.plan, node.taps, node.tap_bytes, node.nhwc = plan, taps, tap_bytes, nhwc
        node.nd = x.nd
        memcpy(node.dims, x.dims, sizeof(node.dims))
        node.edges = (edge_of(x),)
        if x.output_nr:
            node.edge_nrs = (x.output_nr,)
        record(node, out)
    if not return_indices:
        return out
    indices = output(source, plan, INT64, nhwc)
    view = four_dimensions(indices, plan)
    arrays[0] = <void *>taps
    arrays[1] = <void *>view
    if indices.size:
        run(max_indices, arrays, 2, image, geometry[0], plan, nhwc, -1)
    return out, indices


cdef class PoolNode(Node):
    """Keeps which tap of each window was the maximum; for averages nothing but shapes."""
    cdef PoolPlan plan
    cdef Array taps
    cdef int64_t tap_bytes
    cdef int64_t dims[8]
    cdef int nd
    cdef bint nhwc

    def name(self):
        return "AvgPoolBackward" if self.plan.average else "MaxPoolBackward"

    cdef str label(self):
        return self.name()

    cdef int release(self) except -1:
        self.taps = None
        return 0

    cdef int apply(self) except -1:
        cdef Array g = channels_last(self.grad) if self.nhwc else contiguous(self.grad), grad_x, view
        cdef void *arrays[3]
        grad_x = new_array(self.nd, self.dims, g.code, g.on, self.nhwc)
        view = four_dimensions(grad_x, self.plan)
        g = four_dimensions(g, self.plan)
        arrays[0] = <void *>g
        if self.plan.average:
            arrays[1] = <void *>view
            if not grad_x.size:
                pass
            elif is_global(self.plan):
                run_global_backward(arrays, view, self.nhwc)
            else:
                run(avg_backward, arrays, 2, view, view.dims[2], self.plan, self.nhwc, 0)
        else:
            arrays[1] = <void *>self.taps
            arrays[2] = <void *>view
            if grad_x.size:
                run(max_backward, arrays, 3, view, view.dims[2], self.plan, self.nhwc, self.tap_bytes)
        view = None
        return send(self, 0, grad_x, True)
