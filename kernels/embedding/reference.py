"""Rows by index, the definition. x and weight are (outer, rows, inner), what is taken from them (outer, count,
inner)."""

import numpy as np


def embedding_forward(weight, index, out, n, count, rows, inner):
    if n == 0 or inner == 0:
        return
    x = weight.reshape(-1, rows, inner)
    out[...] = x[:, index.reshape(-1)].reshape(out.shape)


def index_order(index, order, starts, rows, runs, count, row_count):
    index = index.reshape(-1)
    order[...] = np.argsort(index, kind="stable")
    values, first = np.unique(index[order], return_index=True)
    n = len(values)
    rows[:n], starts[:n], starts[n], runs[0] = values, first, count, n


def embedding_backward(grad_out, order, starts, rows, out, n, runs, count, row_count, inner):
    grad, total = grad_out.reshape(-1, count, inner), out.reshape(-1, row_count, inner)
    for r in range(runs):
        for k in order[starts[r] : starts[r + 1]]:
            total[:, rows[r]] += grad[:, k]


def add_rows_forward(src, index, out, outer, count, rows, inner, fresh):
    source, total = src.reshape(outer, count, inner), out.reshape(outer, rows, inner)
    if fresh:
        total[...] = 0
    for i, row in enumerate(index.reshape(-1)):
        total[:, row] += source[:, i]
