"""What this machine is and can do, as plain dictionaries."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

import kernelgrad as kg
from kernelgrad.cli.console import one_line


def describe(measure: bool = True) -> dict[str, Any]:
    """Everything `kernelgrad info` tells."""
    found = {
        "version": kg.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "isa": {
            "found": list(kg.available_levels()),
            "chosen": kg.isa(),
            "limited_by": os.environ.get("KERNELGRAD_ISA"),
        },
        "threads": {"count": kg.get_num_threads(), "reason": kg.core.threads_reason()},
        "memory": kg.memory_stats(),
        "numba": numba_state(),
        "cuda": cuda_state(),
    }
    if measure:
        found["peak"] = peak()
    return found


def processor() -> str:
    """The processor's own name, as far as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def numba_state() -> dict[str, Any]:
    """Whether the Numba twins can run, found out without importing Numba."""
    if importlib.util.find_spec("numba") is None:
        reason = "Numba is not installed: pip install 'kernelgrad[jit]'"
        return {"available": False, "version": None, "reason": reason}
    return {"available": True, "version": importlib.metadata.version("numba"), "reason": None}


def cuda_state() -> dict[str, Any]:
    from kernelgrad import cuda

    if not cuda.is_available():
        return {"available": False, "device": None, "reason": one_line(cuda.why_not())}
    return {"available": True, "device": cuda.get_device_name(), "reason": None}


@functools.cache
def peak() -> dict[str, float]:
    """The measured roofs, with the threads in use: GF/s of float32 multiply-adds, GB/s from memory and from cache."""
    from kernelgrad.testing.roofline import measured_peak

    gflops, gbytes = measured_peak()
    return {"gflops": gflops, "gbytes": gbytes, "gbytes_cached": bandwidth(CACHED)}


CACHED = 1 << 18  # bytes that fit into the L2 cache of one core of any recent processor


@functools.cache
def bandwidth(nbytes: int) -> float:
    """GB/s over `nbytes` of memory, touched again and again: that of the level of the hierarchy which holds so much."""
    from kernelgrad.testing.roofline import measured_bandwidth

    return measured_bandwidth(nbytes // 12, seconds=0.05)  # three buffers of floats
