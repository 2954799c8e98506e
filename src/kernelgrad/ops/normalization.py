"""Normalizations: layer, RMS, batch, group and instance norm. Backward keeps x, mean and 1 / sqrt(var + eps).

The functions here check and convert arguments; core/norms.pyx runs, and calls them for what it does not take itself.
"""

import math

import numpy as np

from kernelgrad.core import bfloat16, copy_, float32, no_grad, to_dtype
from kernelgrad.core.norms import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from kernelgrad.ops.activations import relu
from kernelgrad.ops.layouts import check_tensor

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm"]


def check_floating(name, x):
    check_tensor(name, x)
    if not x.dtype.is_floating_point:
        raise RuntimeError(f"{name}: expected a floating-point input, got {x.dtype}; convert with .float()")


def check_like(name, x, shape, **parameters):
    """Parameters have the shape the op expects, and the input's dtype."""
    for label, p in parameters.items():
        if p is None:
            continue
        check_tensor(name, p, label)
        if p.shape != shape:
            raise RuntimeError(f"{name}: expected {label} to have shape {tuple(shape)}, got {tuple(p.shape)}")
        if p.dtype is not x.dtype and x.dtype is not bfloat16:
            raise RuntimeError(
                f"{name}: expected {label} to have the input's dtype {x.dtype}, got {p.dtype}; convert one of them"
            )


def through_float32(op, x, *parameters):
    """bfloat16 stores; arithmetic is float32."""
    wide = [None if p is None else to_dtype(p, float32) for p in (x, *parameters)]
    return to_dtype(op(*wide), bfloat16)


def _normalized(name, input, normalized_shape, **parameters):
    check_floating(name, input)
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape:
        raise RuntimeError(
            f"{name}: Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element"
        )
    check_like(name, input, shape, **parameters)
    if input.ndim < len(shape) or tuple(input.shape[input.ndim - len(shape) :]) != shape:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, {', '.join(map(str, shape))}], "
            f"but got input of size{list(input.shape)}"
        )
    return shape


def _layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over the last dimensions, var divided by their size.

    Parameters
    ----------
    input : Tensor of shape (*, normalized_shape), of a floating dtype
    normalized_shape : int or sequence of ints, the trailing dimensions
    weight, bias : Tensor of shape normalized_shape, or None

    Returns
    -------
    A new contiguous Tensor. Backward keeps the input, the weight, and mean and 1 / sqrt(var + eps) of each row.

    Raises
    ------
    RuntimeError
        If shapes or dtypes do not match.

    References
    ----------
    Ba, Kiros & Hinton (2016), https://arxiv.org/abs/1607.06450
    """
    shape = _normalized("layer_norm", input, normalized_shape, weight=weight, bias=bias)
    if input.dtype is bfloat16:
        return through_float32(lambda x, w, b: layer_norm.run(x, w, b, len(shape), eps), input, weight, bias)
    return layer_norm.run(input, weight, bias, len(shape), eps)


layer_norm = LayerNorm("layer_norm", True, _layer_norm)


def _rms_norm(input, normalized_shape, weight=None, eps=None):
    """``x / sqrt(mean(x^2) + eps) * weight`` over the last dimensions; eps None is the dtype's spacing at 1.

    Shapes, errors and what backward keeps are as for `layer_norm`. Zhang & Sennrich (2019), https://arxiv.org/abs/1910.07467
    """
    shape = _normalized("rms_norm", input, normalized_shape, weight=weight)
    if eps is None:
        eps = float(np.finfo(input.dtype.numpy).eps) if input.dtype is not bfloat16 else 2.0**-7
    if input.dtype is bfloat16:
        return through_float32(lambda x, w: rms_norm.run(x, w, None, len(shape), eps), input, weight)
    return rms_norm.run(input, weight, None, len(shape), eps)


rms_norm = RMSNorm("rms_norm", False, _rms_norm)


def _batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` by channel (dimension 1).

    Parameters
    ----------
    input : Tensor of shape (N, C) or (N, C, *); NHWC memory stays NHWC
    running_mean, running_var : Tensor of shape (C,); None only with training=True, when they become
        ``(1 - momentum) running + momentum batch`` in place, the variance by the unbiased one
    weight, bias : Tensor of shape (C,) or None
    training : use the statistics of the batch, else the running ones

    Returns
    -------
    A new Tensor of the input's shape and layout. Backward keeps the input, the weight, and mean and
    1 / sqrt(var + eps) of each channel.

    Raises
    ------
    ValueError
        With training=True and one value per channel.
    RuntimeError
        If shapes or dtypes do not match, or running statistics are missing.

    References
    ----------
    Ioffe & Szegedy (2015), https://arxiv.org/abs/1502.03167
    """
    check_floating("batch_norm", input)
    if input.ndim < 2:
        raise RuntimeError(f"batch_norm: expected an input of shape (N, C) or (N, C, *), got {tuple(input.shape)}")
    channels = input.shape[1]
    if training and input.numel() == channels:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(input.shape)}")
    if not training and (running_mean is None or running_var is None):
        raise RuntimeError("batch_norm: expected running_mean and running_var to be defined when training=False")
    check_like(
        "batch_norm", input, (channels,), running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    if input.dtype is bfloat16:
        if running_mean is not None and running_mean.dtype is not float32:
            raise NotImplementedError("batch_norm: bfloat16 inputs need float32 running statistics")
        return through_float32(
            lambda x, w, b: batch_norm.run(x, running_mean, running_var, w, b, bool(training), momentum, eps),
            input,
            weight,
            bias,
        )
    return batch_norm.run(input, running_mean, running_var, weight, bias, bool(training), momentum, eps)


batch_norm = BatchNorm(_batch_norm)


def batch_norm_relu(input, running_mean, running_var, weight, bias, training, momentum, eps):
    """``relu(batch_norm(...))``, for float32 in training as one kernel to the same bits.

    That keeps what `batch_norm` keeps and a copy of the bias; the sign of the result is found again from them.
    """
    parameters = running_mean, running_var, weight, bias
    if training and input.dtype is float32 and batch_norm.takes(input, *parameters, True):
        return batch_norm.run(input, *parameters, True, momentum, eps, True)
    return relu(batch_norm(input, *parameters, training, momentum, eps))


def _group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    """Layer norm over each of `num_groups` groups of channels of an (N, C, *) input, scale and shift by channel.

    Backward keeps the input, the weight, and mean and 1 / sqrt(var + eps) of each group. Wu & He (2018),
    https://arxiv.org/abs/1803.08494

    Raises
    ------
    RuntimeError
        If C is not divisible by num_groups, or shapes or dtypes do not match.
    """
    check_floating("group_norm", input)
    if input.ndim < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.ndim}")
    channels = input.shape[1]
    if num_groups <= 0 or channels % num_groups:
        raise RuntimeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}"
        )
    if input.numel() == num_groups:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(input.shape)}")
    check_like("group_norm", input, (channels,), weight=weight, bias=bias)
    if input.dtype is bfloat16:
        return through_float32(lambda x, w, b: group_norm.run(x, num_groups, w, b, eps), input, weight, bias)
    return group_norm.run(input, num_groups, weight, bias, eps)


group_norm = GroupNorm(_group_norm)


def instance_norm(
    input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5
):
    """Group norm with a group for each channel; with use_input_stats=False, batch norm over the running statistics.

    Running statistics that are given with True move, in place, towards the mean over the batch of each instance's.

    Raises
    ------
    ValueError
        If there is one value per channel and use_input_stats.
    RuntimeError
        If shapes or dtypes do not match, or running statistics are missing.
    """
    check_floating("instance_norm", input)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false")
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    size = math.prod(input.shape[2:])
    if size == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {tuple(input.shape)}")
    check_like("instance_norm", input, (input.shape[1],), running_mean=running_mean, running_var=running_var)
    if running_mean is not None:
        from kernelgrad.ops.elementwise import add, mul
        from kernelgrad.ops.reduction import mean, var_mean

        with no_grad():
            var, center = var_mean(input, tuple(range(2, input.ndim)))
            for running, batch in ((running_mean, mean(center, 0)), (running_var, mean(var, 0))):
                copy_(running, add(mul(running, 1 - momentum), mul(batch, momentum)))
    return group_norm(input, input.shape[1], weight, bias, eps)
