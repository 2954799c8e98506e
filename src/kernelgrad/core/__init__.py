"""The compiled core: arrays, memory, graph, dispatch, and the callers that ops are made of."""

from kernelgrad.core import copies as _copies  # noqa: F401 - gives the arrays their copying kernels
from kernelgrad.core.array import (
    Array,
    Size,
    as_dtype,
    as_numpy,
    as_strided,
    bfloat16,
    bool_,
    bump_version,
    cast,
    channels_last,
    contiguous,
    copy,
    copy_,
    detach,
    device,
    device_code,
    dtype,
    empty,
    empty_like,
    ensure_cuda,
    fill_,
    float32,
    float64,
    from_numpy,
    full,
    get_default_dtype,
    int8,
    int32,
    int64,
    known_version,
    move,
    new_of_class,
    rebind,
    set_default_dtype,
    set_requires_grad,
    set_tensor_class,
    shared_with_numpy,
    uint8,
    zero_,
    zeros,
)
from kernelgrad.core.broadcast import broadcast, sum_to_shape
from kernelgrad.core.callers import (
    Binary,
    Unary,
    check_writable,
    result_type,
    to_dtype,
)
from kernelgrad.core.dispatch import (
    Kernel,
    all_kernels,
    available_levels,
    get_num_threads,
    isa,
    jit_available,
    kernel,
    set_num_threads,
    set_observer,
    threads_reason,
    use_backend,
)
from kernelgrad.core.graph import (
    Function,
    Node,
    backward,
    detach_,
    enable_grad,
    grad,
    is_grad_enabled,
    no_grad,
    register_hook,
)
from kernelgrad.core.graph import set_grad_mode as set_grad_enabled
from kernelgrad.core.memory import empty_cache, memory_stats

NONE, INPUT, OUTPUT = 0, 1, 2  # what a Unary op saves for backward

__all__ = [name for name in dir() if not name.startswith("_")]
