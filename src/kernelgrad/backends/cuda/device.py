"""Which device answers for "cuda": a real GPU, the simulated one (KERNELGRAD_CUDA=simulate), or none, and then why."""

from __future__ import annotations

import ctypes
import os
from importlib.util import find_spec
from typing import Any

OLDEST_DRIVER = 13000  # the toolkit that the `cuda` extra pins emits PTX 9.0
OLDEST_CAPABILITY = (7, 5)  # what that toolkit compiles for


def why_not() -> str | None:
    """One sentence on why there is no CUDA device; None where there is one. Asks the driver, imports no compiler."""
    wish = os.environ.get("KERNELGRAD_CUDA", "")
    if wish == "simulate":
        return None if find_spec("greenlet") else "the CUDA simulator needs greenlet: pip install greenlet"
    if wish:
        return f"KERNELGRAD_CUDA={wish} is not understood: set it to simulate, or unset it to use the GPU"
    try:
        library = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return "no NVIDIA driver was found on this machine; KERNELGRAD_CUDA=simulate runs a slow simulated device"
    if code := library.cuInit(0):
        return f"the NVIDIA driver does not start (cuInit gave error {code})"
    version, count = ctypes.c_int(), ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    library.cuDeviceGetCount(ctypes.byref(count))
    if not count.value:
        return "the NVIDIA driver reports no GPU"
    if version.value < OLDEST_DRIVER:
        found = f"{version.value // 1000}.{version.value % 1000 // 10}"
        return f"the NVIDIA driver is too old: it offers CUDA {found}, and 13.0 is needed (driver 580 or newer)"
    capability = _capability(library)
    if capability < OLDEST_CAPABILITY:
        return f"the GPU has compute capability {capability[0]}.{capability[1]}, and 7.5 is needed"
    missing = [name for name, module in (("numba-cuda", "numba_cuda"), ("cuda-core", "cuda")) if not find_spec(module)]
    if missing:
        return f"{' and '.join(missing)} cannot be imported: pip install 'kernelgrad[cuda]'"
    return None


def is_available() -> bool:
    """Whether arrays can live on device "cuda"."""
    return why_not() is None


def open_device() -> Any:
    """The device, ready for use: a `launch.Gpu` or a `simulated.SimulatedGpu`. RuntimeError where there is none."""
    reason = why_not()
    if reason is not None:
        raise RuntimeError(f"device 'cuda' cannot be used: {reason}")
    if os.environ.get("KERNELGRAD_CUDA") == "simulate":
        from kernelgrad.backends.cuda.simulated import SimulatedGpu

        return SimulatedGpu()
    from kernelgrad.backends.cuda.launch import Gpu

    return Gpu()


def _capability(library: ctypes.CDLL) -> tuple[int, int]:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    library.cuDeviceGet(ctypes.byref(device), 0)
    library.cuDeviceGetAttribute(ctypes.byref(major), 75, device)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
    library.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
    return major.value, minor.value
