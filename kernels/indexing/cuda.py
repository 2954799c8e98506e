"""CUDA twins of gather, scatter, masks and triangles. scatter_add gives a thread one (outer, inner) line, so that
duplicates of
an index are added in order: slower than atomics, and the same bits every time."""


def gather_forward(x, index, out, outer, count, size, inner):
    for e in range(cuda.grid(1), outer * count * inner, cuda.gridsize(1)):
        o, j = e // (count * inner), e % inner
        out[e] = x[(o * size + index[e]) * inner + j]


def scatter_forward(src, index, out, outer, count, size, inner):
    for line in range(cuda.grid(1), outer * inner, cuda.gridsize(1)):
        o, j = line // inner, line % inner
        for i in range(count):
            e = (o * count + i) * inner + j
            out[(o * size + index[e]) * inner + j] = src[e]


def scatter_add_forward(src, index, out, outer, count, size, inner):
    for line in range(cuda.grid(1), outer * inner, cuda.gridsize(1)):
        o, j = line // inner, line % inner
        for i in range(count):
            e = (o * count + i) * inner + j
            out[(o * size + index[e]) * inner + j] += src[e]


def masked_fill_forward(x, mask, out, n, step_x, step_mask, value):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = T(value) if mask[i * step_mask] else x[i * step_x]


def triangle_forward(x, out, n, rows, columns, diagonal, upper):
    for e in range(cuda.grid(1), n * columns, cuda.gridsize(1)):
        r, j = e // columns, e % columns
        edge = r % rows + diagonal
        keep = j >= edge if upper != 0 else j <= edge
        out[e] = x[e] if keep else T(0)
