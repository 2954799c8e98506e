"""Losses in plain NumPy. reduction is 0 none, 1 mean, 2 sum, as in torch; `out` holds all losses or one number.

Pointwise losses see flat arrays of n. Class losses see logits (outer, classes, inner) and one loss for each of the
rows = outer * inner positions. `status` takes the position of the first target that is no class, or -1.
"""

import numpy as np

NONE, MEAN, SUM = 0, 1, 2


def reduce(losses, out, reduction, count):
    out[...] = losses if reduction == NONE else losses.sum() / (np.float64(count) if reduction == MEAN else 1)


def upstream(grad_out, reduction, count):
    """The gradient of each single loss: an array for none, one number for mean and sum."""
    if reduction == NONE:
        return grad_out
    return grad_out.reshape(()) / (np.float64(count) if reduction == MEAN else 1)


def mse_loss_forward(input, target, out, n, reduction):
    reduce(np.square(input - target), out, reduction, n)


def mse_loss_backward(input, target, grad_out, grad_input, n, reduction):
    grad_input[...] = 2 * (input - target) * upstream(grad_out, reduction, n)


def l1_loss_forward(input, target, out, n, reduction):
    reduce(np.abs(input - target), out, reduction, n)


def l1_loss_backward(input, target, grad_out, grad_input, n, reduction):
    grad_input[...] = np.sign(input - target) * upstream(grad_out, reduction, n)


def smooth_l1_loss_forward(input, target, out, n, reduction, beta):
    z = np.abs(input - target)
    reduce(np.where(z < beta, 0.5 * z * z / np.float64(beta), z - 0.5 * beta), out, reduction, n)


def smooth_l1_loss_backward(input, target, grad_out, grad_input, n, reduction, beta):
    d = input - target
    slope = np.where(np.abs(d) < beta, d / np.float64(beta), np.sign(d))
    grad_input[...] = slope * upstream(grad_out, reduction, n)


def huber_loss_forward(input, target, out, n, reduction, delta):
    z = np.abs(input - target)
    reduce(np.where(z < delta, 0.5 * z * z, delta * (z - 0.5 * delta)), out, reduction, n)


def huber_loss_backward(input, target, grad_out, grad_input, n, reduction, delta):
    d = input - target
    grad_input[...] = np.clip(d, -delta, delta) * upstream(grad_out, reduction, n)


def binary_cross_entropy_forward(input, target, weight, out, n, reduction, has_weight):
    loss = -target * np.maximum(np.log(input), -100) - (1 - target) * np.maximum(np.log1p(-input), -100)
    reduce(loss if weight is None else loss * weight, out, reduction, n)


def binary_cross_entropy_backward(input, target, weight, grad_out, grad_input, n, reduction, has_weight):
    slope = (input - target) / np.maximum(input * (1 - input), 1e-12)  # the floor that torch has
    grad_input[...] = (slope if weight is None else slope * weight) * upstream(grad_out, reduction, n)


def binary_cross_entropy_backward_target(input, target, weight, grad_out, grad_target, n, reduction, has_weight):
    slope = np.maximum(np.log1p(-input), -100) - np.maximum(np.log(input), -100)
    grad_target[...] = (slope if weight is None else slope * weight) * upstream(grad_out, reduction, n)


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def sigmoid(x):
    return np.exp(-softplus(-x))


def binary_cross_entropy_with_logits_forward(
    input, target, weight, pos_weight, out, n, reduction, has_weight, has_pos_weight
):
    factor = 1 if pos_weight is None else 1 + (pos_weight - 1) * target
    loss = (1 - target) * input + factor * softplus(-input)
    reduce(loss if weight is None else loss * weight, out, reduction, n)


def binary_cross_entropy_with_logits_backward(
    input, target, weight, pos_weight, grad_out, grad_input, n, reduction, has_weight, has_pos_weight
):
    factor = 1 if pos_weight is None else 1 + (pos_weight - 1) * target
    slope = (1 - target) - factor * sigmoid(-input)
    grad_input[...] = (slope if weight is None else slope * weight) * upstream(grad_out, reduction, n)


def binary_cross_entropy_with_logits_backward_target(
    input, target, weight, pos_weight, grad_out, grad_target, n, reduction, has_weight, has_pos_weight
):
    slope = -input if pos_weight is None else (pos_weight - 1) * softplus(-input) - input
    grad_target[...] = (slope if weight is None else slope * weight) * upstream(grad_out, reduction, n)


def kl_div_forward(input, target, out, n, reduction, log_target):
    if log_target:
        loss = np.exp(target) * (target - input)
    else:
        loss = np.where(target == 0, 0, target * np.log(target)) - target * input
    reduce(loss, out, reduction, n)


def kl_div_backward(input, target, grad_out, grad_input, n, reduction, log_target):
    grad_input[...] = -(np.exp(target) if log_target else target) * upstream(grad_out, reduction, n)


def kl_div_backward_target(input, target, grad_out, grad_target, n, reduction, log_target):
    slope = np.exp(target) * (target - input + 1) if log_target else np.log(target) + 1 - input
    grad_target[...] = slope * upstream(grad_out, reduction, n)


def class_mask(target, classes, ignore_index, status):
    """(positions that count, class of each), and the first target outside [0, classes) into status."""
    counts = target != ignore_index
    bad = np.flatnonzero(counts & ((target < 0) | (target >= classes)))
    status[...] = bad[0] if len(bad) else -1
    return counts, np.clip(np.where(counts, target, 0), 0, max(classes - 1, 0))


def log_sum_exp(logits):
    largest = logits.max(1)
    shift = np.where(largest == -np.inf, 0, largest)  # inf makes nan, as in torch
    return np.log(np.exp(logits - shift[:, None]).sum(1)) + shift


def cross_entropy_forward(
    logits, target, weight, lse, out, total, status,
    rows, classes, inner, reduction, ignore_index, has_weight, label_smoothing,
):  # fmt: skip
    counts, label = class_mask(target, classes, ignore_index, status)
    lse[...] = log_sum_exp(logits)
    w = np.ones(classes, logits.dtype) if weight is None else weight
    surprise = lse[:, None] - logits
    loss = (1 - label_smoothing) * w[label] * np.take_along_axis(surprise, label[:, None], 1)[:, 0]
    if label_smoothing:
        loss = loss + label_smoothing / classes * (surprise * w[:, None]).sum(1)
    total[...] = (w[label] * counts).sum()
    reduce(np.where(counts, loss, 0), out, reduction, total)


def cross_entropy_backward(
    logits, target, weight, lse, grad_out, total, grad_logits,
    rows, classes, inner, reduction, ignore_index, has_weight, label_smoothing,
):  # fmt: skip
    counts, label = class_mask(target, classes, ignore_index, np.empty(1, np.int64))
    w = np.ones(classes, logits.dtype) if weight is None else weight
    chosen = (np.arange(classes)[:, None] == label[:, None]) * ((1 - label_smoothing) * w[label])[:, None]
    wanted = chosen + label_smoothing / classes * w[:, None]
    slope = np.exp(logits - lse[:, None]) * wanted.sum(1)[:, None] - wanted
    g = np.broadcast_to(upstream(grad_out, reduction, total), counts.shape)
    grad_logits[...] = np.where(counts[:, None], slope * g[:, None], 0)


def cross_entropy_soft_forward(
    logits, target, weight, lse, out, rows, classes, inner, reduction, has_weight, label_smoothing
):
    lse[...] = log_sum_exp(logits)
    wanted = target * (1 - label_smoothing) + label_smoothing / np.float64(classes)
    if weight is not None:
        wanted = wanted * weight[:, None]
    reduce((wanted * (lse[:, None] - logits)).sum(1), out, reduction, rows)


def cross_entropy_soft_backward(
    logits, target, weight, lse, grad_out, grad_logits, rows, classes, inner, reduction, has_weight, label_smoothing
):
    wanted = target * (1 - label_smoothing) + label_smoothing / np.float64(classes)
    if weight is not None:
        wanted = wanted * weight[:, None]
    slope = np.exp(logits - lse[:, None]) * wanted.sum(1)[:, None] - wanted
    g = np.broadcast_to(upstream(grad_out, reduction, rows), lse.shape)
    grad_logits[...] = slope * g[:, None]


def nll_loss_forward(
    input, target, weight, out, total, status, rows, classes, inner, reduction, ignore_index, has_weight
):
    counts, label = class_mask(target, classes, ignore_index, status)
    w = np.ones(classes, input.dtype) if weight is None else weight
    loss = -np.take_along_axis(input, label[:, None], 1)[:, 0] * w[label]
    total[...] = (w[label] * counts).sum()
    reduce(np.where(counts, loss, 0), out, reduction, total)


def nll_loss_backward(
    target, weight, grad_out, total, grad_input, rows, classes, inner, reduction, ignore_index, has_weight
):
    counts, label = class_mask(target, classes, ignore_index, np.empty(1, np.int64))
    w = np.ones(classes, grad_input.dtype) if weight is None else weight
    slope = np.where(counts, -w[label] * upstream(grad_out, reduction, total), 0)
    grad_input[...] = 0
    np.put_along_axis(grad_input, label[:, None], slope[:, None], axis=1)
