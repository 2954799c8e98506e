"""Numba twins of the activations: the formulas of reference.py, one element at a time. `v` is the saved element."""

import math

import numpy as np

from kernelgrad.kernels.runtime.jit import inline_njit

SCALE, SCALE_ALPHA = 1.0507009873554805, 1.7580993408473766  # of selu: Klambauer et al. (2017)
DENSITY = 0.3989422804014327  # 1 / sqrt(2 pi)


@inline_njit
def sigmoid(x):
    e = np.exp(-abs(x))
    return e / (1 + e) if x < 0 else 1 / (1 + e)


@inline_njit
def softplus(x):
    return (0 if x < 0 else x) + np.log1p(np.exp(-abs(x)))


@inline_njit
def bounded(x):
    """x, or a number that stands for infinity where 0 times infinity would not give the limit."""
    return -1e30 if x < -1e30 else 1e30 if x > 1e30 else x


@inline_njit
def hard(x):
    return 0 if x < -3 else 6 if x > 3 else x + 3


@inline_njit
def normal_cdf(x):
    return 0.5 * math.erfc(-0.7071067811865476 * x)


@inline_njit
def mish_gate(x):
    return np.tanh(softplus(x))


@inline_njit
def gelu_gate(x):
    return sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))


@inline_njit
def gelu_bend(x):
    """x times the slope of the gate's argument, of an x beyond which the gate is flat."""
    v = -1e6 if x < -1e6 else 1e6 if x > 1e6 else x
    return v * 1.5957691216057308 * (1 + 0.134145 * v * v)


def relu_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = 0 if v < 0 else v


def relu_backward(y, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = y[i]
        grad_x[i] = 0 if v <= 0 else grad_out[i]


def leaky_relu_forward(x, out, n, negative_slope, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = v if v > 0 else v * negative_slope


def leaky_relu_backward(x, grad_out, grad_x, n, negative_slope, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] if v > 0 else grad_out[i] * negative_slope


def threshold_forward(x, out, n, threshold, value, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = value if v <= threshold else v


def threshold_backward(x, grad_out, grad_x, n, threshold, value, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = 0 if v <= threshold else grad_out[i]


def hardtanh_forward(x, out, n, min_val, max_val, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = min_val if v < min_val else max_val if v > max_val else v


def hardtanh_backward(y, grad_out, grad_x, n, min_val, max_val, start, stop):
    for i in range(start, stop):
        v = y[i]
        grad_x[i] = grad_out[i] if min_val < v and v < max_val else 0


def relu6_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = 0 if v < 0 else 6 if v > 6 else v


def relu6_backward(y, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = y[i]
        grad_x[i] = grad_out[i] if v > 0 and v < 6 else 0


def hardsigmoid_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = hard(v) / 6


def hardsigmoid_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] / 6 if v > -3 and v < 3 else 0


def hardswish_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = (-3 if v < -3 else v) * (hard(v) / 6)


def hardswish_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = 0 if v <= -3 else grad_out[i] if v >= 3 else grad_out[i] * (v / 3 + 0.5)


def hardshrink_forward(x, out, n, lambd, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = 0 if -lambd <= v and v <= lambd else v


def hardshrink_backward(x, grad_out, grad_x, n, lambd, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] if v < -lambd or v > lambd else 0


def softshrink_forward(x, out, n, lambd, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = v - lambd if v > lambd else v + lambd if v < -lambd else v - v


def softshrink_backward(x, grad_out, grad_x, n, lambd, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] if v < -lambd or v > lambd else 0


def elu_forward(x, out, n, alpha, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = v if v > 0 else alpha * np.expm1(v)


def elu_backward(x, grad_out, grad_x, n, alpha, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] if v > 0 else grad_out[i] * alpha * np.exp(v)


def celu_forward(x, out, n, alpha, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = v if v > 0 else alpha * np.expm1(v / alpha)


def celu_backward(x, grad_out, grad_x, n, alpha, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] if v > 0 else grad_out[i] * np.exp(v / alpha)


def selu_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = SCALE * v if v > 0 else SCALE_ALPHA * np.expm1(v)


def selu_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] * SCALE if v > 0 else grad_out[i] * SCALE_ALPHA * np.exp(v)


def sigmoid_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = sigmoid(v)


def sigmoid_backward(y, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = y[i]
        grad_x[i] = grad_out[i] * v * (1 - v)


def tanh_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.tanh(v)


def tanh_backward(y, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = y[i]
        grad_x[i] = grad_out[i] * (1 - v * v)


def tanhshrink_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = v - np.tanh(v)


def tanhshrink_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] * np.tanh(v) * np.tanh(v)


def logsigmoid_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = 0 - softplus(-v)


def logsigmoid_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] * sigmoid(-v)


def softplus_forward(x, out, n, beta, threshold, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = v if v * beta > threshold else softplus(v * beta) / beta


def softplus_backward(x, grad_out, grad_x, n, beta, threshold, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] if v * beta > threshold else grad_out[i] * sigmoid(v * beta)


def softsign_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = bounded(v) / (1 + abs(bounded(v)))


def softsign_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] / ((1 + abs(v)) * (1 + abs(v)))


def silu_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = (-1e30 if v < -1e30 else v) * sigmoid(v)


def silu_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] * (sigmoid(v) + bounded(v) * sigmoid(v) * sigmoid(-v))


def mish_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = (-1e30 if v < -1e30 else v) * np.tanh(softplus(v))


def mish_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] * (mish_gate(v) + bounded(v) * sigmoid(v) * (1 - mish_gate(v) * mish_gate(v)))


def gelu_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = (-1e30 if v < -1e30 else v) * normal_cdf(v)


def gelu_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] * (normal_cdf(v) + bounded(v) * DENSITY * np.exp(-0.5 * v * v))


def gelu_tanh_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = (-1e30 if v < -1e30 else v) * gelu_gate(v)


def gelu_tanh_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] * (gelu_gate(v) + gelu_gate(v) * (1 - gelu_gate(v)) * gelu_bend(v))
