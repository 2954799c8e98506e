"""Device memory: free lists by size over the driver's allocator; a training loop soon asks the driver for nothing.

All work of a process goes through one stream, in order, so a block may be handed out again as soon as Python lets go of
it: whatever still reads it was queued before whatever will write it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Protocol

SMALLEST = 512  # bytes; what the driver aligns to


class OutOfMemoryError(RuntimeError):
    """The device has no room left for an array."""


class Source(Protocol):
    """Who has the memory: the driver, or the simulated device."""

    def acquire(self, nbytes: int) -> int: ...  # address; OutOfMemoryError where there is no room
    def release(self, address: int) -> None: ...


def bucket(nbytes: int) -> int:
    """The size a request is rounded up to: four steps to each power of two, so that at most a fifth is unused."""
    if nbytes <= SMALLEST:
        return SMALLEST
    step = 1 << max((nbytes - 1).bit_length() - 3, SMALLEST.bit_length() - 1)
    return -(-nbytes // step) * step


class CachingAllocator:
    """``alloc`` and ``free`` by address. Sizes in the statistics are those of the buckets."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._free: defaultdict[int, list[int]] = defaultdict(list)
        self.allocated = 0  # held by arrays
        self.peak = 0
        self.reserved = 0  # held by arrays or kept for reuse
        self.hits = 0
        self.misses = 0  # requests that went to the source

    def alloc(self, nbytes: int) -> int:
        """Address of at least `nbytes`, content undefined; 0 for none."""
        if nbytes == 0:
            return 0
        size = bucket(nbytes)
        if kept := self._free[size]:
            address = kept.pop()
            self.hits += 1
        else:
            address = self._acquire(size)
            self.misses += 1
            self.reserved += size
        self.allocated += size
        self.peak = max(self.peak, self.allocated)
        return address

    def free(self, address: int, nbytes: int) -> None:
        """Give back what ``alloc(nbytes)`` returned."""
        if address:
            size = bucket(nbytes)
            self._free[size].append(address)
            self.allocated -= size

    def empty_cache(self) -> None:
        """Return every unused block to its source."""
        for size, kept in self._free.items():
            while kept:
                self._source.release(kept.pop())
                self.reserved -= size

    def _acquire(self, size: int) -> int:
        try:
            return self._source.acquire(size)
        except OutOfMemoryError:
            self.empty_cache()  # blocks of other sizes may make room
        try:
            return self._source.acquire(size)
        except OutOfMemoryError:
            raise OutOfMemoryError(
                f"CUDA out of memory: {size / 2**20:.1f} MiB wanted, {self.allocated / 2**20:.1f} MiB in use by "
                "tensors; free some, or use a smaller batch"
            ) from None
