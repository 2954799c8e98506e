"""Storage: blocks from the caching allocator (kernels/runtime/memory.c) or borrowed from NumPy."""
cimport cython
from libc.stdint cimport int64_t, uintptr_t

cdef extern from "runtime/memory.h":
    ctypedef struct kg_memory_stats_t:
        int64_t live_bytes, cached_bytes, peak_bytes, hits, misses, system_bytes
    void *kg_alloc(size_t nbytes) nogil
    void kg_free(void *p, size_t nbytes) nogil
    void kg_memory_release() nogil
    void kg_memory_stats(kg_memory_stats_t *out) nogil

cdef extern from "runtime/scratch.h":
    size_t kg_scratch_bytes() nogil

cdef list device_backends = [None, None]


@cython.freelist(256)
@cython.no_gc
@cython.final
cdef class Storage:
    def __dealloc__(self):
        if self.owner is not None or self.data == NULL:
            return
        if self.device == 0:
            kg_free(self.data, self.nbytes)
        else:
            backend = device_backends[self.device]
            if backend is not None:
                backend.free(<uintptr_t>self.data, self.nbytes)


cdef Storage new_storage(size_t nbytes, int device):
    cdef Storage s = Storage.__new__(Storage)
    s.nbytes = nbytes
    s.device = device
    if device == 0:
        s.data = kg_alloc(nbytes)
        if s.data == NULL and nbytes:
            raise MemoryError(f"kernelgrad: out of memory, {nbytes / 2**20:.1f} MiB wanted")
    else:
        s.data = <void *><uintptr_t>device_backends[device].alloc(nbytes)
    return s


cdef Storage borrow_storage(void *data, size_t nbytes, object owner, bint read_only):
    cdef Storage s = Storage.__new__(Storage)
    s.data = data
    s.nbytes = nbytes
    s.owner = owner
    s.read_only = read_only
    s.exposed = True
    return s


def set_device_allocator(int device, backend):
    """Who answers `alloc(nbytes) -> address` and `free(address, nbytes)` for a device other than the CPU."""
    device_backends[device] = backend


def memory_stats():
    """Figures of the caching allocator for CPU tensors.

    Returns
    -------
    dict of int: ``live_bytes`` held by tensors, ``cached_bytes`` kept for reuse, ``peak_bytes`` (highest live), ``hits`` and
    ``misses`` (a miss asked the system for memory), ``system_bytes`` (mapped in all), ``scratch_bytes`` (kernels' workspaces).
    """
    cdef kg_memory_stats_t s
    kg_memory_stats(&s)
    return {
        "live_bytes": s.live_bytes, "cached_bytes": s.cached_bytes, "peak_bytes": s.peak_bytes, "hits": s.hits,
        "misses": s.misses, "system_bytes": s.system_bytes, "scratch_bytes": kg_scratch_bytes(),
    }


def empty_cache():
    """Give all cached, unused tensor memory back to the system."""
    kg_memory_release()
