"""Numba twins of the optimizer steps: the same formulas, one element at a time."""

import math


def sgd_step(param, grad, buffer, n, momentum, nesterov, scale, weight_decay, shrink, lr, keep, gain, mu, start, stop):
    for i in range(start, stop):
        g = scale * grad[i] + weight_decay * param[i]
        if momentum:
            b = keep * buffer[i] + gain * g
            buffer[i] = b
            g = g + mu * b if nesterov else b
        param[i] = shrink * param[i] - lr * g


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
    start,
    stop,
):
    for i in range(start, stop):
        g = scale * grad[i] + weight_decay * param[i]
        m = exp_avg[i] + weight1 * (g - exp_avg[i])
        v = beta2 * exp_avg_sq[i] + weight2 * g * g
        exp_avg[i] = m
        exp_avg_sq[i] = v
        if amsgrad:
            v = max(max_exp_avg_sq[i], v)
            max_exp_avg_sq[i] = v
        param[i] = shrink * param[i] - size * m / (math.sqrt(v) * correction + eps)


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
    start,
    stop,
):
    for i in range(start, stop):
        p = shrink * param[i]
        g = scale * grad[i] + weight_decay * p
        m = exp_avg[i] + weight1 * (g - exp_avg[i])
        v = beta2 * exp_avg_sq[i] + weight2 * g * g
        exp_avg[i] = m
        exp_avg_sq[i] = v
        param[i] = p - (size_g * g + size_m * m) / (math.sqrt(v) * correction + eps)


def radam_step(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    n,
    rectified,
    scale,
    weight_decay,
    shrink,
    weight1,
    beta2,
    weight2,
    size,
    eps,
    start,
    stop,
):
    for i in range(start, stop):
        g = scale * grad[i] + weight_decay * param[i]
        m = exp_avg[i] + weight1 * (g - exp_avg[i])
        v = beta2 * exp_avg_sq[i] + weight2 * g * g
        exp_avg[i] = m
        exp_avg_sq[i] = v
        step = m / (math.sqrt(v) + eps) if rectified else m
        param[i] = shrink * param[i] - size * step


def adamax_step(param, grad, exp_avg, exp_inf, n, scale, weight_decay, shrink, weight1, beta2, size, eps, start, stop):
    for i in range(start, stop):
        g = scale * grad[i] + weight_decay * param[i]
        m = exp_avg[i] + weight1 * (g - exp_avg[i])
        u = max(beta2 * exp_inf[i], abs(g) + eps)
        exp_avg[i] = m
        exp_inf[i] = u
        param[i] = shrink * param[i] - size * m / u


def rmsprop_step(
    param,
    grad,
    square_avg,
    grad_avg,
    buffer,
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
    start,
    stop,
):
    for i in range(start, stop):
        g = scale * grad[i] + weight_decay * param[i]
        v = alpha * square_avg[i] + weight * g * g
        square_avg[i] = v
        if centered:
            a = grad_avg[i] + weight * (g - grad_avg[i])
            grad_avg[i] = a
            v = v - a * a
        step = g / (math.sqrt(v) + eps)
        if momentum:
            step = mu * buffer[i] + step
            buffer[i] = step
        param[i] = shrink * param[i] - lr * step


def adagrad_step(param, grad, total, n, scale, weight_decay, shrink, lr, eps, start, stop):
    for i in range(start, stop):
        g = scale * grad[i] + weight_decay * param[i]
        s = total[i] + g * g
        total[i] = s
        param[i] = shrink * param[i] - lr * g / (math.sqrt(s) + eps)


def adadelta_step(
    param, grad, square_avg, acc_delta, n, scale, weight_decay, shrink, rho, weight, lr, eps, start, stop
):
    for i in range(start, stop):
        g = scale * grad[i] + weight_decay * param[i]
        v = rho * square_avg[i] + weight * g * g
        d = g * math.sqrt(acc_delta[i] + eps) / math.sqrt(v + eps)
        square_avg[i] = v
        acc_delta[i] = rho * acc_delta[i] + weight * d * d
        param[i] = shrink * param[i] - lr * d


def scale_step(grad, n, scale, start, stop):
    for i in range(start, stop):
        grad[i] = scale * grad[i]


def squared_norm_forward(x, parts, count, n, start, stop):
    for part in range(start, stop):
        total = 0.0
        for i in range(part * 16384, min((part + 1) * 16384, n)):
            total += float(x[i]) * float(x[i])
        parts[part] = total
