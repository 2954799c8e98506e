"""Normalizations in plain NumPy. rstd is 1 / sqrt(variance + eps), variance divided by the count (not count - 1).

layer_norm and rms_norm see (rows, n); batch_norm (outer, channels, inner), which is (N, C, H W) of contiguous memory,
(N H W, C, 1) of channels-last memory; group_norm (N, groups, channels of a group, inner), group_norm_nhwc (N, inner,
groups, channels of a group).
The has_* sizes say which of weight, bias (running statistics) are there; the others are None.
"""

import numpy as np


def layer_norm_forward(x, weight, bias, out, mean, rstd, rows, n, has_weight, has_bias, eps):
    mean[...] = x.mean(1) if n else 0
    rstd[...] = 1 / np.sqrt(x.var(1) + eps) if n else 0
    y = (x - mean[:, None]) * rstd[:, None]
    y = y if weight is None else y * weight
    out[...] = y if bias is None else y + bias


def layer_norm_backward(x, weight, mean, rstd, grad_out, grad_x, grad_weight, grad_bias, rows, n, has_weight, has_bias):
    normal = (x - mean[:, None]) * rstd[:, None]
    g = grad_out if weight is None else grad_out * weight
    if n:
        projected = g - g.mean(1, keepdims=True) - normal * (g * normal).mean(1, keepdims=True)
        grad_x[...] = projected * rstd[:, None]
    if grad_weight is not None:
        grad_weight[...] = (grad_out * normal).sum(0)
    if grad_bias is not None:
        grad_bias[...] = grad_out.sum(0)


def rms_norm_forward(x, weight, out, rstd, rows, n, has_weight, eps):
    rstd[...] = 1 / np.sqrt(np.square(x).mean(1) + eps) if n else 0
    y = x * rstd[:, None]
    out[...] = y if weight is None else y * weight


def rms_norm_backward(x, weight, rstd, grad_out, grad_x, grad_weight, rows, n, has_weight):
    normal = x * rstd[:, None]
    g = grad_out if weight is None else grad_out * weight
    if n:
        grad_x[...] = (g - normal * (g * normal).mean(1, keepdims=True)) * rstd[:, None]
    if grad_weight is not None:
        grad_weight[...] = (grad_out * normal).sum(0)


def affine(x, weight, bias, mean, rstd):
    y = (x - mean[:, None]) * rstd[:, None]
    y = y if weight is None else y * weight[:, None]
    return y if bias is None else y + bias[:, None]


def batch_norm_forward(
    x, weight, bias, running_mean, running_var, out, mean, rstd,
    channels, outer, inner, has_weight, has_bias, has_running, momentum, eps,
):  # fmt: skip
    count = outer * inner
    var = x.var((0, 2))
    mean[...] = x.mean((0, 2))
    rstd[...] = 1 / np.sqrt(var + eps)
    out[...] = affine(x, weight, bias, mean, rstd)
    if running_mean is not None:
        running_mean += momentum * (mean - running_mean)
        running_var += momentum * (var * (count / np.float64(count - 1)) - running_var)


def batch_norm_backward(
    x, weight, mean, rstd, grad_out, grad_x, grad_weight, grad_bias,
    channels, outer, inner, has_weight, has_bias,
):  # fmt: skip
    normal = (x - mean[:, None]) * rstd[:, None]
    scale = rstd if weight is None else rstd * weight
    mean_grad = grad_out.mean((0, 2))[:, None]
    mean_projection = (grad_out * normal).mean((0, 2))[:, None]
    grad_x[...] = (grad_out - mean_grad - normal * mean_projection) * scale[:, None]
    if grad_weight is not None:
        grad_weight[...] = (grad_out * normal).sum((0, 2))
    if grad_bias is not None:
        grad_bias[...] = grad_out.sum((0, 2))


def batch_norm_relu_forward(x, weight, bias, running_mean, running_var, out, *rest):
    batch_norm_forward(x, weight, bias, running_mean, running_var, out, *rest)
    np.maximum(out, 0, out=out)


def batch_norm_relu_backward(x, weight, mean, rstd, grad_out, grad_x, grad_weight, grad_bias, bias, *sizes):
    y = affine(x, weight, bias, mean, rstd)
    grad_y = np.where(y <= 0, 0, grad_out)
    batch_norm_backward(x, weight, mean, rstd, grad_y, grad_x, grad_weight, grad_bias, *sizes)


def batch_norm_inference(
    x, weight, bias, running_mean, running_var, out, mean, rstd, channels, outer, inner, has_weight, has_bias, eps
):
    mean[...] = running_mean
    rstd[...] = 1 / np.sqrt(running_var + eps)
    out[...] = affine(x, weight, bias, mean, rstd)


def batch_norm_inference_backward(
    x, weight, mean, rstd, grad_out, grad_x, grad_weight, grad_bias,
    channels, outer, inner, has_weight, has_bias,
):  # fmt: skip
    # The statistics are constants here: only the scale is left in the slope.
    normal = (x - mean[:, None]) * rstd[:, None]
    scale = rstd if weight is None else rstd * weight
    grad_x[...] = grad_out * scale[:, None]
    if grad_weight is not None:
        grad_weight[...] = (grad_out * normal).sum((0, 2))
    if grad_bias is not None:
        grad_bias[...] = grad_out.sum((0, 2))


def per_channel(weight, groups, group_channels):
    return weight.reshape(groups, group_channels, 1)


def group_norm_forward(
    x, weight, bias, out, mean, rstd, rows, groups, group_channels, inner, has_weight, has_bias, eps
):
    mean[...] = x.mean((2, 3))
    rstd[...] = 1 / np.sqrt(x.var((2, 3)) + eps)
    y = (x - mean[:, :, None, None]) * rstd[:, :, None, None]
    y = y if weight is None else y * per_channel(weight, groups, group_channels)
    out[...] = y if bias is None else y + per_channel(bias, groups, group_channels)


def group_norm_backward(
    x, weight, mean, rstd, grad_out, grad_x, grad_weight, grad_bias,
    rows, groups, group_channels, inner, has_weight, has_bias,
):  # fmt: skip
    normal = (x - mean[:, :, None, None]) * rstd[:, :, None, None]
    g = grad_out if weight is None else grad_out * per_channel(weight, groups, group_channels)
    mean_grad = g.mean((2, 3), keepdims=True)
    mean_projection = (g * normal).mean((2, 3), keepdims=True)
    grad_x[...] = (g - mean_grad - normal * mean_projection) * rstd[:, :, None, None]
    if grad_weight is not None:
        grad_weight[...] = (grad_out * normal).sum((0, 3)).reshape(-1)
    if grad_bias is not None:
        grad_bias[...] = grad_out.sum((0, 3)).reshape(-1)


def group_norm_nhwc_forward(
    x, weight, bias, out, mean, rstd, images, groups, group_channels, inner, has_weight, has_bias, eps
):
    sizes = images * groups, groups, group_channels, inner, has_weight, has_bias
    group_norm_forward(x.transpose(0, 2, 3, 1), weight, bias, out.transpose(0, 2, 3, 1), mean, rstd, *sizes, eps)


def group_norm_nhwc_backward(
    x, weight, mean, rstd, grad_out, grad_x, grad_weight, grad_bias,
    images, groups, group_channels, inner, has_weight, has_bias,
):  # fmt: skip
    group_norm_backward(
        x.transpose(0, 2, 3, 1), weight, mean, rstd, grad_out.transpose(0, 2, 3, 1), grad_x.transpose(0, 2, 3, 1),
        grad_weight, grad_bias, images * groups, groups, group_channels, inner, has_weight, has_bias,
    )  # fmt: skip
