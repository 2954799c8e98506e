"""Matrix products as Numba twins. Argument order as in gemm.h; packed_b is never given."""

import math

import numpy as np

from kernelgrad.kernels.runtime.jit import inline_njit

KC = 256  # rows of B in a block that stays in cache while all rows of A pass over it


@inline_njit
def activated(x, activation):
    """What the epilogue ends with, numbered as in gemm.h."""
    if activation == 1:
        return 0.0 if x < 0.0 else x
    if activation == 2:
        return 0.5 * x * (1.0 + math.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))
    if activation == 3:
        return 0.5 * x * (1.0 + math.erf(x * 0.7071067811865476))
    if activation == 4:
        return x / (1.0 + math.exp(-x))
    if activation == 5:
        return math.tanh(x)
    if activation == 6:
        return 1.0 / (1.0 + math.exp(-x))
    return x


# fmt: off
def gemm(a, b, bias, packed_b, c, batch, m, n, k, a_row, a_col, b_row, b_col, c_row, a_batch, b_batch, c_batch,
         activation, has_bias, alpha, beta, start, stop):
    # fmt: on
    """C = activation(alpha A B + beta C + bias): for blocks of k, a row of C += A[i,p] times a row of B."""
    rows = np.empty((KC, n), c.dtype)
    for t in range(start, stop):
        product = np.zeros((m, n), c.dtype)
        for p0 in range(0, k, KC):
            kc = min(KC, k - p0)
            for p in range(kc):
                at = t * b_batch + (p0 + p) * b_row
                for j in range(n):
                    rows[p, j] = b[at + j * b_col]
            for i in range(m):
                at = t * a_batch + i * a_row + p0 * a_col
                for p in range(kc):
                    x = a[at + p * a_col]
                    for j in range(n):
                        product[i, j] += x * rows[p, j]
        for i in range(m):
            at = t * c_batch + i * c_row
            for j in range(n):
                value = alpha * product[i, j]
                if beta != 0.0:
                    value += beta * c[at + j]
                if has_bias:
                    value += bias[j]
                c[at + j] = activated(value, activation)


def column_sum(x, out, columns, rows, row_stride, start, stop):
    """out[j] = sum over i of x[i, j]."""
    for j in range(start, stop):
        out[j] = 0
    for i in range(rows):
        for j in range(start, stop):
            out[j] += x[i * row_stride + j]
