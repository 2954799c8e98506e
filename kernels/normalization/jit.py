"""Numba twins of the normalizations. Where weight gradients cross all work items, the first call does everything."""

import numpy as np

from kernelgrad.kernels.runtime.jit import inline_njit


@inline_njit
def moments(x, at, n):
    mean = 0.0
    for i in range(n):
        mean += x[at + i]
    mean /= n
    var = 0.0
    for i in range(n):
        d = x[at + i] - mean
        var += d * d
    return mean, var / n


def layer_norm_forward(x, weight, bias, out, mean, rstd, rows, n, has_weight, has_bias, eps, start, stop):
    for row in range(start, stop):
        m, var = moments(x, row * n, n)
        r = 1.0 / np.sqrt(var + eps)
        mean[row] = m
        rstd[row] = r
        for i in range(n):
            w = weight[i] if has_weight else 1.0
            b = bias[i] if has_bias else 0.0
            out[row * n + i] = (x[row * n + i] - m) * r * w + b


@inline_njit
def clear(grad, n, wanted):
    if wanted:
        for i in range(n):
            grad[i] = 0.0


def layer_norm_backward(
    x, weight, mean, rstd, grad_out, grad_x, grad_weight, grad_bias, rows, n, has_weight, has_bias, start, stop
):
    if start > 0:
        return
    clear(grad_weight, n, has_weight)
    clear(grad_bias, n, has_bias)
    for row in range(rows):
        m, r = mean[row], rstd[row]
        mean_q, mean_qh = 0.0, 0.0
        for i in range(n):
            g, h = grad_out[row * n + i], (x[row * n + i] - m) * r
            q = g * weight[i] if has_weight else g
            mean_q += q
            mean_qh += q * h
            if has_weight:
                grad_weight[i] += g * h
            if has_bias:
                grad_bias[i] += g
        mean_q /= n
        mean_qh /= n
        for i in range(n):
            g = grad_out[row * n + i]
            q = g * weight[i] if has_weight else g
            grad_x[row * n + i] = r * (q - mean_q - (x[row * n + i] - m) * r * mean_qh)


def rms_norm_forward(x, weight, out, rstd, rows, n, has_weight, eps, start, stop):
    for row in range(start, stop):
        total = 0.0
        for i in range(n):
            total += x[row * n + i] * x[row * n + i]
        r = 1.0 / np.sqrt(total / n + eps)
        rstd[row] = r
        for i in range(n):
            out[row * n + i] = x[row * n + i] * r * (weight[i] if has_weight else 1.0)


def rms_norm_backward(x, weight, rstd, grad_out, grad_x, grad_weight, rows, n, has_weight, start, stop):
    if start > 0:
        return
    clear(grad_weight, n, has_weight)
    for row in range(rows):
        r = rstd[row]
        mean_qh = 0.0
        for i in range(n):
            g, h = grad_out[row * n + i], x[row * n + i] * r
            if has_weight:
                grad_weight[i] += g * h
                g *= weight[i]
            mean_qh += g * h
        mean_qh /= n
        for i in range(n):
            g = grad_out[row * n + i]
            q = g * weight[i] if has_weight else g
            grad_x[row * n + i] = r * (q - x[row * n + i] * r * mean_qh)


@inline_njit
def apply_channel(x, weight, bias, out, mean, rstd, c, channels, outer, inner, has_weight, has_bias):
    scale = rstd[c] * (weight[c] if has_weight else 1.0)
    shift = bias[c] if has_bias else 0.0
    for o in range(outer):
        for i in range((o * channels + c) * inner, (o * channels + c + 1) * inner):
            out[i] = (x[i] - mean[c]) * scale + shift


def batch_norm_forward(
    x, weight, bias, running_mean, running_var, out, mean, rstd,
    channels, outer, inner, has_weight, has_bias, has_running, momentum, eps, start, stop,
):  # fmt: skip
    count = outer * inner
    for c in range(start, stop):
        m, var = 0.0, 0.0
        for o in range(outer):
            for i in range((o * channels + c) * inner, (o * channels + c + 1) * inner):
                m += x[i]
        m /= count
        for o in range(outer):
            for i in range((o * channels + c) * inner, (o * channels + c + 1) * inner):
                var += (x[i] - m) * (x[i] - m)
        var /= count
        mean[c] = m
        rstd[c] = 1.0 / np.sqrt(var + eps)
        if has_running:
            running_mean[c] += momentum * (m - running_mean[c])
            running_var[c] += momentum * (var * (count / (count - 1.0)) - running_var[c])
        apply_channel(x, weight, bias, out, mean, rstd, c, channels, outer, inner, has_weight, has_bias)


def batch_norm_inference(
    x, weight, bias, running_mean, running_var, out, mean, rstd,
    channels, outer, inner, has_weight, has_bias, eps, start, stop,
):  # fmt: skip
    for c in range(start, stop):
        mean[c] = running_mean[c]
        rstd[c] = 1.0 / np.sqrt(running_var[c] + eps)
        apply_channel(x, weight, bias, out, mean, rstd, c, channels, outer, inner, has_weight, has_bias)


@inline_njit
def channel_sums(x, mean, rstd, grad_out, grad_weight, grad_bias, c, channels, outer, inner, has_weight, has_bias):
    total, dot = 0.0, 0.0
    for o in range(outer):
        for i in range((o * channels + c) * inner, (o * channels + c + 1) * inner):
            total += grad_out[i]
            dot += grad_out[i] * (x[i] - mean[c]) * rstd[c]
    if has_weight:
        grad_weight[c] = dot
    if has_bias:
        grad_bias[c] = total
    return total, dot


def batch_norm_backward(
    x, weight, mean, rstd, grad_out, grad_x, grad_weight, grad_bias,
    channels, outer, inner, has_weight, has_bias, start, stop,
):  # fmt: skip
    for c in range(start, stop):
        total, dot = channel_sums(
            x, mean, rstd, grad_out, grad_weight, grad_bias, c, channels, outer, inner, has_weight, has_bias
        )
        count = outer * inner
        scale = rstd[c] * (weight[c] if has_weight else 1.0)
        for o in range(outer):
            for i in range((o * channels + c) * inner, (o * channels + c + 1) * inner):
                h = (x[i] - mean[c]) * rstd[c]
                grad_x[i] = scale * (grad_out[i] - total / count - h * (dot / count))


def batch_norm_inference_backward(
    x, weight, mean, rstd, grad_out, grad_x, grad_weight, grad_bias,
    channels, outer, inner, has_weight, has_bias, start, stop,
):  # fmt: skip
    for c in range(start, stop):
        channel_sums(x, mean, rstd, grad_out, grad_weight, grad_bias, c, channels, outer, inner, has_weight, has_bias)
        scale = rstd[c] * (weight[c] if has_weight else 1.0)
        for o in range(outer):
            for i in range((o * channels + c) * inner, (o * channels + c + 1) * inner):
                grad_x[i] = scale * grad_out[i]


def group_norm_forward(
    x, weight, bias, out, mean, rstd, rows, groups, group_channels, inner, has_weight, has_bias, eps, start, stop
):
    n = group_channels * inner
    for row in range(start, stop):
        m, var = moments(x, row * n, n)
        r = 1.0 / np.sqrt(var + eps)
        mean[row] = m
        rstd[row] = r
        for c in range(group_channels):
            channel = row % groups * group_channels + c
            scale = r * (weight[channel] if has_weight else 1.0)
            shift = bias[channel] if has_bias else 0.0
            for i in range(row * n + c * inner, row * n + (c + 1) * inner):
                out[i] = (x[i] - m) * scale + shift


def group_norm_backward(
    x, weight, mean, rstd, grad_out, grad_x, grad_weight, grad_bias,
    rows, groups, group_channels, inner, has_weight, has_bias, start, stop,
):  # fmt: skip
    if start > 0:
        return
    n = group_channels * inner
    clear(grad_weight, groups * group_channels, has_weight)
    clear(grad_bias, groups * group_channels, has_bias)
    for row in range(rows):
        m, r = mean[row], rstd[row]
        mean_q, mean_qh = 0.0, 0.0
        for c in range(group_channels):
            channel = row % groups * group_channels + c
            total, dot = 0.0, 0.0
            for i in range(row * n + c * inner, row * n + (c + 1) * inner):
                total += grad_out[i]
                dot += grad_out[i] * (x[i] - m) * r
            w = weight[channel] if has_weight else 1.0
            mean_q += w * total
            mean_qh += w * dot
            if has_weight:
                grad_weight[channel] += dot
            if has_bias:
                grad_bias[channel] += total
        mean_q /= n
        mean_qh /= n
        for c in range(group_channels):
            w = weight[row % groups * group_channels + c] if has_weight else 1.0
            for i in range(row * n + c * inner, row * n + (c + 1) * inner):
                grad_x[i] = r * (grad_out[i] * w - mean_q - (x[i] - m) * r * mean_qh)


def group_norm_nhwc_forward(
    x, weight, bias, out, mean, rstd, images, groups, group_channels, inner, has_weight, has_bias, eps, start, stop
):
    channels = groups * group_channels
    for image in range(start, stop):
        for group in range(groups):
            first, count = image * inner * channels + group * group_channels, group_channels * inner
            m, var = 0.0, 0.0
            for i in range(inner):
                for c in range(group_channels):
                    m += x[first + i * channels + c]
            m /= count
            for i in range(inner):
                for c in range(group_channels):
                    d = x[first + i * channels + c] - m
                    var += d * d
            r = 1.0 / np.sqrt(var / count + eps)
            mean[image * groups + group] = m
            rstd[image * groups + group] = r
            for c in range(group_channels):
                scale = r * (weight[group * group_channels + c] if has_weight else 1.0)
                shift = bias[group * group_channels + c] if has_bias else 0.0
                for i in range(inner):
                    at = first + i * channels + c
                    out[at] = (x[at] - m) * scale + shift


def group_norm_nhwc_backward(
    x, weight, mean, rstd, grad_out, grad_x, grad_weight, grad_bias,
    images, groups, group_channels, inner, has_weight, has_bias, start, stop,
):  # fmt: skip
    if start > 0:
        return
    channels = groups * group_channels
    clear(grad_weight, channels, has_weight)
    clear(grad_bias, channels, has_bias)
    for image in range(images):
        for group in range(groups):
            first, count = image * inner * channels + group * group_channels, group_channels * inner
            m, r = mean[image * groups + group], rstd[image * groups + group]
            mean_q, mean_qh = 0.0, 0.0
            for c in range(group_channels):
                total, dot = 0.0, 0.0
                for i in range(inner):
                    at = first + i * channels + c
                    total += grad_out[at]
                    dot += grad_out[at] * (x[at] - m) * r
                w = weight[group * group_channels + c] if has_weight else 1.0
                mean_q += w * total
                mean_qh += w * dot
                if has_weight:
                    grad_weight[group * group_channels + c] += dot
                if has_bias:
                    grad_bias[group * group_channels + c] += total
            mean_q /= count
            mean_qh /= count
            for c in range(group_channels):
                w = weight[group * group_channels + c] if has_weight else 1.0
                for i in range(inner):
                    at = first + i * channels + c
                    grad_x[at] = r * (grad_out[at] * w - mean_q - (x[at] - m) * r * mean_qh)
