"""Normalization layers. Axes: N batch, C channels, L length, H W height and width."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Sequence
from typing import Any

from kernelgrad.core import empty
from kernelgrad.core.norms import count_batch
from kernelgrad.nn import functional as F
from kernelgrad.nn import init
from kernelgrad.nn.error_path import prefix_path
from kernelgrad.nn.module import Module
from kernelgrad.nn.parameter import Parameter
from kernelgrad.ops.creation import ones, tensor, zeros
from kernelgrad.ops.normalization import batch_norm_relu
from kernelgrad.tensor import Tensor


class _NormBase(Module):
    """What batch and instance norm share: affine parameters and running statistics.

    Parameters: `weight` (num_features,) of ones and `bias` (num_features,) of zeros, where `affine`. Buffers:
    `running_mean`, `running_var` (num_features,) and `num_batches_tracked` (), where `track_running_stats`.
    """

    _version = 2  # version 1 had no num_batches_tracked

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        device: Any,
        dtype: Any,
        bias: bool,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        _register_affine(self, (num_features,), affine, bias, device, dtype)
        tracked = track_running_stats
        self.register_buffer("running_mean", zeros(num_features, device=device, dtype=dtype) if tracked else None)
        self.register_buffer("running_var", ones(num_features, device=device, dtype=dtype) if tracked else None)
        self.register_buffer("num_batches_tracked", tensor(0, device=device) if tracked else None)

    def reset_running_stats(self) -> None:
        """Forgets what was tracked: mean 0, variance 1, no batches."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Sets weights to 1, biases to 0, and forgets the running statistics."""
        self.reset_running_stats()
        _reset_affine(self)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest) -> None:
        key = prefix + "num_batches_tracked"
        if self.track_running_stats and local_metadata.get("version", 1) < 2 and key not in state_dict:
            state_dict[key] = self.num_batches_tracked
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_NormBase):
    dims: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device=None,
        dtype=None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.batch_norm(input, *self._arguments(input))

    def activated(self, input: Tensor, activation: str | None, parameters: None = None) -> Tensor:
        """``relu(self(input))``, without the hooks; in training as one kernel to the same bits."""
        try:
            return batch_norm_relu(input, *self._arguments(input))
        except Exception as error:
            prefix_path(error, self)
            raise

    def _arguments(self, input: Tensor) -> tuple[Any, ...]:
        """Of `F.batch_norm`, after the input; in training this batch is counted."""
        if input.ndim not in self.dims:
            expected = " or ".join(f"{dims}D" for dims in self.dims)
            raise ValueError(f"expected {expected} input (got {input.ndim}D input)")
        momentum = 0.0 if self.momentum is None else self.momentum
        if not self.training:  # the running statistics, or where there are none those of the batch
            batch_statistics = self.running_mean is None and self.running_var is None
            mean, var = self.running_mean, self.running_var
        else:
            batch_statistics = True
            mean, var = (self.running_mean, self.running_var) if self.track_running_stats else (None, None)
            tracked = self.num_batches_tracked if self.track_running_stats else None
            if tracked is not None:
                count_batch(tracked)
                if self.momentum is None:  # the mean over all batches so far
                    momentum = 1.0 / tracked.item()
        return mean, var, self.weight, self.bias, batch_statistics, momentum, self.eps


class BatchNorm1d(_BatchNorm):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` per channel, over N and L. Shape: (N, C) or (N, C, L) -> same.

    Ioffe & Szegedy (2015), https://arxiv.org/abs/1502.03167
    """

    dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` per channel, over N, H and W. Shape: (N, C, H, W) -> same.

    Ioffe & Szegedy (2015), https://arxiv.org/abs/1502.03167
    """

    dims = (4,)


class BatchNorm3d(_BatchNorm):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` per channel, over N and space. Shape: (N, C, D, H, W) -> same.

    Ioffe & Szegedy (2015), https://arxiv.org/abs/1502.03167
    """

    dims = (5,)


class _InstanceNorm(_NormBase):
    sample_dims: int  # of one sample, with its channels

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device=None,
        dtype=None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (self.sample_dims, self.sample_dims + 1):
            expected = f"{self.sample_dims}D or {self.sample_dims + 1}D"
            raise ValueError(f"expected {expected} input (got {input.ndim}D input)")
        channel_dim = input.ndim - self.sample_dims
        if input.shape[channel_dim] != self.num_features:
            if self.affine:
                raise ValueError(
                    f"expected input's size at dim={channel_dim} to match num_features ({self.num_features}), "
                    f"but got: {input.shape[channel_dim]}."
                )
            warnings.warn(
                f"input's size at dim={channel_dim} does not match num_features ({self.num_features}), which is not "
                "used because affine=False",
                stacklevel=3,
            )
        if channel_dim == 0:
            return self._normalize(input.unsqueeze(0)).squeeze(0)
        return self._normalize(input)

    def _normalize(self, input: Tensor) -> Tensor:
        return F.instance_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )


class InstanceNorm1d(_InstanceNorm):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` per sample and channel, over L. Shape: (N, C, L) -> same."""

    sample_dims = 2


class InstanceNorm2d(_InstanceNorm):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` per sample and channel. Shape: (N, C, H, W) -> same."""

    sample_dims = 3


class InstanceNorm3d(_InstanceNorm):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` per sample and channel. Shape: (N, C, D, H, W) -> same."""

    sample_dims = 4


class LayerNorm(Module):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over the last dimensions. Shape: (*, *normalized_shape) -> same.

    Parameters: `weight` of ones and `bias` of zeros, both of `normalized_shape`, where `elementwise_affine`.
    Ba, Kiros & Hinton (2016), https://arxiv.org/abs/1607.06450
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        _register_affine(self, self.normalized_shape, elementwise_affine, bias, device, dtype)

    def reset_parameters(self) -> None:
        """Sets weights to 1 and biases to 0."""
        _reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """``x / sqrt(mean(x ** 2) + eps) * weight`` over the last dimensions. Shape: (*, *normalized_shape) -> same.

    Parameters: `weight` of ones, of `normalized_shape`, where `elementwise_affine`. `eps` of None stands for the
    machine epsilon of the input's dtype. Zhang & Sennrich (2019), https://arxiv.org/abs/1910.07467
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        weight = Parameter(ones(self.normalized_shape, device=device, dtype=dtype)) if elementwise_affine else None
        self.register_parameter("weight", weight)

    def reset_parameters(self) -> None:
        """Sets weights to 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` per sample, over groups of channels. Shape: (N, C, *) -> same.

    Parameters: `weight` (num_channels,) of ones and `bias` (num_channels,) of zeros, where `affine`.
    Wu & He (2018), https://arxiv.org/abs/1803.08494
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device=None,
        dtype=None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups != 0:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        _register_affine(self, (num_channels,), affine, bias, device, dtype)

    def reset_parameters(self) -> None:
        """Sets weights to 1 and biases to 0."""
        _reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class LocalResponseNorm(Module):
    """``x / (k + alpha / size * sum of x ** 2 over size neighbouring channels) ** beta``. Shape: (N, C, *) -> same.

    Krizhevsky, Sutskever & Hinton (2012), https://doi.org/10.1145/3065386
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def _shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    return (int(shape),) if isinstance(shape, numbers.Integral) else tuple(shape)  # type: ignore[arg-type]


def _register_affine(module: Module, shape: tuple[int, ...], affine: bool, bias: bool, device: Any, dtype: Any) -> None:
    for name, wanted in (("weight", affine), ("bias", affine and bias)):
        module.register_parameter(name, Parameter(empty(shape, device=device, dtype=dtype)) if wanted else None)
    _reset_affine(module)


def _reset_affine(module: Module) -> None:
    if module.weight is not None:
        init.ones_(module.weight)
    if module.bias is not None:
        init.zeros_(module.bias)
