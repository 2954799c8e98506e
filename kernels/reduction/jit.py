"""Numba twins of the reductions over (outer, n, inner), one result at a time, in the order of the data.

Results are numbered item = o * inner + j; element i of an item is x[(o * n + i) * inner + j]. Ranges are of outer.
"""

import numpy as np

from kernelgrad.kernels.runtime.jit import inline_njit


@inline_njit
def first_of(item, n, inner):
    return item // inner * n * inner + item % inner


def sum_forward(x, out, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        total = 0.0
        for i in range(n):
            total += x[at + i * inner]
        out[item] = total


def sum_backward(grad_out, grad_x, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        for i in range(n):
            grad_x[at + i * inner] = grad_out[item]


def mean_forward(x, out, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        total = 0.0
        for i in range(n):
            total += x[at + i * inner]
        out[item] = total / n


def mean_backward(grad_out, grad_x, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        for i in range(n):
            grad_x[at + i * inner] = grad_out[item] / n


def prod_forward(x, out, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        total = 1.0
        for i in range(n):
            total *= x[at + i * inner]
        out[item] = total


def prod_backward(x, grad_out, grad_x, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        rest, zeros = 1.0, 0
        for i in range(n):
            if x[at + i * inner] == 0:
                zeros += 1
            else:
                rest *= x[at + i * inner]
        for i in range(n):
            v = x[at + i * inner]
            if v == 0:
                grad_x[at + i * inner] = grad_out[item] * rest if zeros == 1 else 0.0
            else:
                grad_x[at + i * inner] = grad_out[item] * rest / v if zeros == 0 else 0.0 / v


@inline_njit
def extremum(x, at, n, inner, sign):
    """Index of the first largest of sign * x; a nan wins."""
    best = 0
    for i in range(1, n):
        v, b = x[at + i * inner], x[at + best * inner]
        if b == b and (v != v or sign * v > sign * b):
            best = i
    return best


def amax_forward(x, out, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        out[item] = x[at + extremum(x, at, n, inner, 1.0) * inner]


def amin_forward(x, out, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        out[item] = x[at + extremum(x, at, n, inner, -1.0) * inner]


def amax_backward(x, out, grad_out, grad_x, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        hits = 0
        for i in range(n):
            hits += x[at + i * inner] == out[item]
        share = grad_out[item] / hits
        for i in range(n):
            grad_x[at + i * inner] = (1.0 if x[at + i * inner] == out[item] else 0.0) * share


def argmax_forward(x, indices, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        indices[item] = extremum(x, first_of(item, n, inner), n, inner, 1.0)


def argmin_forward(x, indices, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        indices[item] = extremum(x, first_of(item, n, inner), n, inner, -1.0)


def max_forward(x, out, indices, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        indices[item] = extremum(x, at, n, inner, 1.0)
        out[item] = x[at + indices[item] * inner]


def min_forward(x, out, indices, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        indices[item] = extremum(x, at, n, inner, -1.0)
        out[item] = x[at + indices[item] * inner]


def max_backward(indices, grad_out, grad_x, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        for i in range(n):
            grad_x[at + i * inner] = grad_out[item] if i == indices[item] else 0.0


def norm_forward(x, out, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        total = 0.0
        for i in range(n):
            v = x[at + i * inner]
            total += v * v
        out[item] = np.sqrt(total)


def norm_backward(x, out, grad_out, grad_x, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        slope = 0.0 if out[item] == 0 else grad_out[item] / out[item]
        for i in range(n):
            grad_x[at + i * inner] = x[at + i * inner] * slope


def logsumexp_forward(x, out, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        if n == 0:
            out[item] = -np.inf
            continue
        shift = x[at + extremum(x, at, n, inner, 1.0) * inner]
        shift = 0.0 if np.isinf(shift) else shift
        total = 0.0
        for i in range(n):
            total += np.exp(x[at + i * inner] - shift)
        out[item] = np.log(total) + shift


def logsumexp_backward(x, out, grad_out, grad_x, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        for i in range(n):
            grad_x[at + i * inner] = np.exp(x[at + i * inner] - out[item]) * grad_out[item]


@inline_njit
def moments(x, at, n, inner, correction):
    mean = 0.0
    for i in range(n):
        mean += x[at + i * inner]
    mean = mean / n
    total = 0.0
    for i in range(n):
        d = x[at + i * inner] - mean
        total += d * d
    return mean, total / max(n - correction, 0.0)


def var_forward(x, mean, out, outer, n, inner, correction, start, stop):
    for item in range(start * inner, stop * inner):
        m, v = moments(x, first_of(item, n, inner), n, inner, correction)
        mean[item] = m
        out[item] = v


def var_backward(x, mean, grad_out, grad_x, outer, n, inner, correction, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        slope = grad_out[item] * (2.0 / (n - correction))
        for i in range(n):
            grad_x[at + i * inner] = (x[at + i * inner] - mean[item]) * slope


def std_forward(x, mean, out, outer, n, inner, correction, start, stop):
    for item in range(start * inner, stop * inner):
        m, v = moments(x, first_of(item, n, inner), n, inner, correction)
        mean[item] = m
        out[item] = np.sqrt(v)


def std_backward(x, mean, out, grad_out, grad_x, outer, n, inner, correction, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        slope = 0.0 if out[item] == 0 else grad_out[item] / (out[item] * (n - correction))
        for i in range(n):
            grad_x[at + i * inner] = (x[at + i * inner] - mean[item]) * slope


def cumsum_forward(x, out, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        total = 0.0
        for i in range(n):
            total += x[at + i * inner]
            out[at + i * inner] = total


def cumsum_backward(grad_out, grad_x, outer, n, inner, start, stop):
    for item in range(start * inner, stop * inner):
        at = first_of(item, n, inner)
        total = 0.0
        for i in range(n - 1, -1, -1):
            total += grad_out[at + i * inner]
            grad_x[at + i * inner] = total
