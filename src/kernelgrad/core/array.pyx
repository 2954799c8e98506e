"""Array: the one data structure. Pointer, shape, strides, dtype, device, storage; views without copies.

`Tensor`, what users hold, is a Python subclass; `set_tensor_class` names it, and every array made here is of that class.
"""
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy

from kernelgrad.core.dtypes cimport (BFLOAT16, BOOL, CPU, CUDA, FLOAT32, FLOAT64, INT64, default_float, device_of, dtype_of,
                                     itemsize_of)
from kernelgrad.core.memory cimport Storage, new_storage

from kernelgrad.core.dtypes import as_dtype, device_code
from kernelgrad.core.memory_format import channels_last as channels_last_format

cdef extern from *:
    """
    static inline PyObject *kg_new(PyObject *cls, PyObject *args) {
        return ((PyTypeObject *)cls)->tp_new((PyTypeObject *)cls, args, NULL);
    }
    """
    object kg_new(object cls, object args)

# ---- Making arrays ----

cdef object tensor_class = Array
cdef tuple no_args = ()


def set_tensor_class(cls):
    """Arrays made from now on are instances of `cls`, a subclass of Array with ``__slots__ = ()``."""
    global tensor_class
    if not issubclass(cls, Array):
        raise TypeError("set_tensor_class: expected a subclass of Array")
    tensor_class = cls


cdef inline Array bare():
    return <Array>kg_new(tensor_class, no_args)


cdef Array blank(int code, int on):
    cdef Array x = bare()
    x.code = code
    x.on = on
    return x


cdef void set_layout(Array x) noexcept:
    """Fill in x.size and x.layout from dims and strides."""
    cdef int i, j
    cdef int64_t n = 1, d
    cdef bint contiguous = True
    for i in range(x.nd - 1, -1, -1):
        d = x.dims[i]
        if d != 1 and x.strides[i] != n:
            contiguous = False
        n *= d
    x.size = n
    if contiguous or n == 0:
        x.layout = CONTIGUOUS | DENSE
        if x.nd == 4 and n and nhwc_strides(x):
            x.layout |= CHANNELS_LAST
        return
    x.layout = 0
    if x.nd == 4 and nhwc_strides(x):
        x.layout = CHANNELS_LAST | DENSE
        return
    # dense in another order: follow the strides up from 1
    cdef int64_t want = 1
    cdef int left = 0
    for i in range(x.nd):
        if x.dims[i] != 1:
            left += 1
    while left:
        j = -1
        for i in range(x.nd):
            if x.dims[i] != 1 and x.strides[i] == want:
                j = i
                break
        if j < 0:
            return
        want *= x.dims[j]
        left -= 1
    x.layout = DENSE


cdef bint nhwc_strides(Array x) noexcept:
    cdef int64_t n = 1
    cdef int i
    for i in (1, 3, 2, 0):
        if x.dims[i] != 1 and x.strides[i] != n:
            return False
        n *= x.dims[i]
    return True


cdef inline int64_t dense_strides(Array x, bint nhwc) noexcept:
    """C order, or NHWC memory for four dimensions; returns the number of elements."""
    cdef int i
    cdef int64_t n = 1
    if nhwc and x.nd == 4:
        x.strides[1] = 1
        x.strides[3] = x.dims[1]
        x.strides[2] = x.dims[1] * x.dims[3]
        x.strides[0] = x.dims[1] * x.dims[3] * x.dims[2]
        return x.strides[0] * x.dims[0]
    for i in range(x.nd - 1, -1, -1):
        x.strides[i] = n
        n *= x.dims[i]
    return n


cdef Array new_array(int nd, const int64_t *dims, int code, int on, bint nhwc):
    cdef Array x = bare()
    cdef int i
    x.code = code
    x.on = on
    x.nd = nd
    for i in range(nd):
        x.dims[i] = dims[i]
    x.size = dense_strides(x, nhwc)
    x.layout = CONTIGUOUS | DENSE
    if nd == 4:
        set_layout(x)
    x.storage = new_storage(x.size * itemsize_of(code), on)
    x.data = x.storage.data
    return x


cdef Array new_like(Array x, int code):
    """Uninitialised, with x's shape, device and (where it is dense) memory layout."""
    cdef Array y
    cdef int i
    if not x.layout & DENSE:
        return new_array(x.nd, x.dims, code, x.on, False)
    y = bare()
    y.code = code
    y.on = x.on
    y.nd = x.nd
    y.size = x.size
    y.layout = x.layout
    for i in range(x.nd):
        y.dims[i] = x.dims[i]
        y.strides[i] = x.strides[i]
    y.storage = new_storage(y.size * itemsize_of(code), y.on)
    y.data = y.storage.data
    return y


cdef Array same_memory(Array y, Array x):
    """Let y name x's memory, shape and dtype."""
    y.data = x.data
    y.storage = x.storage
    y.size = x.size
    memcpy(y.dims, x.dims, sizeof(x.dims))
    memcpy(y.strides, x.strides, sizeof(x.strides))
    y.nd = x.nd
    y.code = x.code
    y.on = x.on
    y.layout = x.layout
    return y


cdef Array alias(Array x):
    """The same memory as a new array outside the graph."""
    return same_memory(bare(), x)


cdef Array view_of(Array x, int nd, const int64_t *dims, const int64_t *strides, int64_t offset):
    cdef Array y = bare()
    cdef int i
    y.storage = x.storage
    y.data = <char *>x.data + offset * itemsize_of(x.code)
    y.nd = nd
    y.code = x.code
    y.on = x.on
    y.is_view = True
    for i in range(nd):
        y.dims[i] = dims[i]
        y.strides[i] = strides[i]
    set_layout(y)
    return y


cdef bint same_shape(Array a, Array b) noexcept:
    cdef int i
    if a.nd != b.nd:
        return False
    for i in range(a.nd):
        if a.dims[i] != b.dims[i]:
            return False
    return True


cdef bint same_strides(Array a, Array b) noexcept:
    """Equal where it matters: strides of dimensions of size 1 do not."""
    cdef int i
    for i in range(a.nd):
        if a.strides[i] != b.strides[i] and a.dims[i] != 1:
            return False
    return True


cdef tuple shape_tuple(Array x):
    if x.nd == 1:
        return (x.dims[0],)
    if x.nd == 2:
        return (x.dims[0], x.dims[1])
    return tuple([x.dims[i] for i in range(x.nd)])


cdef int read_shape(object shape, int64_t *dims) except -1:
    """Read a shape into dims; returns the number of dimensions."""
    cdef int nd, i
    cdef int64_t total = 1
    if isinstance(shape, int):
        shape = (shape,)
    nd = len(shape)
    if nd > MAX_DIMS:
        raise ValueError(f"kernelgrad arrays have at most {MAX_DIMS} dimensions, got shape {tuple(shape)}")
    for i in range(nd):
        dims[i] = shape[i]
        if dims[i] < 0:
            raise RuntimeError(f"negative dimension {dims[i]} in shape {tuple(shape)}")
        if dims[i] and total > (<int64_t>1 << 56) // dims[i]:
            raise RuntimeError(f"shape {tuple(shape)} has too many elements")
        if dims[i]:
            total *= dims[i]
    return nd


def empty(shape, dtype=None, device=None, channels_last=False):
    """Uninitialised array. `channels_last` stores four dimensions (N, C, H, W) in N, H, W, C order."""
    cdef int64_t dims[8]
    cdef int nd = read_shape(shape, dims)
    return new_array(nd, dims, (default_float() if dtype is None else as_dtype(dtype)).code, device_code(device), channels_last)


def empty_like(Array x not None, dtype=None):
    """Uninitialised array with the shape, device and (where dense) memory layout of `x`."""
    return new_like(x, x.code if dtype is None else as_dtype(dtype).code)


def as_strided(Array x not None, shape, strides, int64_t offset=0):
    """A view with the given shape and strides (elements), `offset` elements from x's first; no graph, no bounds check."""
    cdef int64_t dims[8]
    cdef int64_t steps[8]
    cdef int nd = read_shape(shape, dims), i
    for i in range(nd):
        steps[i] = strides[i]
    return view_of(x, nd, dims, steps, offset)


# ---- What Python sees of an array ----

class Size(tuple):
    """A shape: a tuple with ``numel()``."""

    __slots__ = ()

    def numel(self):
        total = 1
        for n in self:
            total *= n
        return total

    def __repr__(self):
        return f"kernelgrad.Size({list(self)})"


cdef object size_class = Size


def set_requires_grad(Array x not None, bint on):
    """Whether operations on a leaf are recorded. RuntimeError for integers, and for switching off what was computed."""
    if on and x.code < BFLOAT16:
        raise RuntimeError(f"only Tensors of floating point dtype can require gradients, got {dtype_of(x.code).name}")
    if not on and x.node is not None:
        raise RuntimeError("you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a "
                           "subgraph that doesn't require differentiation use var_no_grad = var.detach().")
    if x.node is None:
        x.wants_grad = on
    return x


cdef class Array:
    def __init__(self, *args, **kwargs):
        raise TypeError(f"{type(self).__name__} cannot be made directly: use kernelgrad.tensor(), zeros(), from_numpy() ...")

    @property
    def shape(self):
        return kg_new(size_class, (shape_tuple(self),))

    @property
    def ndim(self):
        return self.nd

    @property
    def dtype(self):
        return dtype_of(self.code)

    @property
    def device(self):
        return device_of(self.on)

    @property
    def is_cuda(self):
        return self.on == CUDA

    @property
    def itemsize(self):
        return itemsize_of(self.code)

    @property
    def nbytes(self):
        return itemsize_of(self.code) * self.size

    @property
    def requires_grad(self):
        return self.wants_grad

    @requires_grad.setter
    def requires_grad(self, value):
        set_requires_grad(self, value)

    @property
    def grad_fn(self):
        return self.node

    @property
    def is_leaf(self):
        return self.node is None

    @property
    def output_nr(self):
        return self.output_nr

    @property
    def grad(self):
        return self.grad_

    @grad.setter
    def grad(self, value):
        cdef Array g
        if value is not None:
            if not isinstance(value, Array):
                raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}")
            g = value
            if not same_shape(self, g):
                raise RuntimeError(f"assigned grad has data of a different size: {g.shape}, expected {self.shape}")
            if g.code != self.code or g.on != self.on:
                raise RuntimeError(f"assigned grad has {g.dtype} on {g.device}, expected {self.dtype} on {self.device}")
        self.grad_ = value

    @property
    def _version(self):
        return self.storage.version

    @property
    def _is_view(self):
        return self.is_view

    def dim(self):
        return self.nd

    def numel(self):
        return self.size

    def data_ptr(self):
        """Address of the first element."""
        return <uintptr_t>self.data

    def element_size(self):
        return itemsize_of(self.code)

    def stride(self, dim=None):
        cdef int i
        steps = tuple([self.strides[i] for i in range(self.nd)])
        return steps if dim is None else steps[dim]

    def is_contiguous(self, memory_format=None):
        """Whether the memory is in C order without gaps, or in N, H, W, C order where `memory_format` is channels_last."""
        return bool(self.layout & (CHANNELS_LAST if memory_format is channels_last_format else CONTIGUOUS))

    def is_channels_last(self):
        """Whether the memory of a 4-d array is in N, H, W, C order without gaps."""
        return bool(self.layout & CHANNELS_LAST)

    def is_dense(self):
        """Whether the elements fill their memory without gaps or overlap, in some order of dimensions."""
        return bool(self.layout & DENSE)

    def shares_storage(self, Array other not None):
        return self.storage is other.storage

    def item(self):
        """The value of a one-element array as a Python number."""
        cdef Array x = self
        if self.size != 1:
            raise RuntimeError(f"a Tensor with {self.size} elements cannot be converted to Scalar")
        if self.on != CPU or self.code == BFLOAT16:
            from kernelgrad.core.copying import cast, move  # which stands above this module, as numpy_memory does
            x = cast(move(self, "cpu"), as_dtype(float) if self.code == BFLOAT16 else dtype_of(self.code))
        if x.code == FLOAT32:
            return (<float *>x.data)[0]
        if x.code == FLOAT64:
            return (<double *>x.data)[0]
        if x.code == INT64:
            return (<int64_t *>x.data)[0]
        if x.code == BOOL:
            return (<unsigned char *>x.data)[0] != 0
        from kernelgrad.core.numpy_memory import as_numpy
        return as_numpy(x).reshape(()).item()

    def __len__(self):
        if self.nd == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.dims[0]


def new_of_class(cls, Array x not None):
    """The same memory as an instance of `cls` (Parameter, say), outside the graph."""
    return same_memory(<Array>kg_new(cls, no_args), x)


def rebind(Array x not None, Array y not None):
    """Let `x` name y's memory, shape and dtype (what assigning to ``.data`` does); graph state of `x` stays."""
    return same_memory(x, y)


def detach(Array x not None):
    """The same memory outside the graph."""
    cdef Array y = alias(x)
    y.is_view = x.is_view
    return y


def bump_version(Array x not None):
    """Note an in-place change made by other means (through a NumPy view, say)."""
    x.storage.version += 1
