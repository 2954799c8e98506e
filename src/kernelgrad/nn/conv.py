"""Convolutions. Axes: N batch, C channels, L length, H W height and width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from kernelgrad.core import empty
from kernelgrad.nn import functional as F
from kernelgrad.nn import init
from kernelgrad.nn.error_path import prefix_path
from kernelgrad.nn.module import Module
from kernelgrad.nn.parameter import Parameter
from kernelgrad.ops.conv import conv_activation
from kernelgrad.tensor import Tensor

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """What all convolutions share: sizes, weights and their initial values, text."""

    dims: int
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int],
        padding: int | Sequence[int] | str,
        dilation: int | Sequence[int],
        output_padding: int | Sequence[int],
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups != 0:
            raise ValueError("out_channels must be divisible by groups")
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {PADDING_MODES}, but got padding_mode='{padding_mode}'")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _per_dim(kernel_size, self.dims, "kernel_size")
        self.stride = _per_dim(stride, self.dims, "stride")
        self.padding = padding if isinstance(padding, str) else _per_dim(padding, self.dims, "padding")
        self.dilation = _per_dim(dilation, self.dims, "dilation")
        self.output_padding = _per_dim(output_padding, self.dims, "output_padding")
        self.groups = groups
        self.padding_mode = padding_mode
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string {padding!r}, should be one of 'same', 'valid'")
            if padding == "same" and any(step != 1 for step in self.stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
        rows = (in_channels, out_channels // groups) if self.transposed else (out_channels, in_channels // groups)
        self.weight = Parameter(empty((*rows, *self.kernel_size), device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the initial weights anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def _pad_sides(self) -> list[int]:
        """The padding as `F.pad` takes it: two sides per dimension, last dimension first."""
        sides: list[int] = []
        for i in reversed(range(self.dims)):
            if not isinstance(self.padding, str):
                sides += [self.padding[i], self.padding[i]]
            elif self.padding == "same":
                total = self.dilation[i] * (self.kernel_size[i] - 1)
                sides += [total // 2, total - total // 2]
            else:
                sides += [0, 0]
        return sides

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        if self.padding != (0,) * self.dims:
            parts.append(f"padding={self.padding}")
        if self.dilation != (1,) * self.dims:
            parts.append(f"dilation={self.dilation}")
        if self.output_padding != (0,) * self.dims:
            parts.append(f"output_padding={self.output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


class _Conv(_ConvNd):
    op: str

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device=None,
        dtype=None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            0,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def forward(self, input: Tensor) -> Tensor:
        return self._convolve(input, self.weight, self.bias, None)

    def activated(
        self, input: Tensor, activation: str | None, parameters: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """``activation(self(input))`` in one pass, without the hooks; "relu" or None.

        `parameters`: weight and bias to take instead of the layer's own.
        """
        weight, bias = parameters or (self.weight, self.bias)
        try:
            return self._convolve(input, weight, bias, activation)
        except Exception as error:
            prefix_path(error, self)
            raise

    def _convolve(self, input: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._pad_sides(), mode=self.padding_mode), 0
        return conv_activation(
            self.op, input, weight, bias, self.stride, padding, self.dilation, self.groups, activation
        )


class Conv1d(_Conv):
    """Cross-correlation along L. Shape: (N, C, L) -> (N, out_channels, L_out), or without N.

    ``L_out = (L + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1``. Parameters: `weight`
    (out_channels, in_channels / groups, kernel_size), `bias` (out_channels,), both uniform in +-1 / sqrt(fan in).
    """

    dims, op = 1, "conv1d"


class Conv2d(_Conv):
    """Cross-correlation over H and W. Shape: (N, C, H, W) -> (N, out_channels, H_out, W_out), or without N.

    ``H_out = (H + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1``. Parameters: `weight`
    (out_channels, in_channels / groups, *kernel_size), `bias` (out_channels,), both uniform in +-1 / sqrt(fan in).
    """

    dims, op = 2, "conv2d"


class Conv3d(Module):
    """Not available: kernelgrad has convolutions over one and two dimensions."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            "nn.Conv3d: convolutions over three dimensions are not supported; use Conv2d or Conv1d"
        )


class _ConvTranspose(_ConvNd):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
        padding_mode: str = "zeros",
        device=None,
        dtype=None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            output_padding,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _output_padding(self, input: Tensor, output_size: Sequence[int] | None) -> tuple[int, ...]:
        """The output padding that makes the output `output_size`, or that of the layer where none is asked for."""
        if output_size is None:
            return self.output_padding
        sizes = list(output_size)
        if len(sizes) > self.dims:
            sizes = sizes[-self.dims :]
        if len(sizes) != self.dims:
            raise ValueError(
                f"{self._get_name()}: for {input.dim()}D input, output_size must have {self.dims} or {input.dim()} "
                f"elements (got {len(output_size)})"
            )
        extra = []
        for i, length in enumerate(input.shape[-self.dims :]):
            kernel, step = self.dilation[i] * (self.kernel_size[i] - 1) + 1, self.stride[i]
            least = (length - 1) * step - 2 * self.padding[i] + kernel
            if not least <= sizes[i] < least + step:
                raise ValueError(
                    f"requested an output size of {sizes}, but valid sizes of dimension {i} range from {least} to "
                    f"{least + step - 1} (for an input of {tuple(input.shape[-self.dims :])})"
                )
            extra.append(sizes[i] - least)
        return tuple(extra)


class ConvTranspose1d(_ConvTranspose):
    """The gradient of `Conv1d` with respect to its input, as a layer. Shape: (N, C, L) -> (N, out_channels, L_out).

    ``L_out = (L - 1) stride - 2 padding + dilation (kernel_size - 1) + output_padding + 1``. Parameters: `weight`
    (in_channels, out_channels / groups, kernel_size), `bias` (out_channels,).
    """

    dims = 1

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        extra = self._output_padding(input, output_size)
        return F.conv_transpose1d(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )


class ConvTranspose2d(_ConvTranspose):
    """The gradient of `Conv2d` with respect to its input, as a layer.

    Shape: (N, C, H, W) -> (N, out_channels, H_out, W_out), where
    ``H_out = (H - 1) stride - 2 padding + dilation (kernel_size - 1) + output_padding + 1``. Parameters: `weight`
    (in_channels, out_channels / groups, *kernel_size), `bias` (out_channels,).
    """

    dims = 2

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        extra = self._output_padding(input, output_size)
        return F.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )


def _per_dim(value: int | Sequence[int], dims: int, name: str) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * dims
    if len(value) != dims:
        raise ValueError(f"{name}: expected one int or {dims}, got {tuple(value)}")
    return tuple(value)
