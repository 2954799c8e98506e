"""The simulated GPU: device memory is host memory, kernels run in the simulator. Same methods as `launch.Gpu`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from types import FunctionType
from typing import Any

import numpy as np

from kernelgrad.backends.cuda.build import Signature
from kernelgrad.backends.cuda.rebind import element
from kernelgrad.backends.cuda.simulator import simulate

Size = int | tuple[int, ...]


class SimulatedGpu:
    simulated = True
    name = "simulated CUDA device"
    capability = (8, 0)

    def __init__(self) -> None:
        self._blocks: dict[int, np.ndarray] = {}

    def acquire(self, nbytes: int) -> int:
        block = np.full(nbytes, 0xFF, np.uint8)  # NaN for floats: reading what was never written shows
        self._blocks[block.ctypes.data] = block
        return block.ctypes.data

    def release(self, address: int) -> None:
        del self._blocks[address]

    def to_device(self, target: int, source: int, nbytes: int) -> None:
        ctypes.memmove(target, source, nbytes)

    from_device = within_device = to_device

    def synchronize(self) -> None:
        """Launches have ended when they return."""

    def load(self, function: FunctionType, signature: Signature) -> tuple[FunctionType, Signature]:
        return function, signature

    def launch(
        self,
        kernel: tuple[FunctionType, Signature],
        grid: Size,
        block: Size,
        shared: int,
        arrays: Sequence[Any],
        rest: tuple[int | float, ...],
    ) -> None:
        function, signature = kernel
        views = [_view(array, dtype) for array, dtype in zip(arrays, signature.arrays, strict=True)]
        scalars = [
            np.float64(value) for value in rest[signature.sizes :]
        ]  # typed: arithmetic on them is float64, as compiled
        simulate(function, signature.key, (*views, *rest[: signature.sizes], *scalars), grid, block, shared)


def _view(array: Any, dtype: str) -> np.ndarray | None:
    """What a kernel may touch through the pointer: from first element to last, so that more is an IndexError."""
    if array is None:
        return None
    kind = np.dtype(element(dtype))
    if not array.numel():
        return np.empty(0, kind)
    count = 1 + sum((size - 1) * step for size, step in zip(array.shape, array.stride(), strict=True))
    memory = (ctypes.c_char * (count * kind.itemsize)).from_address(array.data_ptr())
    return np.frombuffer(memory, kind)
