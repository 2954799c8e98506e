"""Matrix products in NumPy: the definitions. Argument order as in gemm.h."""

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided

PANEL = 32


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2)))


ACTIVATIONS = [
    lambda x: x,
    lambda x: np.where(x < 0, 0, x),
    lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    gelu,
    lambda x: x * np.exp(-np.logaddexp(0.0, -x)),
    np.tanh,
    lambda x: np.exp(-np.logaddexp(0.0, -x)),
]


def elements(array, shape, strides):
    """The elements of a kernel's array at these strides (in elements), from its first element on."""
    return as_strided(array, shape, [s * array.itemsize for s in strides])


# fmt: off
def gemm(a, b, bias, packed_b, c, batch, m, n, k, a_row, a_col, b_row, b_col, c_row, a_batch, b_batch, c_batch,
         activation, has_bias, alpha, beta):
    # fmt: on
    x = elements(a, (batch, m, k), (a_batch, a_row, a_col))
    if packed_b is None:
        y = elements(b, (batch, k, n), (b_batch, b_row, b_col))
    else:
        panels = packed_b.reshape(-1, k, PANEL)
        y = panels.transpose(1, 0, 2).reshape(k, -1)[:, :n]
    out = elements(c, (batch, m, n), (c_batch, c_row, 1))
    product = np.matmul(x, y)
    if alpha != 1 or beta != 0:
        product = alpha * product + (beta * out if beta != 0 else 0)
    if bias is not None:
        product = product + elements(bias, (n,), (1,))
    out[...] = ACTIVATIONS[activation](product)


def gemm_pack_b(b, out, panels, n, k, b_row, b_col):
    columns = np.zeros((k, panels * PANEL), out.dtype)
    columns[:, :n] = elements(b, (k, n), (b_row, b_col))
    out.reshape(panels, k, PANEL)[...] = columns.reshape(k, panels, PANEL).transpose(1, 0, 2)


def column_sum(x, out, columns, rows, row_stride):
    elements(out, (columns,), (1,))[...] = elements(x, (rows, columns), (row_stride, 1)).sum(0)


def dot_product(a, b, out, n):
    out[...] = np.dot(a, b)
