"""Softmax over the middle axis of (outer, n, inner), in plain NumPy. sizes[0] is the number of rows, outer * inner."""

import numpy as np


def softmax_forward(x, out, rows, n, inner):
    if n == 0:
        return
    e = np.exp(x - x.max(1, keepdims=True))
    out[...] = e / e.sum(1, keepdims=True)


def softmax_backward(out, grad_out, grad_x, rows, n, inner):
    grad_x[...] = out * (grad_out - (grad_out * out).sum(1, keepdims=True))


def log_softmax_forward(x, out, rows, n, inner):
    if n == 0:
        return
    shifted = x - x.max(1, keepdims=True)
    out[...] = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def log_softmax_backward(out, grad_out, grad_x, rows, n, inner):
    grad_x[...] = grad_out - np.exp(out) * grad_out.sum(1, keepdims=True)
