"""Calls of the matrix kernels on arrays: gemm by sizes and strides, column sums, dot products. No graph."""
from libc.stdint cimport int64_t

from kernelgrad.core.array cimport Array, new_array, shape_tuple
from kernelgrad.core.dtypes cimport BOOL, CPU, dtype_of
from kernelgrad.core.dispatch cimport Kernel, get_kernel, kg_kernel, observed

cdef Kernel gemm_kernel = get_kernel("gemm")
cdef Kernel column_sum_kernel = get_kernel("column_sum")
cdef Kernel dot_kernel = get_kernel("dot_product")
cdef double no_scalars[1]
cdef int64_t SMALL = 200000     # multiply-adds, some 5 us: for less, letting go of the GIL costs more than it gives


cdef int gemm(Matrices *p, Array a, Array b, Array bias, Array packed, Array c, int activation, double alpha,
              double beta) except -1:
    cdef int64_t sizes[14]
    cdef double scalars[2]
    cdef void *arrays[5]
    cdef kg_kernel *run
    if c.size == 0:
        return 0
    sizes[0] = p.batch
    sizes[1] = p.m
    sizes[2] = p.n
    sizes[3] = p.k
    sizes[4] = p.a_row
    sizes[5] = p.a_col
    sizes[6] = p.b_row
    sizes[7] = p.b_col
    sizes[8] = p.c_row
    sizes[9] = p.a_batch
    sizes[10] = p.b_batch
    sizes[11] = p.c_batch
    sizes[12] = activation
    sizes[13] = bias is not None
    scalars[0] = alpha
    scalars[1] = beta
    if c.on == CPU and not observed():
        run = gemm_kernel.find(c.code)
        if run != NULL:
            arrays[0] = a.data
            arrays[1] = b.data
            arrays[2] = NULL if bias is None else bias.data
            arrays[3] = NULL if packed is None else packed.data
            arrays[4] = c.data
            if p.batch * p.m * p.n * p.k < SMALL:
                run(arrays, sizes, scalars, 0, p.batch)
            else:
                with nogil:
                    run(arrays, sizes, scalars, 0, p.batch)
            return 0
    arrays[0] = <void *>a
    arrays[1] = <void *>b
    arrays[2] = NULL if bias is None else <void *>bias
    arrays[3] = NULL if packed is None else <void *>packed
    arrays[4] = <void *>c
    return gemm_kernel.launch(arrays, 5, sizes, 14, scalars, 2, False)


cdef Array column_sum(Array g, int64_t rows, int64_t columns):
    """Sums over the rows of a contiguous matrix: the gradient of a bias."""
    cdef Array out = new_array(1, &columns, g.code, g.on, False)
    cdef int64_t sizes[3]
    cdef void *arrays[2]
    cdef kg_kernel *run
    sizes[0] = columns
    sizes[1] = rows
    sizes[2] = columns
    if columns == 0:
        return out
    if g.on == CPU and not observed() and rows * columns < SMALL:
        run = column_sum_kernel.find(g.code)
        if run != NULL:
            arrays[0] = g.data
            arrays[1] = out.data
            run(arrays, sizes, no_scalars, 0, columns)
            return out
    arrays[0] = <void *>g
    arrays[1] = <void *>out
    column_sum_kernel.launch(arrays, 2, sizes, 3, no_scalars, 0, False)
    return out


cdef int dot(Array a, Array b, Array out) except -1:
    """The product of two contiguous vectors on the CPU, where dot_kernel has a C body."""
    cdef int64_t n = a.size
    cdef void *arrays[3]
    cdef kg_kernel *run = dot_kernel.find(a.code)
    if n < SMALL and not observed():
        arrays[0] = a.data
        arrays[1] = b.data
        arrays[2] = out.data
        run(arrays, &n, no_scalars, 0, n)
        return 0
    arrays[0] = <void *>a
    arrays[1] = <void *>b
    arrays[2] = <void *>out
    return dot_kernel.launch(arrays, 3, &n, 1, no_scalars, 0, False)


cdef void *compiled(Array x):
    """The C body of gemm for x, which can use an operand that its instruction set has packed; or NULL."""
    return <void *>gemm_kernel.find(x.code) if x.on == CPU else NULL


cdef bint dot_is_compiled(Array x):
    return x.on == CPU and dot_kernel.find(x.code) != NULL


# ---- Checks ----

cdef str sizes_text(Array x):
    return "x".join([str(s) for s in shape_tuple(x)])


cdef int check_pair(str name, Array a, Array b) except -1:
    if a.code != b.code:
        raise RuntimeError(f"{name}: expected both tensors to have the same dtype, but got: {dtype_of(a.code).name} != "
                           f"{dtype_of(b.code).name}; convert one with .to()")
    if a.on != b.on:
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, got one on cpu and one on cuda: "
                           "move one with .to()")
    if a.code == BOOL:
        raise RuntimeError(f"{name}: not implemented for 'Bool' tensors; convert with .float()")
    return 0
