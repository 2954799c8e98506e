"""Normalizations: layer, RMS, batch, group and instance norm. Backward keeps x, mean and 1 / sqrt(var + eps)."""

import math

import numpy as np

from kernelgrad.core import (
    Function,
    bfloat16,
    bump_version,
    channels_last,
    contiguous,
    copy_,
    empty,
    empty_like,
    float32,
    kernel,
    no_grad,
    to_dtype,
)
from kernelgrad.ops.layouts import as_block, as_flat, check_tensor, viewed

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm"]

layer_norm_forward, layer_norm_backward = kernel("layer_norm_forward"), kernel("layer_norm_backward")
rms_norm_forward, rms_norm_backward = kernel("rms_norm_forward"), kernel("rms_norm_backward")
batch_norm_forward, batch_norm_backward = kernel("batch_norm_forward"), kernel("batch_norm_backward")
batch_norm_inference = kernel("batch_norm_inference")
batch_norm_inference_backward = kernel("batch_norm_inference_backward")
group_norm_forward, group_norm_backward = kernel("group_norm_forward"), kernel("group_norm_backward")


def parameter(p):
    """A weight or bias as the kernels take it: flat and without gaps; None stays None."""
    if p is None or (p.ndim == 1 and p.is_contiguous()):
        return p
    return as_flat(contiguous(p))


def shape_of(p):
    return None if p is None else p.shape


def new_gradients(*parameters):
    return [None if p is None else empty_like(p) for p in parameters]


def shaped(grad, p):
    return None if grad is None or p is None else viewed(grad, p)


class LayerNorm(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, shape, eps):
        x = contiguous(x)
        n = math.prod(shape)
        rows = math.prod(x.shape[: x.ndim - len(shape)])
        ctx.shapes = shape_of(weight), shape_of(bias)
        weight, bias = parameter(weight), parameter(bias)
        out = empty_like(x)
        mean, rstd = empty((rows,), x.dtype, x.device), empty((rows,), x.dtype, x.device)
        ctx.sizes = (rows, n, weight is not None, bias is not None)
        arrays = (viewed(x, (rows, n)), weight, bias, viewed(out, (rows, n)), mean, rstd)
        layer_norm_forward(arrays, ctx.sizes, (eps,))
        ctx.save_for_backward(x, weight, mean, rstd)
        return out

    @staticmethod
    def backward(ctx, grad_out):
        x, weight, mean, rstd = ctx.saved_tensors
        rows, n, _, has_bias = ctx.sizes
        grad_x, block = empty_like(x), (rows, n)
        grad_weight, grad_bias = new_gradients(weight, empty((n,), x.dtype, x.device) if has_bias else None)
        layer_norm_backward(
            (
                viewed(x, block), weight, mean, rstd, viewed(contiguous(grad_out), block),
                viewed(grad_x, block), grad_weight, grad_bias,
            ),
            ctx.sizes,
        )  # fmt: skip
        return grad_x, shaped(grad_weight, ctx.shapes[0]), shaped(grad_bias, ctx.shapes[1]), None, None


class RMSNorm(Function):
    @staticmethod
    def forward(ctx, x, weight, shape, eps):
        x = contiguous(x)
        n = math.prod(shape)
        rows = math.prod(x.shape[: x.ndim - len(shape)])
        ctx.shape = shape_of(weight)
        weight = parameter(weight)
        out, rstd = empty_like(x), empty((rows,), x.dtype, x.device)
        ctx.sizes = (rows, n, weight is not None)
        rms_norm_forward((viewed(x, (rows, n)), weight, viewed(out, (rows, n)), rstd), ctx.sizes, (eps,))
        ctx.save_for_backward(x, weight, rstd)
        return out

    @staticmethod
    def backward(ctx, grad_out):
        x, weight, rstd = ctx.saved_tensors
        block, grad_x = ctx.sizes[:2], empty_like(x)
        (grad_weight,) = new_gradients(weight)
        arrays = (
            viewed(x, block),
            weight,
            rstd,
            viewed(contiguous(grad_out), block),
            viewed(grad_x, block),
            grad_weight,
        )
        rms_norm_backward(arrays, ctx.sizes)
        return grad_x, shaped(grad_weight, ctx.shape), None, None


def channel_block(x):
    """(x as kernels take it, its (outer, channels, inner)): NHWC memory is (N H W, C, 1), else (N, C, H W)."""
    channels = x.shape[1]
    rows = x.numel() // channels if channels else 0
    if x.is_channels_last() or x.ndim == 2:
        x = x if x.is_channels_last() else contiguous(x)
        return x, (rows, channels, 1)
    x = contiguous(x)
    return x, (x.shape[0], channels, rows // x.shape[0] if x.shape[0] else 0)


def as_channels(grad, x):
    return channels_last(grad) if x.is_channels_last() else contiguous(grad)


class BatchNorm(Function):
    """With training=True over the batch's statistics, towards which the running ones are moved in place; else over the
    running statistics, which are constants."""

    @staticmethod
    def forward(ctx, x, weight, bias, running_mean, running_var, training, momentum, eps):
        x, block = channel_block(x)
        outer, channels, inner = block
        weight, bias = parameter(weight), parameter(bias)
        out = empty_like(x)
        mean, rstd = empty((channels,), x.dtype, x.device), empty((channels,), x.dtype, x.device)
        sizes = (channels, outer, inner, weight is not None, bias is not None)
        statistics = [parameter(running_mean), parameter(running_var)]
        arrays = (as_block(x, *block), weight, bias, *statistics, as_block(out, *block), mean, rstd)
        if training:
            batch_norm_forward(arrays, (*sizes, running_mean is not None), (momentum, eps))
            for running, changed in zip((running_mean, running_var), statistics, strict=True):
                if running is not changed:
                    copy_(running, changed)  # it lies with gaps: the kernel had a copy
                elif running is not None:
                    bump_version(running)
        else:
            batch_norm_inference(arrays, sizes, (eps,))
        ctx.save_for_backward(x, weight, mean, rstd)
        ctx.block, ctx.sizes, ctx.training = block, sizes, training
        return out

    @staticmethod
    def backward(ctx, grad_out):
        x, weight, mean, rstd = ctx.saved_tensors
        grad_out, grad_x, block = as_channels(grad_out, x), empty_like(x), ctx.block
        grad_weight, grad_bias = new_gradients(weight, mean if ctx.sizes[4] else None)
        run = batch_norm_backward if ctx.training else batch_norm_inference_backward
        views = as_block(x, *block), as_block(grad_out, *block), as_block(grad_x, *block)
        run((views[0], weight, mean, rstd, views[1], views[2], grad_weight, grad_bias), ctx.sizes)
        return grad_x, grad_weight, grad_bias, None, None, None, None, None


class GroupNorm(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, groups, eps):
        ctx.nhwc = x.is_channels_last() and not x.is_contiguous()
        x = contiguous(x)
        n, channels = x.shape[:2]
        weight, bias = parameter(weight), parameter(bias)
        inner = x.numel() // (n * channels) if x.numel() else 0
        block = (n, groups, channels // groups, inner)
        out = empty_like(x)
        mean, rstd = empty((n, groups), x.dtype, x.device), empty((n, groups), x.dtype, x.device)
        ctx.sizes = (n * groups, *block[1:], weight is not None, bias is not None)
        group_norm_forward((viewed(x, block), weight, bias, viewed(out, block), mean, rstd), ctx.sizes, (eps,))
        ctx.save_for_backward(x, weight, mean, rstd)
        ctx.block = block
        return channels_last(out) if ctx.nhwc else out

    @staticmethod
    def backward(ctx, grad_out):
        x, weight, mean, rstd = ctx.saved_tensors
        grad_x, block = empty_like(x), ctx.block
        grad_weight, grad_bias = new_gradients(
            weight, empty((x.shape[1],), x.dtype, x.device) if ctx.sizes[5] else None
        )
        group_norm_backward(
            (
                viewed(x, block), weight, mean, rstd, viewed(contiguous(grad_out), block),
                viewed(grad_x, block), grad_weight, grad_bias,
            ),
            ctx.sizes,
        )  # fmt: skip
        return channels_last(grad_x) if ctx.nhwc else grad_x, grad_weight, grad_bias, None, None


# ---- Public functions ----


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


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
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
        return through_float32(lambda x, w, b: LayerNorm.apply(x, w, b, shape, eps), input, weight, bias)
    return LayerNorm.apply(input, weight, bias, shape, eps)


def rms_norm(input, normalized_shape, weight=None, eps=None):
    """``x / sqrt(mean(x^2) + eps) * weight`` over the last dimensions; eps None is the dtype's spacing at 1.

    Shapes, errors and what backward keeps are as for `layer_norm`. Zhang & Sennrich (2019), https://arxiv.org/abs/1910.07467
    """
    shape = _normalized("rms_norm", input, normalized_shape, weight=weight)
    if eps is None:
        eps = float(np.finfo(input.dtype.numpy).eps) if input.dtype is not bfloat16 else 2.0**-7
    if input.dtype is bfloat16:
        return through_float32(lambda x, w: RMSNorm.apply(x, w, shape, eps), input, weight)
    return RMSNorm.apply(input, weight, shape, eps)


def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
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
            lambda x, w, b: BatchNorm.apply(x, w, b, running_mean, running_var, training, momentum, eps),
            input,
            weight,
            bias,
        )
    return BatchNorm.apply(input, weight, bias, running_mean, running_var, bool(training), momentum, eps)


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
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
        return through_float32(lambda x, w, b: GroupNorm.apply(x, w, b, num_groups, eps), input, weight, bias)
    return GroupNorm.apply(input, weight, bias, num_groups, eps)


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
