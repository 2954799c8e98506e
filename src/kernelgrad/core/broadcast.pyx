"""Kernels over arrays of any strides that broadcast: walk the outer dimensions, call the kernel on innermost runs.

The output's memory order decides the order of dimensions; neighbours that every array steps through alike become one.
"""
from libc.stdint cimport int64_t

from kernelgrad.core.array cimport (Array, CONTIGUOUS, DENSE, new_array, new_like, same_shape, same_strides,
                                    shape_tuple, view_of)
from kernelgrad.core.copying cimport contiguous, copy_into
from kernelgrad.core.dtypes cimport CUDA, itemsize_of
from kernelgrad.core.dispatch cimport Kernel, SERIAL_NS, get_kernel, jit_function, kg_kernel, observed, run_chunks

from kernelgrad.core import graph as graph_module
from kernelgrad.core.copying import zero_
from kernelgrad.core.dispatch import observe_python
from kernelgrad.core.dtypes import as_dtype

cdef extern from "runtime/pool.h":
    ctypedef void kg_task(void *context, int64_t chunk) noexcept nogil
    void kg_parallel(kg_task *task, void *context, int64_t chunks, double us) nogil


cdef int broadcast_shape(list inputs, int64_t *dims, str name) except -1:
    """The common shape of the inputs by NumPy's rule, which must be on one device; returns the number of dimensions."""
    cdef int nd = 0, i, offset, on = (<Array>inputs[0]).on
    cdef Array x
    for x in inputs:
        if x.on != on:
            refuse_devices(name)
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


cdef int refuse_devices(str name) except -1:
    raise RuntimeError(f"{name}: expected all tensors to be on the same device, got one on cpu and one on cuda: move one with .to()")


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
    elif out.on != (<Array>inputs[0]).on:
        refuse_devices(k.name)
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
        if ns < SERIAL_NS:
            r.run(pointers, r.sizes, scalars, 0, r.sizes[0])
        else:
            with nogil:
                run_chunks(r.run, pointers, r.sizes, scalars, ns, 64)
        return out
    r.count = 1 if ns < SERIAL_NS else min(4 * (<int64_t>(ns / 20000) + 1), 64)
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


def broadcast(Kernel k not None, *inputs, dtype=None, scalars=()):
    """Run a broadcasting kernel on arrays; no graph. `dtype` is the output's, the first input's by default."""
    cdef double c_scalars[16]
    cdef int i
    cdef list arrays = list(inputs)
    for i in range(len(scalars)):
        c_scalars[i] = scalars[i]
    return broadcast_run(k, arrays, (<Array>arrays[0]).code if dtype is None else as_dtype(dtype).code, c_scalars, len(scalars), None)


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
        zero_(out)
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


def sum_to_shape(Array g not None, shape):
    """Sum `g` to a shape it broadcasts from; no graph."""
    cdef int64_t dims[8]
    cdef int i
    for i in range(len(shape)):
        dims[i] = shape[i]
    return sum_to(g, len(shape), dims)


# ---- What the graph adds gradients with ----

cdef Kernel add_kernel = get_kernel("add_forward")


def add_arrays(Array a not None, Array b not None):
    """a + b for gradients; no graph."""
    return broadcast_run(add_kernel, [a, b], a.code, NULL, 0, None)


def add_into(Array dst not None, Array src not None):
    """dst += src for equal shapes; no graph."""
    broadcast_run(add_kernel, [dst, src], dst.code, NULL, 0, dst)
    dst.storage.version += 1


graph_module.set_accumulators(add_arrays, add_into)
