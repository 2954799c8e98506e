"""The compiled core: arrays, memory, graph, dispatch, and the callers that ops are made of."""

from kernelgrad.core.array import (
    Array,
    Size,
    as_strided,
    bump_version,
    detach,
    empty,
    empty_like,
    new_of_class,
    rebind,
    set_requires_grad,
    set_tensor_class,
)
from kernelgrad.core.broadcast import broadcast, sum_to_shape
from kernelgrad.core.callers import (
    Binary,
    Unary,
    check_writable,
)
from kernelgrad.core.copying import (
    cast,
    channels_last,
    contiguous,
    copy,
    copy_,
    fill_,
    full,
    move,
    zero_,
    zeros,
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
from kernelgrad.core.dtypes import (
    as_dtype,
    bfloat16,
    bool_,
    device,
    device_code,
    dtype,
    ensure_cuda,
    float32,
    float64,
    get_default_dtype,
    int8,
    int32,
    int64,
    set_default_dtype,
    uint8,
)
from kernelgrad.core.functions import Function
from kernelgrad.core.graph import (
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
from kernelgrad.core.numpy_memory import (
    as_numpy,
    from_numpy,
    known_version,
    shared_with_numpy,
)
from kernelgrad.core.promotion import result_type, to_dtype

NONE, INPUT, OUTPUT = 0, 1, 2  # what a Unary op saves for backward

__all__ = [name for name in dir() if not name.startswith("_")]
