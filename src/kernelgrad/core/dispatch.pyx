"""One path from an op to a kernel: choose the implementation once per (kernel, dtype, device), then run it.

A kernel has up to four twins: `simd` (C, one body per instruction set), `jit` (Numba), `cuda` (numba-cuda) and `reference`
(NumPy, always there). On the CPU the order of preference is simd, jit, reference; `use_backend` overrides it, for tests.
"""
cimport cython
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport strcmp

from kernelgrad.core.array cimport Array, shape_tuple
from kernelgrad.core.dtypes cimport CPU, CUDA, DTYPES, cuda_backend, dtype, dtype_of, itemsize_of
from kernelgrad.core.numpy_memory cimport numpy_view

import importlib
import os

from kernelgrad.core import dtypes as dtypes_module
from kernelgrad.core import table as table_module

cdef extern from "runtime/kernel.h":
    ctypedef struct kg_entry:
        const char *name
        kg_kernel *run
    ctypedef struct kg_table:
        const char *family
        const char *level
        const kg_entry *entries
    const kg_table kg_tables[]

cdef extern from "runtime/pool.h":
    ctypedef void kg_task(void *context, int64_t chunk) noexcept nogil
    void kg_parallel(kg_task *task, void *context, int64_t chunks, double us) nogil
    int kg_threads() nogil
    void kg_set_threads(int threads) nogil
    const char *kg_threads_why() nogil

cdef extern from "runtime/cpu.h":
    int kg_cpu_has(const char *level)

LEVELS = ("generic", "neon", "avx2", "avx512", "avx512bf16")    # weakest first


# ---- What the C library offers, and what this processor may run ----

def compiled_tables():
    """{level: {kernel name: address}} of everything in the C library."""
    cdef int i = 0, j
    cdef dict found = {}
    while kg_tables[i].family != NULL:
        entries = found.setdefault(kg_tables[i].level.decode(), {})
        j = 0
        while kg_tables[i].entries[j].name != NULL:
            entries[kg_tables[i].entries[j].name.decode()] = <uintptr_t>kg_tables[i].entries[j].run
            j += 1
        i += 1
    found.setdefault("generic", {})
    return found


cdef dict tables = compiled_tables()


def available_levels():
    """Instruction sets that were compiled and that this processor has, weakest first."""
    return tuple([level for level in LEVELS if level in tables and kg_cpu_has(level.encode())])


cdef tuple allowed_levels():
    limit = os.environ.get("KERNELGRAD_ISA")
    levels = available_levels()
    if limit:
        if limit not in LEVELS:
            raise ValueError(f"KERNELGRAD_ISA={limit}: expected one of {', '.join(LEVELS)}")
        if limit not in levels:
            raise ValueError(f"KERNELGRAD_ISA={limit}: this processor or build offers {', '.join(levels)}")
        levels = levels[: levels.index(limit) + 1]
    return levels


cdef tuple levels = allowed_levels()
cdef tuple chosen_levels = levels
cdef str mode = "auto"
cdef object observer = None
# Families whose NumPy reference is quick enough that compiling a Numba twin at first use would only delay a small script.
cdef frozenset numpy_first = frozenset(["activations", "elementwise", "reduction", "random", "optim", "indexing"])


def isa():
    """The instruction set in use: the highest that the processor has, unless KERNELGRAD_ISA or use_backend lowered it."""
    return chosen_levels[-1]


cdef class use_backend:
    """``with use_backend("reference"):`` choose which twin of every kernel runs, for tests and comparisons.

    auto          simd, then jit, then reference (what runs outside)
    auto:<level>  the same, with instruction sets above <level> left out
    auto:jit      jit for every kernel that has it, then as auto
    reference     reference only
    simd, simd:<level>, jit   that twin only: NotImplementedError for a kernel without it
    """
    cdef str name
    cdef tuple levels
    cdef object before

    def __init__(self, str name):
        kind, _, level = name.partition(":")
        if kind not in ("auto", "reference", "jit", "simd") or (level and kind not in ("simd", "auto")):
            raise ValueError(f"use_backend: expected auto, auto:<level>, auto:jit, reference, jit, simd or simd:<level>, got {name!r}")
        if name == "auto:jit":
            kind, level = "prefer jit", ""
        if level and level not in available_levels():
            raise ValueError(f"use_backend: level {level!r} is not available here; available: {', '.join(available_levels())}")
        self.name = kind
        self.levels = levels if not level else available_levels()[: available_levels().index(level) + 1]

    def __enter__(self):
        self.before = (mode, chosen_levels)
        switch(self.name, self.levels)
        return self

    def __exit__(self, *exc):
        switch(self.before[0], self.before[1])


cdef int switch(str name, tuple to_levels) except -1:
    global mode, chosen_levels
    cdef Kernel k
    cdef int i
    mode, chosen_levels = name, to_levels
    for k in kernels.values():
        for i in range(DTYPES):
            k.resolved[i] = False
            k.entry[i] = NULL
    return 0


def set_observer(function):
    """Call ``function(kernel, arrays, backend)`` before every kernel; None ends it. Returns the observer before.

    The one hook for whatever wants to see every kernel: profiler, NaN finder, tests that assert which twin ran.
    """
    global observer
    before = observer
    observer = function
    return before


cdef bint observed() noexcept nogil:
    return <void *>observer != <void *>None


cdef int observe(Kernel k, list arrays, str backend) except -1:
    observer(k, arrays, backend)
    return 0


# ---- Kernels ----

cdef class Kernel:
    """A kernel by name, and the twins it has. Call it with (arrays), (sizes), (scalars)."""

    def __init__(self, spec):
        self.name, self.family = spec.name, spec.family
        self.simd = tuple([getattr(dtypes_module, d) for d in spec.simd])
        self.jit = tuple([getattr(dtypes_module, d) for d in spec.jit])
        self.cuda = tuple([getattr(dtypes_module, d) for d in spec.cuda])
        self.key, self.whole, self.ns = spec.key, spec.whole, spec.ns
        self.compiled = {}

    def __repr__(self):
        return f"<Kernel {self.name} of {self.family}>"

    def backends(self, of_dtype):
        """Names of the twins that exist for a dtype on the CPU."""
        found = []
        if of_dtype in self.simd:
            found += [f"simd:{level}" for level in available_levels() if entry_name(self.name, of_dtype) in tables[level]]
        if of_dtype in self.jit and jit_available():
            found.append("jit")
        return [*found, "reference"]

    cdef int resolve(self, int code) except -1:
        """Look up the C function for a dtype in the levels allowed; entry stays NULL where there is none."""
        cdef uintptr_t address
        self.entry[code] = NULL
        if mode in ("auto", "simd", "prefer jit") and dtype_of(code) in self.simd and not (
                mode == "prefer jit" and dtype_of(code) in self.jit and jit_available()):
            name = entry_name(self.name, dtype_of(code))
            for level in reversed(chosen_levels):
                if name in tables[level]:
                    address = tables[level][name]
                    self.entry[code] = <kg_kernel *>address
                    break
            else:
                raise NotImplementedError(f"{self.name}: the dispatch table names a C kernel for {dtype_of(code).name}, but no entry "
                                          f"{name!r} was compiled for {', '.join(chosen_levels)}")
        self.resolved[code] = True
        return 0

    cdef kg_kernel *find(self, int code) except? NULL:
        if not self.resolved[code]:
            self.resolve(code)
        return self.entry[code]

    cdef int launch(self, void **arrays, int count, const int64_t *sizes, int n_sizes, const double *scalars, int n_scalars,
                    bint elementwise) except -1:
        cdef void *pointers[16]
        cdef int i, code
        cdef int64_t largest = 0
        cdef Array x
        cdef kg_kernel *run
        cdef bint is_object
        x = <Array>arrays[self.key]
        code = x.code
        if x.on == CUDA:
            return launch_on_device(self, arrays, count, sizes, n_sizes, scalars, n_scalars)
        run = self.find(code)
        if run == NULL:
            run = jit_function(self, arrays, count, n_sizes, n_scalars, code)
            if run == NULL:
                return run_reference(self, arrays, count, sizes, n_sizes, scalars, n_scalars, elementwise)
        for i in range(count):
            if arrays[i] == NULL:
                pointers[i] = NULL
                continue
            x = <Array>arrays[i]
            if x.on != CPU:
                raise RuntimeError(f"{self.name}: expected all tensors to be on the same device, got one on cpu and one on cuda: "
                                   "move one with .to()")
            pointers[i] = x.data
            if x.size > largest:
                largest = x.size
        if observed():
            observe(self, [None if arrays[i] == NULL else <Array>arrays[i] for i in range(count)],
                    "simd" if self.entry[code] != NULL else "jit")
        if self.whole and self.entry[code] != NULL:
            with nogil:
                run(pointers, sizes, scalars, 0, sizes[0])
        elif largest * self.ns < SERIAL_NS:
            run(pointers, sizes, scalars, 0, sizes[0])
        else:
            with nogil:
                run_chunks(run, pointers, sizes, scalars, largest * self.ns, 64 if sizes[0] >= largest else 1)
        return 0

    def __call__(self, tuple arrays, tuple sizes=(), tuple scalars=()):
        cdef void *objects[16]
        cdef int64_t c_sizes[48]
        cdef double c_scalars[16]
        cdef int i, n = len(arrays)
        if n > MAX_ARRAYS or len(sizes) > MAX_SIZES or len(scalars) > MAX_SCALARS:
            raise ValueError(f"{self.name}: too many arguments")
        for i in range(n):
            if arrays[i] is None:
                objects[i] = NULL
            else:
                objects[i] = <void *>(<Array?>arrays[i])
        for i in range(len(sizes)):
            c_sizes[i] = sizes[i]
        for i in range(len(scalars)):
            c_scalars[i] = scalars[i]
        self.launch(objects, n, c_sizes, len(sizes), c_scalars, len(scalars), False)


cdef str entry_name(str name, dtype d):
    return name if d.name == "float32" else f"{name}:{d.name}"


cdef dict kernels = {}


cdef Kernel get_kernel(str name):
    return <Kernel>kernels[name]


def kernel(str name):
    """The kernel called `name` in the dispatch table; NotImplementedError where there is none."""
    try:
        return kernels[name]
    except KeyError:
        raise NotImplementedError(f"there is no kernel {name!r} in kernelgrad's dispatch table (core/table.py)") from None


def all_kernels():
    """Every kernel of the dispatch table, by name."""
    return dict(kernels)


for spec in table_module.TABLE:
    if spec.name in kernels:
        raise RuntimeError(f"dispatch table: kernel {spec.name} is listed twice")
    kernels[spec.name] = Kernel(spec)


# ---- Running C and Numba functions on the pool ----

cdef struct Chunks:
    kg_kernel *run
    void **pointers
    const int64_t *sizes
    const double *scalars
    int64_t total, count, grain


cdef void run_chunk(void *context, int64_t chunk) noexcept nogil:
    cdef Chunks *c = <Chunks *>context
    cdef int64_t units = (c.total + c.grain - 1) // c.grain
    cdef int64_t start = chunk * units // c.count * c.grain, stop = (chunk + 1) * units // c.count * c.grain
    if stop > c.total:
        stop = c.total
    c.run(c.pointers, c.sizes, c.scalars, start, stop)


cdef void run_chunks(kg_kernel *run, void **pointers, const int64_t *sizes, const double *scalars, double ns, int64_t grain) noexcept nogil:
    """Cut 0 .. sizes[0] into chunks of whole grains, about 5 us each and 64 at most, depending on sizes alone. There are fours of
    them: of an odd number one of two threads would do more than half."""
    cdef Chunks c
    c.run = run
    c.pointers = pointers
    c.sizes = sizes
    c.scalars = scalars
    c.total = sizes[0]
    c.grain = grain
    cdef int64_t units = (c.total + grain - 1) // grain
    c.count = 4 * (<int64_t>(ns / 20000) + 1)
    if c.count > 64:
        c.count = 64
    if c.count > units:
        c.count = units
    if c.count <= 1:
        run(pointers, sizes, scalars, 0, c.total)
    else:
        kg_parallel(run_chunk, &c, c.count, ns / 1000)


# ---- Numba, reference, device ----

cdef object numba_found = None


def jit_available():
    """Whether Numba is installed (asked without importing it)."""
    global numba_found
    if numba_found is None:
        numba_found = importlib.util.find_spec("numba") is not None
    return numba_found


cdef kg_kernel *jit_function(Kernel k, void **arrays, int count, int n_sizes, int n_scalars, int code) except? NULL:
    cdef int i
    cdef uintptr_t address
    cdef dtype d = dtype_of(code)
    if mode == "reference" or mode == "simd":
        if mode == "simd":
            raise NotImplementedError(f"{k.name}: no C kernel for {d.name}")
        return NULL
    if d not in k.jit or not jit_available() or (mode == "auto" and k.family in numpy_first):
        if mode == "jit":
            raise NotImplementedError(f"{k.name}: no Numba kernel for {d.name}" + ("" if jit_available() else
                                      " (Numba is not installed: pip install 'kernelgrad[jit]')"))
        return NULL
    codes = tuple([-1 if arrays[i] == NULL else (<Array>arrays[i]).code for i in range(count)])
    found = k.compiled.get(codes)
    if found is None:
        from kernelgrad.kernels.runtime import jit
        found = jit.compile_kernel(k.family, k.name, [None if c < 0 else numpy_name(c) for c in codes], n_sizes, n_scalars)
        k.compiled[codes] = found
    address = found
    return <kg_kernel *>address


cdef str numpy_name(int code):
    return "uint16" if dtype_of(code).numpy is None else dtype_of(code).numpy.name


cdef int run_reference(Kernel k, void **arrays, int count, const int64_t *sizes, int n_sizes, const double *scalars, int n_scalars,
                       bint elementwise) except -1:
    cdef int i
    if k.reference is None:
        k.reference = getattr(importlib.import_module(f"kernelgrad.kernels.{k.family}.reference"), k.name)
    views = [None if arrays[i] == NULL else numpy_view(<Array>arrays[i]) for i in range(count)]
    if observed():
        observe(k, [None if arrays[i] == NULL else <Array>arrays[i] for i in range(count)], "reference")
    if not elementwise:
        views += [sizes[i] for i in range(n_sizes)]
    views += [scalars[i] for i in range(n_scalars)]
    with quiet():
        k.reference(*views)
    return 0


def quiet():
    """NumPy's floating-point warnings off: nan and inf are values here, as in C."""
    import numpy
    return numpy.errstate(all="ignore")


cdef int launch_on_device(Kernel k, void **arrays, int count, const int64_t *sizes, int n_sizes, const double *scalars, int n_scalars) except -1:
    cdef int i
    cdef Array x
    objects = []
    for i in range(count):
        if arrays[i] == NULL:
            objects.append(None)
            continue
        x = <Array>arrays[i]
        if x.on != CUDA:
            raise RuntimeError(f"{k.name}: expected all tensors to be on the same device, got one on cuda and one on cpu: move one with .to()")
        objects.append(x)
    x = <Array>arrays[k.key]
    if dtype_of(x.code) not in k.cuda:
        raise NotImplementedError(f"{k.name}: no CUDA kernel for {dtype_of(x.code).name} yet; move the tensor with .cpu()")
    if observed():
        observe(k, objects, "cuda")
    backend = cuda_backend()
    backend.run(k, objects, tuple([sizes[i] for i in range(n_sizes)]), tuple([scalars[i] for i in range(n_scalars)]))
    return 0


# ---- Threads ----

def get_num_threads():
    """How many threads kernels use, the calling one included."""
    return kg_threads()


def set_num_threads(int n):
    """Use `n` threads; 0 asks for the default (affinity mask and container quota). ValueError below 0 or above 256."""
    if n < 0 or n > 256:
        raise ValueError(f"set_num_threads: expected 0 to 256, got {n}")
    with nogil:
        kg_set_threads(n)


def threads_reason():
    """Why that many threads, in words."""
    return kg_threads_why().decode()


def observe_python(Kernel k not None, list arrays, str backend):
    """Tell the observer of a kernel call that a compiled caller makes itself."""
    if observer is not None:
        observer(k, arrays, backend)
