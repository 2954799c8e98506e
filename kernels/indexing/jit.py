"""Numba twins of gather, scatter, masks and triangles."""


def gather_forward(x, index, out, outer, count, size, inner, start, stop):
    for o in range(start, stop):
        for i in range(count):
            for j in range(inner):
                small = (o * count + i) * inner + j
                out[small] = x[(o * size + index[small]) * inner + j]


def scatter_forward(src, index, out, outer, count, size, inner, start, stop):
    for o in range(start, stop):
        for i in range(count):
            for j in range(inner):
                small = (o * count + i) * inner + j
                out[(o * size + index[small]) * inner + j] = src[small]


def scatter_add_forward(src, index, out, outer, count, size, inner, start, stop):
    for o in range(start, stop):
        for i in range(count):
            for j in range(inner):
                small = (o * count + i) * inner + j
                out[(o * size + index[small]) * inner + j] += src[small]


def masked_fill_forward(x, mask, out, n, step_x, step_mask, value, start, stop):
    for i in range(start, stop):
        out[i] = value if mask[i * step_mask] else x[i * step_x]


def triangle_forward(x, out, n, rows, columns, diagonal, upper, start, stop):
    for r in range(start, stop):
        edge = r % rows + diagonal
        for j in range(columns):
            keep = j >= edge if upper else j <= edge
            out[r * columns + j] = x[r * columns + j] if keep else 0
