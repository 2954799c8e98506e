"""Element types and devices, and the one CUDA backend where there is one."""
from libc.stdint cimport int64_t

import numpy as np


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
cdef dict from_numpy_dtype = {d.numpy: d for d in dtypes if d.numpy is not None}

cdef dtype dtype_of(int code):
    return <dtype>dtypes[code]

cdef dtype dtype_of_numpy(object d):
    """Of a NumPy dtype; None where kernelgrad has none."""
    return <dtype>from_numpy_dtype.get(d)


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


cdef dtype default_float():
    return default_dtype


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

cdef object device_of(int on):
    return devices[on]


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


cdef object device_backend = None


def set_device_backend(backend):
    """The CUDA backend: alloc, free, to_device, from_device, within_device (addresses and byte counts), run, synchronize."""
    global device_backend
    device_backend = backend


def device_backend_of():
    """The installed CUDA backend, or None."""
    return device_backend


cdef object cuda_backend():
    return device_backend
