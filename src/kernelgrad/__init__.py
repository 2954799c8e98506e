"""kernelgrad: deep learning on compiled kernels that you can read, with PyTorch's names."""

import importlib
from math import e, inf, nan, pi

from kernelgrad import autograd, core, cuda, ops
from kernelgrad.core import (
    Size,
    available_levels,
    bfloat16,
    device,
    dtype,
    empty_cache,
    enable_grad,
    float32,
    float64,
    get_default_dtype,
    get_num_threads,
    int8,
    int32,
    int64,
    is_grad_enabled,
    isa,
    memory_stats,
    no_grad,
    result_type,
    set_default_dtype,
    set_grad_enabled,
    set_num_threads,
    uint8,
)
from kernelgrad.core import bool_ as bool
from kernelgrad.core.memory_format import channels_last, contiguous_format, memory_format, preserve_format
from kernelgrad.ops import *  # noqa: F403 - every function on tensors, as kernelgrad.add and so on
from kernelgrad.tensor import Tensor, set_printoptions

tensor = ops.tensor  # the function, over the module of the same name
long, double, float, int = int64, float64, float32, int32
__version__ = "0.1.0"


def is_tensor(obj):
    """Whether `obj` is a kernelgrad tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input):
    """Whether a tensor's dtype is a floating one."""
    return input.dtype.is_floating_point


_LATER = {"save": "serialization", "load": "serialization", "Trainer": "training", "summary": "nn"}
_MODULES = ("data", "nn", "optim", "serialization", "testing", "training", "utils")


def __getattr__(name):  # what is above the tensors loads when first used: `import kernelgrad` stays quick
    if name in _MODULES:
        return importlib.import_module(f"kernelgrad.{name}")
    if name in _LATER:
        globals()[name] = getattr(importlib.import_module(f"kernelgrad.{_LATER[name]}"), name)
        return globals()[name]
    raise AttributeError(f"module 'kernelgrad' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_LATER, *_MODULES})
