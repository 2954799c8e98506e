"""Optimizer steps for one tensor, the definition. Scalars begin with: scale of the gradient, weight decay added to it,
factor on the parameter (decoupled weight decay). optim.c says what the others are.
"""

import numpy as np


def sgd_step(param, grad, momentum_buffer, n, momentum, nesterov, scale, weight_decay, shrink, lr, keep, gain, mu):
    g = scale * grad + weight_decay * param
    if momentum:
        momentum_buffer[...] = keep * momentum_buffer + gain * g
        g = g + mu * momentum_buffer if nesterov else momentum_buffer
    param[...] = shrink * param - lr * g


def adam_step(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    max_exp_avg_sq,
    n,
    amsgrad,
    scale,
    weight_decay,
    shrink,
    weight1,
    beta2,
    weight2,
    size,
    correction,
    eps,
):
    g = scale * grad + weight_decay * param
    exp_avg += weight1 * (g - exp_avg)
    exp_avg_sq[...] = beta2 * exp_avg_sq + weight2 * g * g
    v = exp_avg_sq
    if amsgrad:
        v = np.maximum(max_exp_avg_sq, exp_avg_sq, out=max_exp_avg_sq)
    param[...] = shrink * param - size * exp_avg / (np.sqrt(v) * correction + eps)


def nadam_step(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    n,
    scale,
    weight_decay,
    shrink,
    weight1,
    beta2,
    weight2,
    size_g,
    size_m,
    correction,
    eps,
):
    param *= shrink
    g = scale * grad + weight_decay * param
    exp_avg += weight1 * (g - exp_avg)
    exp_avg_sq[...] = beta2 * exp_avg_sq + weight2 * g * g
    param -= (size_g * g + size_m * exp_avg) / (np.sqrt(exp_avg_sq) * correction + eps)


def radam_step(
    param, grad, exp_avg, exp_avg_sq, n, rectified, scale, weight_decay, shrink, weight1, beta2, weight2, size, eps
):
    g = scale * grad + weight_decay * param
    exp_avg += weight1 * (g - exp_avg)
    exp_avg_sq[...] = beta2 * exp_avg_sq + weight2 * g * g
    step = exp_avg / (np.sqrt(exp_avg_sq) + eps) if rectified else exp_avg
    param[...] = shrink * param - size * step


def adamax_step(param, grad, exp_avg, exp_inf, n, scale, weight_decay, shrink, weight1, beta2, size, eps):
    g = scale * grad + weight_decay * param
    exp_avg += weight1 * (g - exp_avg)
    exp_inf[...] = np.maximum(beta2 * exp_inf, np.abs(g) + eps)
    param[...] = shrink * param - size * exp_avg / exp_inf


def rmsprop_step(
    param,
    grad,
    square_avg,
    grad_avg,
    momentum_buffer,
    n,
    centered,
    momentum,
    scale,
    weight_decay,
    shrink,
    alpha,
    weight,
    lr,
    eps,
    mu,
):
    g = scale * grad + weight_decay * param
    square_avg[...] = alpha * square_avg + weight * g * g
    v = square_avg
    if centered:
        grad_avg += weight * (g - grad_avg)
        v = square_avg - grad_avg * grad_avg
    step = g / (np.sqrt(v) + eps)
    if momentum:
        momentum_buffer[...] = mu * momentum_buffer + step
        step = momentum_buffer
    param[...] = shrink * param - lr * step


def adagrad_step(param, grad, total, n, scale, weight_decay, shrink, lr, eps):
    g = scale * grad + weight_decay * param
    total += g * g
    param[...] = shrink * param - lr * g / (np.sqrt(total) + eps)


def adadelta_step(param, grad, square_avg, acc_delta, n, scale, weight_decay, shrink, rho, weight, lr, eps):
    g = scale * grad + weight_decay * param
    square_avg[...] = rho * square_avg + weight * g * g
    delta = g * np.sqrt(acc_delta + eps) / np.sqrt(square_avg + eps)
    acc_delta[...] = rho * acc_delta + weight * delta * delta
    param[...] = shrink * param - lr * delta


def scale_step(grad, n, scale):
    grad *= scale


def squared_norm_forward(x, parts, count, n):
    flat = np.zeros(count * 16384)
    flat[:n] = x.reshape(-1)
    parts[...] = (flat.reshape(count, 16384) ** 2).sum(axis=1)
