"""Weights in the form that a kernel wants, kept while nobody changes the weight."""
from kernelgrad.core.array cimport Array

import weakref


cdef Kept kept_of(dict store, Array weight):
    """What `store` (id of the weight -> Kept) has for the weight as it is now.

    None at the first use of each version, since training changes weights at each step, and for memory that NumPy can
    write into, where no version tells of it.
    """
    cdef Kept kept = <Kept>store.get(id(weight))
    if weight.storage.exposed:
        return None
    if (kept is not None and kept.data == weight.data and kept.version == weight.storage.version
            and kept.weight() is weight):
        return kept
    key = id(weight)
    kept = Kept.__new__(Kept)
    kept.weight = weakref.ref(weight, lambda _: store.pop(key, None))
    kept.data = weight.data
    kept.version = weight.storage.version
    store[key] = kept
    return None
