"""Definitions of the activations in plain NumPy. Saved arrays come first in backward: the output of relu, relu6,
hardtanh, sigmoid and tanh, the input of the others."""

import math

import numpy as np

from kernelgrad.kernels.elementwise.reference import erf

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. (2017)
GELU_A, GELU_B = math.sqrt(2 / math.pi), 0.044715  # Hendrycks & Gimpel (2016)


def log1p_exp(x):
    """log(1 + e^x), by functions that NumPy computes in vectors, which logaddexp is not."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def sigmoid(x):
    return np.exp(-log1p_exp(-x))


def limited(x):
    """x, or a number that stands for infinity where 0 times infinity would not give the limit."""
    return np.clip(x, -1e30, 1e30)


def relu_forward(x, out):
    out[...] = np.where(x < 0, 0, x)


def relu_backward(saved, grad_out, grad_x):
    grad_x[...] = np.where(saved <= 0, 0, grad_out)


def leaky_relu_forward(x, out, negative_slope):
    out[...] = np.where(x > 0, x, x * negative_slope)


def leaky_relu_backward(x, grad_out, grad_x, negative_slope):
    grad_x[...] = np.where(x > 0, grad_out, grad_out * negative_slope)


def threshold_forward(x, out, threshold, value):
    out[...] = np.where(x <= threshold, value, x)


def threshold_backward(x, grad_out, grad_x, threshold, value):
    grad_x[...] = np.where(x <= threshold, 0, grad_out)


def hardtanh_forward(x, out, min_val, max_val):
    out[...] = np.minimum(np.maximum(x, min_val), max_val)


def hardtanh_backward(saved, grad_out, grad_x, min_val, max_val):
    grad_x[...] = np.where((saved > min_val) & (saved < max_val), grad_out, 0)


def relu6_forward(x, out):
    hardtanh_forward(x, out, 0, 6)


def relu6_backward(saved, grad_out, grad_x):
    hardtanh_backward(saved, grad_out, grad_x, 0, 6)


def hardsigmoid_forward(x, out):
    out[...] = np.clip(x + 3, 0, 6) / 6


def hardsigmoid_backward(x, grad_out, grad_x):
    grad_x[...] = np.where((x > -3) & (x < 3), grad_out / 6, 0)


def hardswish_forward(x, out):
    out[...] = np.maximum(x, -3) * (np.clip(x + 3, 0, 6) / 6)


def hardswish_backward(x, grad_out, grad_x):
    grad_x[...] = np.where(x <= -3, 0, np.where(x >= 3, grad_out, grad_out * (x / 3 + 0.5)))


def hardshrink_forward(x, out, lambd):
    out[...] = np.where((x >= -lambd) & (x <= lambd), 0, x)


def hardshrink_backward(x, grad_out, grad_x, lambd):
    grad_x[...] = np.where((x < -lambd) | (x > lambd), grad_out, 0)


def softshrink_forward(x, out, lambd):
    out[...] = np.where(x > lambd, x - lambd, np.where(x < -lambd, x + lambd, np.where(np.isnan(x), x, 0)))


def softshrink_backward(x, grad_out, grad_x, lambd):
    hardshrink_backward(x, grad_out, grad_x, lambd)


def elu_forward(x, out, alpha):
    out[...] = np.where(x > 0, x, alpha * np.expm1(x))


def elu_backward(x, grad_out, grad_x, alpha):
    grad_x[...] = np.where(x > 0, grad_out, grad_out * alpha * np.exp(x))


def celu_forward(x, out, alpha):
    out[...] = np.where(x > 0, x, alpha * np.expm1(x / alpha))


def celu_backward(x, grad_out, grad_x, alpha):
    grad_x[...] = np.where(x > 0, grad_out, grad_out * np.exp(x / alpha))


def selu_forward(x, out):
    out[...] = SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x))


def selu_backward(x, grad_out, grad_x):
    grad_x[...] = SELU_SCALE * np.where(x > 0, grad_out, grad_out * SELU_ALPHA * np.exp(x))


def sigmoid_forward(x, out):
    out[...] = sigmoid(x)


def sigmoid_backward(saved, grad_out, grad_x):
    grad_x[...] = grad_out * saved * (1 - saved)


def tanh_forward(x, out):
    out[...] = np.tanh(x)


def tanh_backward(saved, grad_out, grad_x):
    grad_x[...] = grad_out * (1 - saved * saved)


def tanhshrink_forward(x, out):
    out[...] = x - np.tanh(x)


def tanhshrink_backward(x, grad_out, grad_x):
    grad_x[...] = grad_out * np.tanh(x) ** 2


def logsigmoid_forward(x, out):
    out[...] = 0 - log1p_exp(-x)


def logsigmoid_backward(x, grad_out, grad_x):
    grad_x[...] = grad_out * sigmoid(-x)


def softplus_forward(x, out, beta, threshold):
    out[...] = np.where(x * beta > threshold, x, log1p_exp(x * beta) / beta)


def softplus_backward(x, grad_out, grad_x, beta, threshold):
    grad_x[...] = np.where(x * beta > threshold, grad_out, grad_out * sigmoid(x * beta))


def softsign_forward(x, out):
    out[...] = limited(x) / (1 + np.abs(limited(x)))


def softsign_backward(x, grad_out, grad_x):
    grad_x[...] = grad_out / (1 + np.abs(x)) ** 2


def silu_forward(x, out):
    out[...] = np.maximum(x, -1e30) * sigmoid(x)


def silu_backward(x, grad_out, grad_x):
    s = sigmoid(x)
    grad_x[...] = grad_out * (s + limited(x) * s * sigmoid(-x))


def mish_forward(x, out):
    out[...] = np.maximum(x, -1e30) * np.tanh(log1p_exp(x))


def mish_backward(x, grad_out, grad_x):
    t = np.tanh(log1p_exp(x))
    grad_x[...] = grad_out * (t + limited(x) * sigmoid(x) * (1 - t * t))


def gelu_forward(x, out):
    out[...] = np.maximum(x, -1e30) * normal_cdf(x)


def gelu_backward(x, grad_out, grad_x):
    density = np.exp(-0.5 * limited(x) ** 2) / math.sqrt(2 * math.pi)
    grad_x[...] = grad_out * (normal_cdf(x) + limited(x) * density)


def normal_cdf(x):
    return 0.5 * erf(-x / math.sqrt(2), complement=True)


def gelu_tanh_forward(x, out):
    out[...] = np.maximum(x, -1e30) * sigmoid(2 * GELU_A * (x + GELU_B * x * x * x))


def gelu_tanh_backward(x, grad_out, grad_x):
    s, v = sigmoid(2 * GELU_A * (x + GELU_B * x * x * x)), np.clip(x, -1e6, 1e6)
    grad_x[...] = grad_out * (s + v * s * (1 - s) * 2 * GELU_A * (1 + 3 * GELU_B * v * v))
