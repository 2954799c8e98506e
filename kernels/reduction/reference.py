"""Reductions of a view (outer, n, inner) over n, in plain NumPy: the definition every other twin is held to.

x is (outer, n, inner), what a reduction leaves is (outer, inner). Integers and booleans are reduced here too.
"""

import numpy as np


def sum_forward(x, out, outer, n, inner):
    out[...] = x.sum(1, dtype=out.dtype)


def sum_backward(grad_out, grad_x, outer, n, inner):
    grad_x[...] = grad_out[:, None]


def mean_forward(x, out, outer, n, inner):
    out[...] = x.sum(1, dtype=out.dtype) / np.float64(n)  # 0 / 0 is nan, the mean of nothing


def mean_backward(grad_out, grad_x, outer, n, inner):
    grad_x[...] = grad_out[:, None] / np.float64(n)


def prod_forward(x, out, outer, n, inner):
    out[...] = x.prod(1, dtype=out.dtype)


def prod_backward(x, grad_out, grad_x, outer, n, inner):
    # The product of the others: prod / x without zeros; with one zero the rest's product there, and 0 elsewhere.
    zero = x == 0
    zeros = zero.sum(1)
    rest = np.where(zero, 1, x).prod(1) * grad_out
    at_zero, elsewhere = np.where(zeros == 1, rest, 0), np.where(zeros == 0, rest, 0)
    grad_x[...] = np.where(zero, at_zero[:, None], elsewhere[:, None] / x)


def amax_forward(x, out, outer, n, inner):
    out[...] = x.max(1)


def amin_forward(x, out, outer, n, inner):
    out[...] = x.min(1)


def amax_backward(x, out, grad_out, grad_x, outer, n, inner):
    hit = x == out[:, None]
    grad_x[...] = hit * (grad_out / hit.sum(1))[:, None]  # equal shares to all who tie; amin is served by the same


def argmax_forward(x, indices, outer, n, inner):
    indices[...] = x.argmax(1)  # the first of equals; a nan wins


def argmin_forward(x, indices, outer, n, inner):
    indices[...] = x.argmin(1)


def max_forward(x, out, indices, outer, n, inner):
    out[...] = x.max(1)
    indices[...] = x.argmax(1)


def min_forward(x, out, indices, outer, n, inner):
    out[...] = x.min(1)
    indices[...] = x.argmin(1)


def max_backward(indices, grad_out, grad_x, outer, n, inner):
    grad_x[...] = 0
    np.put_along_axis(grad_x, indices[:, None], grad_out[:, None], axis=1)


def norm_forward(x, out, outer, n, inner):
    out[...] = np.sqrt(np.square(x).sum(1))


def norm_backward(x, out, grad_out, grad_x, outer, n, inner):
    grad_x[...] = x * np.where(out == 0, 0, grad_out / out)[:, None]  # the subgradient 0 where all of x is 0


def logsumexp_forward(x, out, outer, n, inner):
    if n == 0:
        out[...] = -np.inf
        return
    largest = x.max(1)
    shift = np.where(np.isinf(largest), 0, largest)  # rows of -inf give -inf, rows with inf give inf, neither nan
    out[...] = np.log(np.exp(x - shift[:, None]).sum(1)) + shift


def logsumexp_backward(x, out, grad_out, grad_x, outer, n, inner):
    grad_x[...] = np.exp(x - out[:, None]) * grad_out[:, None]


def var_forward(x, mean, out, outer, n, inner, correction):
    mean[...] = x.sum(1) / np.float64(n)
    out[...] = np.square(x - mean[:, None]).sum(1) / np.float64(max(n - correction, 0.0))


def var_backward(x, mean, grad_out, grad_x, outer, n, inner, correction):
    grad_x[...] = (x - mean[:, None]) * (grad_out * (2.0 / np.float64(n - correction)))[:, None]


def std_forward(x, mean, out, outer, n, inner, correction):
    var_forward(x, mean, out, outer, n, inner, correction)
    out[...] = np.sqrt(out)


def std_backward(x, mean, out, grad_out, grad_x, outer, n, inner, correction):
    slope = np.where(out == 0, 0, grad_out / (out * np.float64(n - correction)))
    grad_x[...] = (x - mean[:, None]) * slope[:, None]


def any_forward(x, out, outer, n, inner):
    out[...] = (x != 0).any(1)


def all_forward(x, out, outer, n, inner):
    out[...] = (x != 0).all(1)


def cumsum_forward(x, out, outer, n, inner):
    out[...] = x.cumsum(1, dtype=out.dtype)


def cumsum_backward(grad_out, grad_x, outer, n, inner):
    grad_x[...] = grad_out[:, ::-1].cumsum(1)[:, ::-1]
