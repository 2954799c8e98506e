"""The GPU: one device, one stream, kernels loaded once and launched with raw pointers (cuda.core; 0.5 us a launch).

numba-cuda's own ``kernel[grid, block](arrays)`` costs 20 to 30 us a call, more than most small kernels run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import FunctionType
from typing import Any

from cuda.bindings import driver
from cuda.core import Device, DeviceMemoryResource, LaunchConfig, ObjectCode, launch

from kernelgrad.backends.cuda.build import Signature, build
from kernelgrad.backends.cuda.memory import OutOfMemoryError

Size = int | tuple[int, ...]


class Gpu:
    """The first device of the driver. All is queued on one stream; `from_device` and `synchronize` wait for it."""

    simulated = False

    def __init__(self) -> None:
        self._device = Device(0)
        self._device.set_current()
        self._stream = self._device.create_stream()
        self._handle = driver.CUstream(int(self._stream.handle))
        self._memory = DeviceMemoryResource(self._device.device_id)
        self._blocks: dict[int, Any] = {}
        self.name = self._device.name
        self.capability = (self._device.compute_capability.major, self._device.compute_capability.minor)

    def acquire(self, nbytes: int) -> int:
        try:
            block = self._memory.allocate(nbytes, stream=self._stream)
        except Exception as error:
            if "OUT_OF_MEMORY" in str(error):
                raise OutOfMemoryError(str(error)) from None
            raise
        address = int(block.handle)
        self._blocks[address] = block
        return address

    def release(self, address: int) -> None:
        self._blocks.pop(address).close(self._stream)

    def to_device(self, target: int, source: int, nbytes: int) -> None:
        _check(driver.cuMemcpyHtoDAsync(target, source, nbytes, self._handle))  # staged: the source is free on return

    def from_device(self, target: int, source: int, nbytes: int) -> None:
        _check(driver.cuMemcpyDtoHAsync(target, source, nbytes, self._handle))
        self._stream.sync()

    def within_device(self, target: int, source: int, nbytes: int) -> None:
        _check(driver.cuMemcpyDtoDAsync(target, source, nbytes, self._handle))

    def synchronize(self) -> None:
        self._stream.sync()

    def load(self, function: FunctionType, signature: Signature) -> Any:
        """The kernel, ready for `launch`."""
        binary = build(function, signature, self.capability)
        code = ObjectCode.from_cubin(binary.code) if binary.kind == "cubin" else ObjectCode.from_ptx(binary.code)
        return code.get_kernel(binary.entry)

    def launch(
        self, kernel: Any, grid: Size, block: Size, shared: int, arrays: Sequence[Any], rest: tuple[int | float, ...]
    ) -> None:
        """Python ints go as 8-byte words, which serves pointers and int64 alike; floats go as float64."""
        pointers = [0 if array is None else array.data_ptr() for array in arrays]
        launch(self._stream, _config(grid, block, shared), kernel, *pointers, *rest)


@cache
def _config(grid: Size, block: Size, shared: int) -> LaunchConfig:
    return LaunchConfig(grid=grid, block=block, shmem_size=shared)


def _check(result: tuple[Any, ...]) -> None:
    if result[0] != driver.CUresult.CUDA_SUCCESS:
        _, text = driver.cuGetErrorString(result[0])
        raise RuntimeError(f"CUDA: {text.decode() if text else result[0]}")
