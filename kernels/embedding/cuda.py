"""CUDA twins of the row kernels: one thread per element of the output."""


def embedding_forward(weight, index, out, n, count, rows, inner):
    for e in range(cuda.grid(1), n * inner, cuda.gridsize(1)):
        item, j = e // inner, e % inner
        out[e] = weight[(item // count * rows + index[item % count]) * inner + j]


def embedding_backward(grad_out, order, starts, row_of, out, n, runs, count, rows, inner):
    for e in range(cuda.grid(1), n * inner, cuda.gridsize(1)):
        item, j = e // inner, e % inner
        o, r = item // runs, item % runs
        to, source = (o * rows + row_of[r]) * inner + j, o * count * inner + j
        total = out[to]
        for k in range(starts[r], starts[r + 1]):
            total += grad_out[source + order[k] * inner]
        out[to] = total
