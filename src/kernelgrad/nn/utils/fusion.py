"""Folding a batch norm in evaluation mode into the layer before it."""

from __future__ import annotations

import copy

from kernelgrad.nn.conv import _ConvNd
from kernelgrad.nn.linear import Linear
from kernelgrad.nn.normalization import _BatchNorm
from kernelgrad.nn.parameter import Parameter
from kernelgrad.ops.creation import ones_like, zeros_like
from kernelgrad.tensor import Tensor


def fuse_conv_bn_eval(conv: _ConvNd, bn: _BatchNorm, transpose: bool = False) -> _ConvNd:
    """A new convolution that computes ``bn(conv(x))``; both in evaluation mode. `transpose` for `ConvTranspose`."""
    mean, var = _statistics(conv, bn)
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight, fused.bias, mean, var, bn.eps, bn.weight, bn.bias, transpose
    )
    return fused


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of the fused convolution: ``w s`` and ``(b - mean) s + bn_b``, ``s = bn_w / sqrt(var + eps)``."""
    scale, bias = _fused(conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)
    channels = [1, -1] if transpose else [-1, 1]
    weight = conv_w.detach() * scale.reshape(channels + [1] * (conv_w.dim() - 2))
    return Parameter(weight, conv_w.requires_grad), Parameter(bias, conv_w.requires_grad)


def fuse_linear_bn_eval(linear: Linear, bn: _BatchNorm) -> Linear:
    """A new linear layer that computes ``bn(linear(x))``; both in evaluation mode."""
    mean, var = _statistics(linear, bn)
    if linear.out_features != bn.num_features and bn.num_features != 1:
        raise AssertionError(
            "To fuse, linear.out_features == bn.num_features or bn.num_features == 1, got "
            f"linear.out_features={linear.out_features} and bn.num_features={bn.num_features}"
        )
    fused = copy.deepcopy(linear)
    fused.weight, fused.bias = fuse_linear_bn_weights(fused.weight, fused.bias, mean, var, bn.eps, bn.weight, bn.bias)
    return fused


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of the fused layer: ``w s`` and ``(b - mean) s + bn_b``, ``s = bn_w / sqrt(var + eps)``."""
    scale, bias = _fused(linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)
    weight = linear_w.detach() * scale.unsqueeze(-1)
    return Parameter(weight, linear_w.requires_grad), Parameter(bias, linear_w.requires_grad)


def _statistics(layer, bn: _BatchNorm) -> tuple[Tensor, Tensor]:
    if layer.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("bn.running_mean and bn.running_var must not be None")
    return bn.running_mean, bn.running_var


def _fused(bias, mean: Tensor, var: Tensor, eps: float, bn_w, bn_b) -> tuple[Tensor, Tensor]:
    bias = zeros_like(mean) if bias is None else bias.detach()
    scale = (ones_like(mean) if bn_w is None else bn_w.detach()) / (var + eps).sqrt()
    return scale, (bias - mean) * scale + (0 if bn_b is None else bn_b.detach())
