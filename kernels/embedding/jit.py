"""Numba twins of the row kernels."""


def embedding_forward(weight, index, out, n, count, rows, inner, start, stop):
    for item in range(start, stop):
        source = (item // count * rows + index[item % count]) * inner
        for j in range(inner):
            out[item * inner + j] = weight[source + j]


def embedding_backward(grad_out, order, starts, row_of, out, n, runs, count, rows, inner, start, stop):
    for item in range(start, stop):
        o, r = item // runs, item % runs
        to, source = (o * rows + row_of[r]) * inner, o * count * inner
        for k in range(starts[r], starts[r + 1]):
            for j in range(inner):
                out[to + j] += grad_out[source + order[k] * inner + j]


def add_rows_forward(src, index, out, outer, count, rows, inner, fresh, start, stop):
    for o in range(start, stop):
        if fresh:
            for j in range(o * rows * inner, (o + 1) * rows * inner):
                out[j] = 0
        for i in range(count):
            to, source = (o * rows + index[i]) * inner, (o * count + i) * inner
            for j in range(inner):
                out[to + j] += src[source + j]
