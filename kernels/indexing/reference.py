"""Elements by index, the definition. x is seen as (outer, size, inner), index and what goes with it as (outer, count,
inner)."""

import numpy as np


def normalize_index(index, out, bad, n, size, wrap):
    index = index.reshape(-1).astype(np.int64)
    wrapped = np.where((index < 0) & bool(wrap), index + size, index)
    if out is not None:
        out.reshape(-1)[...] = wrapped
    wrong = (wrapped < 0) | (wrapped >= size)
    bad[0] = np.argmax(wrong) if wrong.any() else -1


def gather_forward(x, index, out, outer, count, size, inner):
    out.reshape(outer, count, inner)[...] = np.take_along_axis(
        x.reshape(outer, size, inner), index.reshape(outer, count, inner), axis=1
    )


def scatter_forward(src, index, out, outer, count, size, inner):
    np.put_along_axis(
        out.reshape(outer, size, inner), index.reshape(outer, count, inner), src.reshape(outer, count, inner), axis=1
    )


def scatter_add_forward(src, index, out, outer, count, size, inner):
    o, _, j = np.ogrid[:outer, :count, :inner]
    np.add.at(
        out.reshape(outer, size, inner), (o, index.reshape(outer, count, inner), j), src.reshape(outer, count, inner)
    )


def masked_fill_forward(x, mask, out, value):
    out[...] = np.where(mask, np.asarray(value).astype(out.dtype), x)


def triangle_forward(x, out, n, rows, columns, diagonal, upper):
    matrices = x.reshape(-1, rows, columns)
    out.reshape(-1, rows, columns)[...] = np.triu(matrices, diagonal) if upper else np.tril(matrices, diagonal)
