"""A convolution and the batch norm behind it as one convolution, for inference: when that is the same, and its weights.

See Jacob et al. (2018), https://arxiv.org/abs/1712.05877, section 3.2. The weights are kept until one of the tensors
that they are made of changes.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from kernelgrad.core import is_grad_enabled, known_version
from kernelgrad.nn.module import Module
from kernelgrad.nn.utils.fusion import fuse_conv_bn_weights
from kernelgrad.tensor import Tensor

kept: WeakKeyDictionary[Module, tuple[Any, ...]] = WeakKeyDictionary()  # norm -> (sources, versions, weight, bias)


def can_fold(conv: Any, norm: Any, input: Any) -> bool:
    """Whether `norm` is a fixed affine map of the channels that `conv` makes, and nobody wants a gradient."""
    return (
        not norm.training
        and not is_grad_enabled()
        and norm.running_mean is not None
        and norm.running_var is not None
        and norm.num_features == conv.out_channels
        and norm.running_mean.dtype is conv.weight.dtype
        and input.ndim == conv.dims + 2
        and input.ndim in norm.dims
    )


def sources(conv: Any, norm: Any) -> tuple[Any, ...]:
    return conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var


def folded(conv: Any, norm: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias of the two as one."""
    made_of = sources(conv, norm)
    # A tensor that NumPy may write into has no version that tells of it: then nothing is kept.
    versions = (norm.eps, *(None if t is None else known_version(t) for t in made_of))
    before = kept.get(norm)
    if before is not None and before[1] == versions and all(a is b for a, b in zip(before[0], made_of, strict=True)):
        return before[2], before[3]
    weight, bias, gamma, beta, mean, var = made_of
    fused = fuse_conv_bn_weights(weight, bias, mean, var, norm.eps, gamma, beta)
    weight, bias = fused[0].detach(), fused[1].detach()
    if -1 not in versions:
        kept[norm] = (made_of, versions, weight, bias)
    else:
        kept.pop(norm, None)
    return weight, bias
