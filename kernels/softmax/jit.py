"""Numba twins of softmax: row o * inner + j of (outer, n, inner) is x[o, :, j]."""

import numpy as np

from kernelgrad.kernels.runtime.jit import inline_njit


@inline_njit
def first_of(row, n, inner):
    return row // inner * n * inner + row % inner


@inline_njit
def largest(x, at, n, inner):
    m = x[at]
    for i in range(1, n):
        v = x[at + i * inner]
        m = v if v > m or v != v else m
    return m


def softmax_forward(x, out, rows, n, inner, start, stop):
    for row in range(start, stop):
        at = first_of(row, n, inner)
        m = largest(x, at, n, inner)
        total = 0.0
        for i in range(n):
            e = np.exp(x[at + i * inner] - m)
            out[at + i * inner] = e
            total += e
        for i in range(n):
            out[at + i * inner] /= total


def softmax_backward(out, grad_out, grad_x, rows, n, inner, start, stop):
    for row in range(start, stop):
        at = first_of(row, n, inner)
        dot = 0.0
        for i in range(n):
            dot += out[at + i * inner] * grad_out[at + i * inner]
        for i in range(n):
            grad_x[at + i * inner] = out[at + i * inner] * (grad_out[at + i * inner] - dot)


def log_softmax_forward(x, out, rows, n, inner, start, stop):
    for row in range(start, stop):
        at = first_of(row, n, inner)
        m = largest(x, at, n, inner)
        total = 0.0
        for i in range(n):
            total += np.exp(x[at + i * inner] - m)
        total = np.log(total)
        for i in range(n):
            out[at + i * inner] = x[at + i * inner] - m - total


def log_softmax_backward(out, grad_out, grad_x, rows, n, inner, start, stop):
    for row in range(start, stop):
        at = first_of(row, n, inner)
        total = 0.0
        for i in range(n):
            total += grad_out[at + i * inner]
        for i in range(n):
            grad_x[at + i * inner] = grad_out[at + i * inner] - np.exp(out[at + i * inner]) * total
