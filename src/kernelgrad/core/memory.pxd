from libc.stdint cimport int64_t


cdef class Storage:
    """One block of memory on one device, shared by an array and its views."""
    cdef void *data
    cdef size_t nbytes
    cdef int64_t version      # counts in-place changes, shared by all views
    cdef int device
    cdef bint read_only
    cdef bint exposed         # NumPy may write here, unseen by `version`
    cdef object owner         # who owns the memory if not us (a NumPy array), else None


cdef Storage new_storage(size_t nbytes, int device)
cdef Storage borrow_storage(void *data, size_t nbytes, object owner, bint read_only)
