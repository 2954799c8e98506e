"""Array: the one data structure. Pointer, shape, strides, dtype, device, storage; views without copies.

`Tensor`, what users hold, is a Python subclass; `set_tensor_class` names it, and every array made here is of that class.
"""
cimport cython
cimport numpy as cnp
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy, memset

from kernelgrad.core.memory cimport Storage, borrow_storage, new_storage

import numpy as np

from kernelgrad.core.memory_format import channels_last as channels_last_format

cnp.import_array()

cdef extern from *:
    """
    static inline PyObject *kg_new(PyObject *cls, PyObject *args) {
        return ((PyTypeObject *)cls)->tp_new((PyTypeObject *)cls, args, NULL);
    }
    """
    object kg_new(object cls, object args)

# ---- dtypes and devices ----

cdef class dtype:
    """An element type: ``kernelgrad.float32`` and friends. Compares by identity."""

    def __init__(self, code, name, itemsize, is_floating_point, numpy):
        self.code = code
        self.name = name
        self.itemsize = itemsize
        self.is_floating_point = is_floating_point
        self.is_complex = False
        self.numpy = numpy

    def __repr__(self):
        return f"kernelgrad.{self.name}"

    def __reduce__(self):
        return "bool_" if self.code == BOOL else self.name


bool_ = dtype(BOOL, "bool", 1, False, np.dtype(np.bool_))
uint8 = dtype(UINT8, "uint8", 1, False, np.dtype(np.uint8))
int8 = dtype(INT8, "int8", 1, False, np.dtype(np.int8))
int32 = dtype(INT32, "int32", 4, False, np.dtype(np.int32))
int64 = dtype(INT64, "int64", 8, False, np.dtype(np.int64))
bfloat16 = dtype(BFLOAT16, "bfloat16", 2, True, None)  # NumPy has none; kernels see uint16
float32 = dtype(FLOAT32, "float32", 4, True, np.dtype(np.float32))
float64 = dtype(FLOAT64, "float64", 8, True, np.dtype(np.float64))

cdef tuple dtypes = (bool_, uint8, int8, int32, int64, bfloat16, float32, float64)
cdef int64_t itemsizes[8]
itemsizes[:] = [1, 1, 1, 4, 8, 2, 4, 8]
cdef int numpy_types[8]
numpy_types[:] = [cnp.NPY_BOOL, cnp.NPY_UINT8, cnp.NPY_INT8, cnp.NPY_INT32, cnp.NPY_INT64, cnp.NPY_UINT16,
                  cnp.NPY_FLOAT32, cnp.NPY_FLOAT64]
cdef dict from_numpy_dtype = {d.numpy: d for d in dtypes if d.numpy is not None}

cdef dtype dtype_of(int code):
    return <dtype>dtypes[code]

cdef int64_t itemsize_of(int code) noexcept nogil:
    return itemsizes[code]


def as_dtype(value, str where="dtype"):
    """The kernelgrad dtype for a dtype, a NumPy dtype or type, or Python's float, int, bool. TypeError for others."""
    if isinstance(value, dtype):
        return value
    if value is float:
        return get_default_dtype()
    if value is int:
        return int64
    if value is bool:
        return bool_
    try:
        return from_numpy_dtype[np.dtype(value)]
    except (TypeError, KeyError):
        raise TypeError(f"{where}: expected a kernelgrad dtype such as kernelgrad.float32, got {value!r}") from None


cdef dtype default_dtype = float32


def get_default_dtype():
    """The floating dtype that Python floats become (float32 unless changed)."""
    return default_dtype


def set_default_dtype(d):
    """Let Python floats become `d`, float32 or float64. TypeError for other dtypes."""
    global default_dtype
    if d is not float32 and d is not float64:
        raise TypeError(f"set_default_dtype: only float32 and float64 are supported, got {d!r}")
    default_dtype = d


class device:
    """Where a tensor lives: ``device("cpu")`` or ``device("cuda")``. Equal to the same device and to its name."""

    __slots__ = ("index", "type")

    def __init__(self, type="cpu", index=None):
        if isinstance(type, device):
            type, index = type.type, type.index
        if not isinstance(type, str):
            raise TypeError(f"device: expected a string such as 'cpu' or 'cuda', got {type!r}")
        name, _, number = type.partition(":")
        if name not in ("cpu", "cuda"):
            raise RuntimeError(f"Expected one of cpu, cuda device type at start of device string: {type}")
        if number:
            if not number.isdigit():
                raise RuntimeError(f"Invalid device string: '{type}'")
            index = int(number)
        if index:
            raise RuntimeError(f"device: only one device of each kind is supported, got {type}:{index}")
        self.type = name
        self.index = index

    def __repr__(self):
        return f"device(type='{self.type}')" if self.index is None else f"device(type='{self.type}', index={self.index})"

    def __str__(self):
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other):
        if isinstance(other, str):
            return other.partition(":")[0] == self.type
        return isinstance(other, device) and other.type == self.type

    def __hash__(self):
        return hash(self.type)


cdef tuple devices = (device("cpu"), device("cuda"))


def device_code(value):
    """0 for the CPU, 1 for CUDA; raises as `device` does, and RuntimeError where CUDA cannot be used."""
    if value is None:
        return CPU
    cdef int code = 0 if (value if isinstance(value, device) else device(value)).type == "cpu" else 1
    if code == CUDA:
        ensure_cuda()
    return code


cdef object start_cuda = None
cdef bint cuda_ready = False


def set_cuda_starter(function):
    """`function()` is called before the first use of device "cuda"; it installs the backend or raises."""
    global start_cuda
    start_cuda = function


def ensure_cuda():
    """Install the CUDA backend, or raise RuntimeError with the reason."""
    global cuda_ready
    if cuda_ready:
        return
    if start_cuda is None:
        raise RuntimeError("device 'cuda': this build of kernelgrad has no CUDA backend")
    start_cuda()
    cuda_ready = True


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
    x.storage = new_storage(x.size * itemsizes[code], on)
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
    y.storage = new_storage(y.size * itemsizes[code], y.on)
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
    y.data = <char *>x.data + offset * itemsizes[x.code]
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


cdef Array scalar_array(double value, int code, int on):
    """A 0-d array that holds `value`."""
    cdef Array x = new_array(0, NULL, code, CPU, False)
    if code == FLOAT32:
        (<float *>x.data)[0] = <float>value
    elif code == FLOAT64:
        (<double *>x.data)[0] = value
    else:
        numpy_view(x)[...] = value
    return x if on == CPU else to_device(x, on)


def empty(shape, dtype=None, device=None, channels_last=False):
    """Uninitialised array. `channels_last` stores four dimensions (N, C, H, W) in N, H, W, C order."""
    cdef int64_t dims[8]
    cdef int nd = read_shape(shape, dims)
    return new_array(nd, dims, (default_dtype if dtype is None else as_dtype(dtype)).code, device_code(device), channels_last)


def empty_like(Array x not None, dtype=None):
    """Uninitialised array with the shape, device and (where dense) memory layout of `x`."""
    return new_like(x, x.code if dtype is None else as_dtype(dtype).code)


def zeros(shape, dtype=None, device=None, channels_last=False):
    return zero_(empty(shape, dtype, device, channels_last))


def zero_(Array x not None):
    """Fill a dense array with zeros, in place."""
    if x.on != CPU:
        return fill_(x, 0)
    if not x.layout & DENSE:
        numpy_view(x)[...] = 0
    elif x.size:
        memset(x.data, 0, x.size * itemsizes[x.code])
    x.storage.version += 1
    return x


def fill_(Array x not None, value):
    """Fill with one value, in place; no graph."""
    cdef int64_t i
    cdef float f
    if x.storage.read_only:
        raise RuntimeError("fill_: this tensor shares memory with a read-only NumPy array; clone() it first")
    if x.on != CPU:
        copy_into(x, full_on_cpu(x, value))
        x.storage.version += 1
        return x
    if x.code == FLOAT32 and x.layout & DENSE:
        f = value
        for i in range(x.size):
            (<float *>x.data)[i] = f
    elif x.code == BFLOAT16:
        copy_into(x, cast(full(shape_tuple(x), value, float32), bfloat16))
    else:
        numpy_view(x)[...] = value
    x.storage.version += 1
    return x


cdef Array full_on_cpu(Array x, value):
    return fill_(new_array(x.nd, x.dims, x.code, CPU, False), value)


def full(shape, value, dtype=None, device=None):
    if dtype is None:
        dtype = bool_ if isinstance(value, bool) else int64 if isinstance(value, int) else default_dtype
    return fill_(empty(shape, dtype, device), value)


def from_numpy(a):
    """An array that shares the memory of a NumPy array (a read-only one can be read, not written, by kernelgrad's ops)."""
    cdef cnp.ndarray source
    cdef Array x
    cdef int i
    cdef int64_t item, last = 0
    if not isinstance(a, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(a).__name__})")
    source = a
    d = from_numpy_dtype.get(source.dtype)
    if d is None:
        raise TypeError(f"from_numpy: dtype {source.dtype} is not supported; kernelgrad has float32, float64, int64, int32, int8, "
                        "uint8 and bool: convert with .astype()")
    if source.ndim > MAX_DIMS:
        raise ValueError(f"from_numpy: at most {MAX_DIMS} dimensions are supported, got {source.ndim}")
    x = blank((<dtype>d).code, CPU)
    item = itemsizes[x.code]
    x.nd = source.ndim
    for i in range(x.nd):
        x.dims[i] = source.shape[i]
        if source.strides[i] < 0:
            raise ValueError("from_numpy: negative strides are not supported; pass a copy, such as array.copy()")
        if source.strides[i] % item:
            raise ValueError("from_numpy: strides must be whole elements; pass a copy, such as array.copy()")
        x.strides[i] = source.strides[i] // item
        last += (x.dims[i] - 1) * x.strides[i]
    set_layout(x)
    x.storage = borrow_storage(cnp.PyArray_DATA(source), (last + 1) * item if x.size else 0, a, not source.flags.writeable)
    x.data = x.storage.data
    if <uintptr_t>x.data % item:
        return from_numpy(a.copy())
    return x


cdef object numpy_view(Array x):
    """A NumPy array over x's memory (uint16 for bfloat16), which keeps the storage alive."""
    cdef cnp.npy_intp dims[8]
    cdef cnp.npy_intp strides[8]
    cdef int i
    cdef cnp.ndarray view
    cdef char dummy
    for i in range(x.nd):
        dims[i] = x.dims[i]
        strides[i] = x.strides[i] * itemsizes[x.code]
    view = cnp.PyArray_New(cnp.ndarray, x.nd, dims, numpy_types[x.code], strides,
                           x.data if x.data != NULL else <void *>&empty_block, 0,
                           0 if x.storage.read_only else cnp.NPY_ARRAY_WRITEABLE, None)
    Py_INCREF(x.storage)
    cnp.PyArray_SetBaseObject(view, x.storage)
    return view

cdef double empty_block = 0


def as_numpy(Array x not None):
    """NumPy view of a CPU array's memory, whatever its graph state; kernels' references work on these."""
    if x.on != CPU:
        raise TypeError("can't convert a cuda tensor to numpy: copy it to the host first with .cpu()")
    return numpy_view(x)


def known_version(Array x not None):
    """The version of x's memory, or -1 where NumPy may have changed it unseen."""
    return -1 if x.storage.exposed else x.storage.version


def shared_with_numpy(Array x not None):
    """`as_numpy` for users: from now on x may change without a new version, so nothing derived from it is kept."""
    view = as_numpy(x)
    x.storage.exposed = True
    return view


def as_strided(Array x not None, shape, strides, int64_t offset=0):
    """A view with the given shape and strides (elements), `offset` elements from x's first; no graph, no bounds check."""
    cdef int64_t dims[8]
    cdef int64_t steps[8]
    cdef int nd = read_shape(shape, dims), i
    for i in range(nd):
        steps[i] = strides[i]
    return view_of(x, nd, dims, steps, offset)


# ---- Copies, casts, devices ----

cdef object device_backend = None


def set_device_backend(backend):
    """The CUDA backend: alloc, free, to_device, from_device, within_device (addresses and byte counts), run, synchronize."""
    global device_backend
    device_backend = backend


cdef Array to_device(Array x, int on):
    cdef Array y
    if x.on == on:
        return x
    if not x.layout & DENSE:
        x = contiguous(x)
    y = blank(x.code, on)
    y.nd = x.nd
    y.size = x.size
    y.layout = x.layout
    memcpy(y.dims, x.dims, sizeof(x.dims))
    memcpy(y.strides, x.strides, sizeof(x.strides))
    y.storage = new_storage(x.size * itemsizes[x.code], on)
    y.data = y.storage.data
    if x.size:
        if on == CUDA:
            device_backend.to_device(<uintptr_t>y.data, <uintptr_t>x.data, x.size * itemsizes[x.code])
        else:
            device_backend.from_device(<uintptr_t>y.data, <uintptr_t>x.data, x.size * itemsizes[x.code])
    return y


def move(Array x not None, device):
    """`x` itself if it is on `device`, else a copy there; no graph."""
    return to_device(x, device_code(device))


# Copies between layouts and dtypes by kernels; set by core.copies, which stands above this module. NumPy's setup is
# shorter, so it keeps what is small.
cdef object strided_copy = None
cdef object cast_copy = None


def set_copies(strided, casting):
    global strided_copy, cast_copy
    strided_copy, cast_copy = strided, casting


cdef int copy_into(Array dst, Array src) except -1:
    """dst[...] = src for equal shapes and dtypes, any strides, CPU or CUDA; no graph, no version change."""
    cdef bint plain = dst.layout & DENSE and src.layout & DENSE and same_strides(dst, src)
    cdef int64_t nbytes = dst.size * itemsizes[dst.code]
    if nbytes == 0:
        return 0
    if dst.on != src.on:
        if plain and dst.on == CUDA:
            device_backend.to_device(<uintptr_t>dst.data, <uintptr_t>src.data, nbytes)
            return 0
        if plain:
            device_backend.from_device(<uintptr_t>dst.data, <uintptr_t>src.data, nbytes)
            return 0
        return copy_into(dst, to_device(src, dst.on))
    if plain and dst.on == CPU:
        memcpy(dst.data, src.data, nbytes)
    elif plain:
        device_backend.within_device(<uintptr_t>dst.data, <uintptr_t>src.data, nbytes)
    elif dst.on == CUDA:
        device_backend.copy_strided(dst, src)
    elif strided_copy is not None and dst.size > 1024 and dst.storage is not src.storage:
        strided_copy(src, dst)
    else:
        numpy_view(dst)[...] = numpy_view(src)
    return 0


def copy_(Array dst not None, Array src not None):
    """dst[...] = src for equal shapes and dtypes; counts as an in-place change of dst; no graph."""
    copy_into(dst, src)
    dst.storage.version += 1
    return dst


cpdef Array contiguous(Array x):
    """`x` itself if it is in C order, else a copy that is; no graph."""
    if x is None:
        raise TypeError("expected a Tensor, got None")
    cdef Array y
    if x.layout & CONTIGUOUS:
        return x
    y = new_array(x.nd, x.dims, x.code, x.on, False)
    copy_into(y, x)
    return y


cpdef Array channels_last(Array x):
    """`x` itself if its memory is NHWC, else a copy that is; 4-d; no graph."""
    if x is None:
        raise TypeError("expected a Tensor, got None")
    cdef Array y
    if x.layout & CHANNELS_LAST:
        return x
    if x.nd != 4:
        raise RuntimeError(f"channels_last: expected 4 dimensions, got {x.nd}")
    y = new_array(4, x.dims, x.code, x.on, True)
    set_layout(y)
    copy_into(y, x)
    return y


def copy(Array x not None):
    """A fresh array with x's values and (where dense) layout; no graph."""
    cdef Array y = new_like(x, x.code)
    copy_into(y, x)
    return y


cpdef Array cast(Array x, dtype to):
    """A copy of another dtype, or `x` itself where the dtype is already right; no graph. Rounds to nearest even."""
    if x is None or to is None:
        raise TypeError("expected a Tensor, got None")
    cdef Array y
    if x.code == to.code:
        return x
    if x.on != CPU and (cast_copy is None or x.code == BFLOAT16 or to.code == BFLOAT16):
        return to_device(cast(to_device(x, CPU), to), x.on)
    if x.on != CPU:
        x = x if x.layout & DENSE else contiguous(x)
        y = new_like(x, to.code)
        if x.size:
            cast_copy(x, y)
        return y
    y = new_like(x, to.code)
    if cast_copy is not None and x.size > 1024 and x.layout & DENSE:
        cast_copy(x, y)
        return y
    source, target = numpy_view(x), numpy_view(y)
    if x.code == BFLOAT16:
        wide = (source.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            target[...] = wide.astype(target.dtype)
    elif to.code == BFLOAT16:
        bits = source.astype(np.float32).view(np.uint32)
        rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
        target[...] = np.where((bits & 0x7FFFFFFF) > 0x7F800000, (bits >> 16) | 0x40, rounded).astype(np.uint16)
    else:
        with np.errstate(invalid="ignore", over="ignore"):
            np.copyto(target, source, casting="unsafe")
    return y


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
        return <object>dtypes[self.code]

    @property
    def device(self):
        return devices[self.on]

    @property
    def is_cuda(self):
        return self.on == CUDA

    @property
    def itemsize(self):
        return itemsizes[self.code]

    @property
    def nbytes(self):
        return itemsizes[self.code] * self.size

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
        return itemsizes[self.code]

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
        cdef Array x
        if self.size != 1:
            raise RuntimeError(f"a Tensor with {self.size} elements cannot be converted to Scalar")
        x = self if self.on == CPU else to_device(self, CPU)
        if x.code == FLOAT32:
            return (<float *>x.data)[0]
        if x.code == FLOAT64:
            return (<double *>x.data)[0]
        if x.code == INT64:
            return (<int64_t *>x.data)[0]
        if x.code == BOOL:
            return (<unsigned char *>x.data)[0] != 0
        if x.code == BFLOAT16:
            return cast(x, float32).item()
        return numpy_view(x).reshape(()).item()

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


def device_backend_of():
    """The installed CUDA backend, or None."""
    return device_backend
