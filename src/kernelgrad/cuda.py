"""``kernelgrad.cuda``: whether there is a GPU, which, and what its memory holds. Names as in ``torch.cuda``.

Importing this loads neither Numba nor CUDA. With ``KERNELGRAD_CUDA=simulate`` in the environment a simulated device
stands in for the GPU: slow, for tests of code that will run on one.
"""

from __future__ import annotations

from typing import Any

from kernelgrad.backends.cuda.device import is_available, why_not
from kernelgrad.backends.cuda.memory import OutOfMemoryError
from kernelgrad.core import dtypes
from kernelgrad.ops import random

__all__ = [
    "OutOfMemoryError",
    "current_device",
    "device_count",
    "empty_cache",
    "get_device_capability",
    "get_device_name",
    "is_available",
    "is_initialized",
    "manual_seed",
    "manual_seed_all",
    "max_memory_allocated",
    "memory_allocated",
    "memory_reserved",
    "memory_stats",
    "reset_peak_memory_stats",
    "synchronize",
    "why_not",
]


def _start() -> None:
    from kernelgrad.backends.cuda.backend import start  # not before something wants the device

    start()


dtypes.set_cuda_starter(_start)


def _backend() -> Any:
    dtypes.ensure_cuda()
    return dtypes.device_backend_of()


def is_initialized() -> bool:
    """Whether something has used device "cuda" already."""
    return dtypes.device_backend_of() is not None


def device_count() -> int:
    """1 where CUDA can be used, else 0: kernelgrad uses the first GPU alone."""
    return int(is_available())


def current_device() -> int:
    """The index of the GPU in use, which is 0. RuntimeError, with the reason, where there is none."""
    _backend()
    return 0


def get_device_name(device: object = None) -> str:
    """The GPU's name, or "simulated CUDA device". RuntimeError, with the reason, where there is none."""
    return _backend().device.name


def get_device_capability(device: object = None) -> tuple[int, int]:
    """Compute capability, (9, 0) for an H100. RuntimeError, with the reason, where there is none."""
    return _backend().device.capability


def manual_seed(seed: int) -> None:
    """Seed the generator. There is one for all devices: the CPU and the GPU draw the same numbers."""
    random.manual_seed(seed)


manual_seed_all = manual_seed


def synchronize(device: object = None) -> None:
    """Wait until the GPU has done everything asked of it. RuntimeError, with the reason, where there is none."""
    _backend().synchronize()


def memory_allocated(device: object = None) -> int:
    """Bytes of GPU memory that tensors hold, rounded up to the allocator's sizes; 0 before the first use."""
    return memory_stats()["allocated_bytes"]


def max_memory_allocated(device: object = None) -> int:
    """The highest `memory_allocated` since the start or the last `reset_peak_memory_stats`."""
    return memory_stats()["peak_bytes"]


def memory_reserved(device: object = None) -> int:
    """Bytes of GPU memory taken from the driver: held by tensors, or kept for the next ones."""
    return memory_stats()["reserved_bytes"]


def memory_stats(device: object = None) -> dict[str, int]:
    """``allocated_bytes``, ``peak_bytes``, ``reserved_bytes``; ``hits``, and ``misses`` that went to the driver."""
    if not is_initialized():
        return dict.fromkeys(("allocated_bytes", "peak_bytes", "reserved_bytes", "hits", "misses"), 0)
    memory = _backend().memory
    return {
        "allocated_bytes": memory.allocated,
        "peak_bytes": memory.peak,
        "reserved_bytes": memory.reserved,
        "hits": memory.hits,
        "misses": memory.misses,
    }


def reset_peak_memory_stats(device: object = None) -> None:
    """Let `max_memory_allocated` start again from what is allocated now."""
    if is_initialized():
        _backend().memory.peak = _backend().memory.allocated


def empty_cache() -> None:
    """Give unused GPU memory back to the driver."""
    if is_initialized():
        _backend().synchronize()
        _backend().memory.empty_cache()
