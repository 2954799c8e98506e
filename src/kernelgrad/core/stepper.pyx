"""One optimizer step over all parameters of a group: gather pointers, then one parallel loop over pieces of all of them.

Nothing is cached between steps: parameters, gradients and state are looked up every time (about 60 ns a parameter), so that
whatever Python code does to them in between is seen.
"""
from cpython.dict cimport PyDict_GetItem
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport PyObject
from libc.math cimport sqrt
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from kernelgrad.core.array cimport Array, DENSE, new_like, same_shape, same_strides, shape_tuple
from kernelgrad.core.copying cimport contiguous, copy_into
from kernelgrad.core.dtypes cimport BFLOAT16, CPU, FLOAT32, FLOAT64
from kernelgrad.core.dispatch cimport Kernel, SERIAL_NS, get_kernel, kg_kernel, observed

cdef extern from "runtime/pool.h":
    ctypedef void kg_task(void *context, int64_t chunk) noexcept nogil
    void kg_parallel(kg_task *task, void *context, int64_t chunks, double us) nogil

cdef enum:
    PIECE = 16384            # elements of one chunk of work
    MOST_ARRAYS = 6          # parameter, gradient and up to four states
    MOST_SIZES = 4
    MOST_SCALARS = 12

cdef struct Tensor:
    kg_kernel *run
    void *arrays[6]
    int64_t sizes[4]
    double scalars[12]

cdef struct Piece:
    int64_t tensor, start, stop

cdef struct Job:
    Tensor *tensors
    Piece *pieces
    int64_t *first           # of each chunk's pieces


cdef void run_pieces(void *context, int64_t chunk) noexcept nogil:
    cdef Job *job = <Job *>context
    cdef int64_t i
    cdef Piece *p
    cdef Tensor *t
    for i in range(job.first[chunk], job.first[chunk + 1]):
        p = &job.pieces[i]
        t = &job.tensors[p.tensor]
        t.run(t.arrays, t.sizes, t.scalars, p.start, p.stop)


cdef int run_all(Tensor *tensors, int64_t count, double ns) except -1:
    """Run every tensor's kernel over all its elements. Steps are elementwise, so the cuts do not show in the result."""
    cdef int64_t i, at, stop, total = 0, pieces = 0, chunks = 0, load = 0
    cdef Job job
    for i in range(count):
        total += tensors[i].sizes[0]
        pieces += tensors[i].sizes[0] // PIECE + 1
    if total * ns < SERIAL_NS:
        for i in range(count):
            tensors[i].run(tensors[i].arrays, tensors[i].sizes, tensors[i].scalars, 0, tensors[i].sizes[0])
        return 0
    job.tensors = tensors
    job.pieces = <Piece *>PyMem_Malloc(pieces * sizeof(Piece))
    job.first = <int64_t *>PyMem_Malloc((pieces + 1) * sizeof(int64_t))
    if job.pieces == NULL or job.first == NULL:
        PyMem_Free(job.pieces)
        PyMem_Free(job.first)
        raise MemoryError
    pieces = 0
    job.first[0] = 0
    for i in range(count):
        at = 0
        while at < tensors[i].sizes[0]:
            stop = at + PIECE if at + PIECE < tensors[i].sizes[0] else tensors[i].sizes[0]
            job.pieces[pieces].tensor = i
            job.pieces[pieces].start = at
            job.pieces[pieces].stop = stop
            pieces += 1
            load += stop - at + 256      # a piece costs something, however small
            if load >= PIECE:
                chunks += 1
                job.first[chunks] = pieces
                load = 0
            at = stop
    if load:
        chunks += 1
        job.first[chunks] = pieces
    with nogil:
        kg_parallel(run_pieces, &job, chunks, total * ns / 1000)
    PyMem_Free(job.pieces)
    PyMem_Free(job.first)
    return 0


cdef Array aligned(Array g, Array p):
    """The gradient in the parameter's memory layout."""
    cdef Array like
    if not same_shape(g, p) or g.code != p.code or g.on != p.on:
        raise RuntimeError(f"optimizer step: gradient of shape {shape_tuple(g)}, {g.dtype} on {g.device} does not fit its parameter of shape "
                           f"{shape_tuple(p)}, {p.dtype} on {p.device}")
    if same_strides(g, p):
        return g
    like = new_like(p, p.code)
    copy_into(like, g)
    return like


def step_group(Kernel kernel not None, optimizer, dict group, state, tuple names, bint counted, str number, double grad_scale):
    """One step of `kernel` over the parameters of `group` that have a gradient.

    names : keys of the state arrays that the kernel takes after parameter and gradient; an absent or None one is passed as NULL
    counted : state has "step", a float32 number that is raised by one here
    number : key of one number in the state that the constants depend on besides the step, and that `_constants` changes; or None

    Calls ``optimizer._init_state(param, group)`` for a parameter without state, and ``optimizer._constants(group, step, state)``
    once for each distinct step and number, which returns (flags, scalars) for the kernel. Without `counted`, step is 1 the first time, else 2.
    """
    cdef list params = group["params"], held = []
    cdef int64_t count = 0, n = len(params), i
    cdef int k, n_states = len(names), n_flags = 0, n_scalars = 0
    cdef double t, last = -1
    cdef float before = 0, after = 0         # the number of the last parameter whose constants were computed
    cdef float *moved = NULL
    cdef Array p, g, s
    cdef Array slow_p
    cdef dict own
    cdef PyObject *found
    cdef Tensor *tensors
    cdef Tensor *current
    cdef kg_kernel *run
    cdef int code = -1
    cdef int64_t flags[4]
    cdef double scalars[12]
    cdef void *objects[6]
    if n == 0:
        return
    tensors = <Tensor *>PyMem_Malloc(n * sizeof(Tensor))
    if tensors == NULL:
        raise MemoryError
    try:
        for i in range(n):
            p = <Array>params[i]
            g = <Array>p.grad_
            if g is None:
                continue
            if p.code != FLOAT32 and p.code != FLOAT64:
                raise NotImplementedError(f"{type(optimizer).__name__}: parameters of {p.dtype} are not supported; keep them in float32")
            if p.storage.read_only:
                raise RuntimeError(f"{type(optimizer).__name__}: a parameter of shape {shape_tuple(p)} shares memory with a read-only "
                                   "NumPy array; clone() it first")
            if g.code != p.code or g.on != p.on or not same_shape(g, p) or not same_strides(g, p):
                g = aligned(g, p)
                held.append(g)
            found = PyDict_GetItem(state, p)
            t = 2
            if found == NULL or len(<dict>found) == 0:
                own = optimizer._init_state(p, group)
                if own:
                    state[p] = own
                t = 1
            else:
                own = <dict>found
            if counted:
                s = <Array?>own["step"]
                t = step_number(s)
            if number is not None:
                s = <Array?>own[number]
                moved = <float *>s.data if s.code == FLOAT32 and s.size == 1 and s.on == CPU else NULL
                if moved != NULL:
                    s.storage.version += 1
            if t == last and (number is None if moved == NULL else moved[0] == before):
                if moved != NULL:
                    moved[0] = after
            else:
                if moved != NULL:
                    before = moved[0]
                c_flags, c_scalars = optimizer._constants(group, t, own)
                n_flags = len(<tuple>c_flags)
                n_scalars = len(<tuple>c_scalars)
                for k in range(n_flags):
                    flags[k] = (<tuple>c_flags)[k]
                for k in range(n_scalars):
                    scalars[k] = (<tuple>c_scalars)[k]
                scalars[0] *= grad_scale
                last = t
                if moved != NULL:
                    after = moved[0]
            if p.size == 0:
                continue
            objects[0] = <void *>p
            objects[1] = <void *>g
            for k in range(n_states):
                found = PyDict_GetItem(own, names[k])
                objects[2 + k] = NULL
                if found != NULL and <object>found is not None:
                    s = <Array?><object>found
                    if s.storage.read_only or s.code != p.code or not same_shape(s, p) or not same_strides(s, p):
                        s = restrided(s, p)
                        own[names[k]] = s
                        found = PyDict_GetItem(own, names[k])
                    s.storage.version += 1
                    objects[2 + k] = <void *>found
            p.storage.version += 1
            run = kernel.find(p.code) if p.on == CPU and p.layout & DENSE and not observed() else NULL
            if run == NULL:
                run_alone(kernel, p, objects, 2 + n_states, flags, n_flags, scalars, n_scalars)
                continue
            current = &tensors[count]
            count += 1
            current.run = run
            for k in range(2 + n_states):
                current.arrays[k] = NULL if objects[k] == NULL else (<Array>objects[k]).data
            current.sizes[0] = p.size
            for k in range(n_flags):
                current.sizes[1 + k] = flags[k]
            memcpy(current.scalars, scalars, n_scalars * sizeof(double))
        run_all(tensors, count, 0.5)
    finally:
        PyMem_Free(tensors)


cdef double step_number(Array s) except -1:
    """Raise the step counter by one and return it."""
    if s.code != FLOAT32 or s.size != 1 or s.on != CPU:
        raise TypeError(f"optimizer state 'step': expected one float32 number on the cpu, got {s.dtype} of shape {shape_tuple(s)} on {s.device}")
    (<float *>s.data)[0] += 1
    s.storage.version += 1
    return (<float *>s.data)[0]


cdef Array restrided(Array s, Array p):
    """A state array in the parameter's memory layout."""
    cdef Array like
    if s.code != p.code or not same_shape(s, p):
        raise RuntimeError(f"optimizer step: state of shape {shape_tuple(s)}, {s.dtype} does not fit its parameter of shape {shape_tuple(p)}, "
                           f"{p.dtype}")
    like = new_like(p, p.code)
    copy_into(like, s)
    return like


cdef int run_alone(Kernel kernel, Array p, void **objects, int count, int64_t *flags, int n_flags, double *scalars, int n_scalars) except -1:
    """One parameter by way of the dispatcher: float64, other devices, gaps in memory, or somebody watches."""
    cdef int64_t sizes[4]
    cdef Array dense
    cdef int k
    cdef list held = []
    if not p.layout & DENSE:       # work on dense copies and write back
        for k in range(count):
            if objects[k] != NULL:
                dense = contiguous(<Array>objects[k])
                held.append((<Array>objects[k], dense))
                objects[k] = <void *>dense
    sizes[0] = p.size
    for k in range(n_flags):
        sizes[1 + k] = flags[k]
    kernel.launch(objects, count, sizes, 1 + n_flags, scalars, n_scalars, False)
    for original, dense in held:
        if original is not dense:
            copy_into(original, dense)
    return 0


def clear_grads(list params):
    """Set the gradient of every parameter to None."""
    cdef Array p
    for p in params:
        p.grad_ = None


# ---- Norms of all gradients together ----

cdef Kernel norm_kernel = None, scale_kernel = None


def squared_norm(list arrays):
    """Sum of squares over all elements of all arrays (float32 or float64), as a Python float; the same bits for any number of
    threads: pieces of 16384 elements are summed in double, then the pieces in order."""
    cdef Array x
    cdef Array parts
    cdef int64_t i, count
    cdef int64_t sizes[2]
    cdef void *objects[2]
    cdef double total = 0
    global norm_kernel
    if norm_kernel is None:
        norm_kernel = get_kernel("squared_norm_forward")
    from kernelgrad.core.array import empty
    from kernelgrad.core.copying import move
    from kernelgrad.core.dtypes import float64
    for x in arrays:
        if x.size == 0:
            continue
        if not x.layout & DENSE:
            x = contiguous(x)
        count = (x.size + PIECE - 1) // PIECE
        parts = empty((count,), float64, x.device)
        sizes[0] = count
        sizes[1] = x.size
        objects[0] = <void *>x
        objects[1] = <void *>parts
        norm_kernel.launch(objects, 2, sizes, 2, NULL, 0, False)
        if parts.on != CPU:
            parts = move(parts, "cpu")
        for i in range(count):
            total += (<double *>parts.data)[i]
    return total


def scale_all(list arrays, double factor):
    """Multiply every array by `factor`, in place."""
    cdef Array x
    cdef Array dense
    cdef int64_t n
    cdef void *objects[1]
    global scale_kernel
    if scale_kernel is None:
        scale_kernel = get_kernel("scale_step")
    for x in arrays:
        if x.size == 0:
            continue
        n = x.size
        dense = x if x.layout & DENSE else contiguous(x)
        objects[0] = <void *>dense
        scale_kernel.launch(objects, 1, &n, 1, &factor, 1, False)
        if dense is not x:
            copy_into(x, dense)
        x.storage.version += 1
