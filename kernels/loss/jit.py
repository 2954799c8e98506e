"""Numba twins of the losses. A reduced forward does everything in the first call: its sum crosses all work items."""

import numpy as np

from kernelgrad.kernels.runtime.jit import inline_njit

NONE, MEAN = 0, 1


@inline_njit
def put(out, i, value, total, reduction):
    """Store a single loss, or add it to the total that is returned."""
    if reduction == NONE:
        out[i] = value
    return total + value


@inline_njit
def finish(out, total, count, reduction):
    if reduction != NONE:
        out[0] = total / count if reduction == MEAN else total


@inline_njit
def upstream(grad_out, i, count, reduction):
    if reduction == NONE:
        return grad_out[i] * 1.0
    return grad_out[0] / count if reduction == MEAN else grad_out[0] * 1.0


@inline_njit
def sign(d):
    return 1.0 if d > 0 else -1.0 if d < 0 else 0.0 * d


@inline_njit
def softplus(x):
    return (x if x > 0 or x != x else 0.0) + np.log1p(np.exp(-abs(x)))


@inline_njit
def sigmoid(x):
    return np.exp(-softplus(-x))


@inline_njit
def floored(x):
    return -100.0 if x < -100.0 else x


def mse_loss_forward(input, target, out, n, reduction, start, stop):
    if start > 0:
        return
    total = 0.0
    for i in range(n):
        total = put(out, i, (input[i] - target[i]) ** 2, total, reduction)
    finish(out, total, n, reduction)


def mse_loss_backward(input, target, grad_out, grad_input, n, reduction, start, stop):
    for i in range(start, stop):
        grad_input[i] = 2.0 * (input[i] - target[i]) * upstream(grad_out, i, n, reduction)


def l1_loss_forward(input, target, out, n, reduction, start, stop):
    if start > 0:
        return
    total = 0.0
    for i in range(n):
        total = put(out, i, abs(input[i] - target[i]), total, reduction)
    finish(out, total, n, reduction)


def l1_loss_backward(input, target, grad_out, grad_input, n, reduction, start, stop):
    for i in range(start, stop):
        grad_input[i] = sign(input[i] - target[i]) * upstream(grad_out, i, n, reduction)


def smooth_l1_loss_forward(input, target, out, n, reduction, beta, start, stop):
    if start > 0:
        return
    total = 0.0
    for i in range(n):
        z = abs(input[i] - target[i])
        total = put(out, i, 0.5 * z * z / beta if z < beta else z - 0.5 * beta, total, reduction)
    finish(out, total, n, reduction)


def smooth_l1_loss_backward(input, target, grad_out, grad_input, n, reduction, beta, start, stop):
    for i in range(start, stop):
        d = input[i] - target[i]
        slope = d / beta if abs(d) < beta else sign(d)
        grad_input[i] = slope * upstream(grad_out, i, n, reduction)


def huber_loss_forward(input, target, out, n, reduction, delta, start, stop):
    if start > 0:
        return
    total = 0.0
    for i in range(n):
        z = abs(input[i] - target[i])
        total = put(out, i, 0.5 * z * z if z < delta else delta * (z - 0.5 * delta), total, reduction)
    finish(out, total, n, reduction)


def huber_loss_backward(input, target, grad_out, grad_input, n, reduction, delta, start, stop):
    for i in range(start, stop):
        d = input[i] - target[i]
        slope = -delta if d < -delta else delta if d > delta else d
        grad_input[i] = slope * upstream(grad_out, i, n, reduction)


def binary_cross_entropy_forward(input, target, weight, out, n, reduction, has_weight, start, stop):
    if start > 0:
        return
    total = 0.0
    for i in range(n):
        x, y = input[i], target[i]
        value = -y * floored(np.log(x)) - (1.0 - y) * floored(np.log1p(-x))
        total = put(out, i, value * weight[i] if has_weight else value, total, reduction)
    finish(out, total, n, reduction)


def binary_cross_entropy_backward(input, target, weight, grad_out, grad_input, n, reduction, has_weight, start, stop):
    for i in range(start, stop):
        curvature = input[i] * (1.0 - input[i])
        slope = (input[i] - target[i]) / (1e-12 if curvature < 1e-12 else curvature)
        slope = slope * weight[i] if has_weight else slope
        grad_input[i] = slope * upstream(grad_out, i, n, reduction)


def binary_cross_entropy_backward_target(
    input, target, weight, grad_out, grad_target, n, reduction, has_weight, start, stop
):
    for i in range(start, stop):
        slope = floored(np.log1p(-input[i])) - floored(np.log(input[i]))
        slope = slope * weight[i] if has_weight else slope
        grad_target[i] = slope * upstream(grad_out, i, n, reduction)


def binary_cross_entropy_with_logits_forward(
    input, target, weight, pos_weight, out, n, reduction, has_weight, has_pos_weight, start, stop
):
    if start > 0:
        return
    total = 0.0
    for i in range(n):
        x, y = input[i], target[i]
        factor = 1.0 + (pos_weight[i] - 1.0) * y if has_pos_weight else 1.0
        value = (1.0 - y) * x + factor * softplus(-x)
        total = put(out, i, value * weight[i] if has_weight else value, total, reduction)
    finish(out, total, n, reduction)


def binary_cross_entropy_with_logits_backward(
    input, target, weight, pos_weight, grad_out, grad_input, n, reduction, has_weight, has_pos_weight, start, stop
):
    for i in range(start, stop):
        factor = 1.0 + (pos_weight[i] - 1.0) * target[i] if has_pos_weight else 1.0
        slope = (1.0 - target[i]) - factor * sigmoid(-input[i])
        slope = slope * weight[i] if has_weight else slope
        grad_input[i] = slope * upstream(grad_out, i, n, reduction)


def binary_cross_entropy_with_logits_backward_target(
    input, target, weight, pos_weight, grad_out, grad_target, n, reduction, has_weight, has_pos_weight, start, stop
):
    for i in range(start, stop):
        slope = (pos_weight[i] - 1.0) * softplus(-input[i]) - input[i] if has_pos_weight else -input[i] * 1.0
        slope = slope * weight[i] if has_weight else slope
        grad_target[i] = slope * upstream(grad_out, i, n, reduction)


def kl_div_forward(input, target, out, n, reduction, log_target, start, stop):
    if start > 0:
        return
    total = 0.0
    for i in range(n):
        x, y = input[i], target[i]
        if log_target:
            value = np.exp(y) * (y - x)
        else:
            value = (0.0 if y == 0 else y * np.log(y)) - y * x
        total = put(out, i, value, total, reduction)
    finish(out, total, n, reduction)


def kl_div_backward(input, target, grad_out, grad_input, n, reduction, log_target, start, stop):
    for i in range(start, stop):
        y = np.exp(target[i]) if log_target else target[i]
        grad_input[i] = -y * upstream(grad_out, i, n, reduction)


def kl_div_backward_target(input, target, grad_out, grad_target, n, reduction, log_target, start, stop):
    for i in range(start, stop):
        x, y = input[i], target[i]
        slope = np.exp(y) * (y - x + 1.0) if log_target else np.log(y) + 1.0 - x
        grad_target[i] = slope * upstream(grad_out, i, n, reduction)


# ---- Classes: row o * inner + j of (outer, classes, inner) is x[o, :, j] ----


@inline_njit
def first_of(row, classes, inner):
    return row // inner * classes * inner + row % inner


@inline_njit
def log_sum_exp(x, at, classes, inner):
    m = -np.inf
    for c in range(classes):
        v = x[at + c * inner]
        m = v if v > m or v != v else m
    m = 0.0 if m == -np.inf else m  # inf makes nan, as in torch
    total = 0.0
    for c in range(classes):
        total += np.exp(x[at + c * inner] - m)
    return np.log(total) + m


@inline_njit
def first_bad(target, rows, classes, ignore_index):
    for row in range(rows):
        t = target[row]
        if t != ignore_index and (t < 0 or t >= classes):
            return row
    return -1


def cross_entropy_forward(
    logits, target, weight, lse, out, total, status,
    rows, classes, inner, reduction, ignore_index, has_weight, label_smoothing, start, stop,
):  # fmt: skip
    if start > 0:
        return
    status[0] = first_bad(target, rows, classes, ignore_index)
    if status[0] >= 0:
        return
    losses, weights = 0.0, 0.0
    for row in range(rows):
        at, t = first_of(row, classes, inner), target[row]
        l = log_sum_exp(logits, at, classes, inner)
        lse[row] = l
        value = 0.0
        if t != ignore_index:
            w = weight[t] * 1.0 if has_weight else 1.0
            weights += w
            value = (1.0 - label_smoothing) * w * (l - logits[at + t * inner])
            if label_smoothing > 0:
                for c in range(classes):
                    share = label_smoothing / classes * (weight[c] if has_weight else 1.0)
                    value += share * (l - logits[at + c * inner])
        losses = put(out, row, value, losses, reduction)
    total[0] = weights
    finish(out, losses, weights, reduction)


def cross_entropy_backward(
    logits, target, weight, lse, grad_out, total, grad_logits,
    rows, classes, inner, reduction, ignore_index, has_weight, label_smoothing, start, stop,
):  # fmt: skip
    all_weights = classes * 1.0
    if has_weight:
        all_weights = 0.0
        for c in range(classes):
            all_weights += weight[c]
    for row in range(start, stop):
        at, t = first_of(row, classes, inner), target[row]
        g = upstream(grad_out, row, total[0], reduction)
        w = 0.0
        if t != ignore_index:
            w = (1.0 - label_smoothing) * (weight[t] if has_weight else 1.0)
        for c in range(classes):
            i = at + c * inner
            if t == ignore_index:
                grad_logits[i] = 0.0
                continue
            wanted = label_smoothing / classes * (weight[c] if has_weight else 1.0) + (w if c == t else 0.0)
            p = np.exp(logits[i] - lse[row])
            grad_logits[i] = g * (p * (w + label_smoothing / classes * all_weights) - wanted)


@inline_njit
def wanted_of(target, weight, i, c, classes, has_weight, label_smoothing):
    share = target[i] * (1.0 - label_smoothing) + label_smoothing / classes
    return share * weight[c] if has_weight else share


def cross_entropy_soft_forward(
    logits, target, weight, lse, out,
    rows, classes, inner, reduction, has_weight, label_smoothing, start, stop,
):  # fmt: skip
    if start > 0:
        return
    losses = 0.0
    for row in range(rows):
        at = first_of(row, classes, inner)
        l = log_sum_exp(logits, at, classes, inner)
        lse[row] = l
        value = 0.0
        for c in range(classes):
            i = at + c * inner
            value += wanted_of(target, weight, i, c, classes, has_weight, label_smoothing) * (l - logits[i])
        losses = put(out, row, value, losses, reduction)
    finish(out, losses, rows, reduction)


def cross_entropy_soft_backward(
    logits, target, weight, lse, grad_out, grad_logits,
    rows, classes, inner, reduction, has_weight, label_smoothing, start, stop,
):  # fmt: skip
    for row in range(start, stop):
        at = first_of(row, classes, inner)
        g = upstream(grad_out, row, rows, reduction)
        mass = 0.0
        for c in range(classes):
            mass += wanted_of(target, weight, at + c * inner, c, classes, has_weight, label_smoothing)
        for c in range(classes):
            i = at + c * inner
            wanted = wanted_of(target, weight, i, c, classes, has_weight, label_smoothing)
            grad_logits[i] = g * (np.exp(logits[i] - lse[row]) * mass - wanted)


def nll_loss_forward(
    input, target, weight, out, total, status,
    rows, classes, inner, reduction, ignore_index, has_weight, start, stop,
):  # fmt: skip
    if start > 0:
        return
    status[0] = first_bad(target, rows, classes, ignore_index)
    if status[0] >= 0:
        return
    losses, weights = 0.0, 0.0
    for row in range(rows):
        t = target[row]
        value = 0.0
        if t != ignore_index:
            w = weight[t] * 1.0 if has_weight else 1.0
            weights += w
            value = -w * input[first_of(row, classes, inner) + t * inner]
        losses = put(out, row, value, losses, reduction)
    total[0] = weights
    finish(out, losses, weights, reduction)


def nll_loss_backward(
    target, weight, grad_out, total, grad_input,
    rows, classes, inner, reduction, ignore_index, has_weight, start, stop,
):  # fmt: skip
    for row in range(start, stop):
        at, t = first_of(row, classes, inner), target[row]
        for c in range(classes):
            grad_input[at + c * inner] = 0.0
        if t != ignore_index:
            w = weight[t] * 1.0 if has_weight else 1.0
            grad_input[at + t * inner] = -upstream(grad_out, row, total[0], reduction) * w
