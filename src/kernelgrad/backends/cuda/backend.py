"""What `core` asks of device "cuda": memory, copies, and one call per kernel."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from kernelgrad.backends.cuda import copies
from kernelgrad.backends.cuda.build import Signature
from kernelgrad.backends.cuda.device import open_device
from kernelgrad.backends.cuda.memory import CachingAllocator
from kernelgrad.core import dtypes, memory

CUDA = 1  # the device's number in `core`
THREADS = 256  # per block, where a kernel does not say
MOST_BLOCKS = 4096  # enough to fill any GPU; the grid-stride loop takes the rest
SIMULATED = (2, 3)  # grid and block of such a kernel in the simulator: few, so that each thread loops

Geometry = tuple[Any, Any, int]


class Backend:
    """One device and its memory. `core.dtypes` holds the only instance."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self.memory = CachingAllocator(device)
        self.alloc, self.free = self.memory.alloc, self.memory.free
        self.to_device, self.from_device = device.to_device, device.from_device
        self.within_device, self.synchronize = device.within_device, device.synchronize
        self._default = _few if device.simulated else _grid_stride
        self._loaded: dict[tuple[str, tuple[str, ...]], Any] = {}
        self.signatures: set[tuple[str, str, Signature]] = set()  # family, kernel, signature of all that ran
        self._geometry: dict[str, Callable[[tuple[int, ...]], Geometry]] = {}

    def run(self, kernel: Any, arrays: Sequence[Any], sizes: tuple[int, ...], scalars: tuple[float, ...]) -> None:
        """Queue one kernel of the dispatch table. Arrays are on this device; None where an optional one is absent."""
        key = arrays[kernel.key].dtype.name
        dtypes = tuple([key if x is None else x.dtype.name for x in arrays])
        loaded = self._loaded.get((kernel.name, dtypes))
        if loaded is None:
            loaded = self._load(kernel, Signature(key, dtypes, len(sizes), len(scalars)))
        grid, block, shared = self._geometry[kernel.name](sizes)
        if grid != 0 and (isinstance(grid, int) or 0 not in grid):
            self.device.launch(loaded, grid, block, shared, arrays, sizes + scalars)

    def copy_strided(self, target: Any, source: Any) -> None:
        """target[...] = source for equal shapes and dtypes, any strides."""
        sizes, to, fro = copies.plan(target.shape, target.stride(), source.stride())
        dims = len(sizes)
        key = ("copy", (str(dims), str(target.element_size())))
        if key not in self._loaded:
            function = copies.copy_few if dims == copies.FEW else copies.copy_many
            self._loaded[key] = self.device.load(function, copies.signature(target.element_size(), dims))
        grid, block, shared = self._default((target.numel(),))
        words = (target.numel(), *sizes, *to, *fro)
        self.device.launch(self._loaded[key], grid, block, shared, (source, target), words)

    def _load(self, kernel: Any, signature: Signature) -> Any:
        module = kernels_of(kernel.family)
        loaded = self.device.load(getattr(module, kernel.name), signature)
        self._loaded[kernel.name, signature.arrays] = loaded
        self.signatures.add((kernel.family, kernel.name, signature))
        self._geometry[kernel.name] = getattr(module, "LAUNCH", {}).get(kernel.name, self._default)
        return loaded


def kernels_of(family: str) -> ModuleType:
    """The module of a family's CUDA kernels."""
    return importlib.import_module(f"kernelgrad.kernels.{family}.cuda")


def start(device: Any = None) -> Backend:
    """Let `core` use `device`, else what `open_device` finds (RuntimeError if nothing). The first call decides."""
    backend = dtypes.device_backend_of()
    if backend is None:
        backend = Backend(open_device() if device is None else device)
        memory.set_device_allocator(CUDA, backend)
        dtypes.set_device_backend(backend)
    return backend


def _grid_stride(sizes: tuple[int, ...]) -> Geometry:
    return min(-(-sizes[0] // THREADS), MOST_BLOCKS), THREADS, 0


def _few(sizes: tuple[int, ...]) -> Geometry:
    return (SIMULATED[0] if sizes[0] else 0), SIMULATED[1], 0
