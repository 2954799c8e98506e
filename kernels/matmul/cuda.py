"""CUDA twins of the matrix product, in 16 x 16 tiles. Argument order as in gemm.h; packed_b is never given."""

TILE = 16
PADDED = 17  # columns of a tile in shared memory: an odd count keeps a column's elements in different banks
LAUNCH = {
    "gemm": lambda sizes: (
        # rows along x, the one dimension of a grid that may exceed 65535
        (-(-sizes[1] // TILE), -(-sizes[2] // TILE), min(sizes[0], 65535)),
        (TILE, TILE),
        0,
    )
}


def activated(x, activation):
    """What the epilogue ends with, numbered as in gemm.h."""
    one, half = T(1), T(0.5)
    if activation == 1:
        return T(0) if x < T(0) else x
    if activation == 2:
        return half * x * (one + math.tanh(T(0.7978845608028654) * (x + T(0.044715) * x * x * x)))
    if activation == 3:
        return half * x * (one + math.erf(x * T(0.7071067811865476)))
    if activation == 4:
        return x / (one + math.exp(-x))
    if activation == 5:
        return math.tanh(x)
    if activation == 6:
        return one / (one + math.exp(-x))
    return x


# fmt: off
def gemm(a, b, bias, packed_b, c, batch, m, n, k, a_row, a_col, b_row, b_col, c_row, a_batch, b_batch, c_batch,
         activation, has_bias, alpha, beta):
    # fmt: on
    # C = activation(alpha A B + beta C + bias): a thread per element, A and B in tiles that a block reads once.
    left = cuda.shared.array((TILE, PADDED), T)
    right = cuda.shared.array((TILE, PADDED), T)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    top, side = cuda.blockIdx.x * TILE, cuda.blockIdx.y * TILE
    i, j = top + y, side + x
    # Neighbouring threads read neighbouring memory, whichever way an operand lies.
    row_a, col_a = (x, y) if a_row < a_col else (y, x)
    row_b, col_b = (x, y) if b_row < b_col else (y, x)
    for t in range(cuda.blockIdx.z, batch, cuda.gridDim.z):
        total = T(0)
        for p in range(0, k, TILE):
            inside = top + row_a < m and p + col_a < k
            left[row_a, col_a] = a[t * a_batch + (top + row_a) * a_row + (p + col_a) * a_col] if inside else T(0)
            inside = p + row_b < k and side + col_b < n
            right[row_b, col_b] = b[t * b_batch + (p + row_b) * b_row + (side + col_b) * b_col] if inside else T(0)
            cuda.syncthreads()
            for q in range(TILE):
                total += left[y, q] * right[q, x]
            cuda.syncthreads()
        if i < m and j < n:
            at = t * c_batch + i * c_row + j
            total *= T(alpha)
            if beta != 0:
                total += T(beta) * c[at]
            if has_bias:
                total += bias[j]
            c[at] = activated(total, activation)


def column_sum(x, out, columns, rows, row_stride):
    for j in range(cuda.grid(1), columns, cuda.gridsize(1)):  # neighbouring threads read neighbouring columns
        total = T(0)
        for i in range(rows):
            total += x[i * row_stride + j]
        out[j] = total
