"""Layers that surround their input with a border. Sizes are given last dimension first, two sides each."""

from __future__ import annotations

from collections.abc import Sequence

from kernelgrad.nn import functional as F
from kernelgrad.nn.module import Module
from kernelgrad.tensor import Tensor


class _Pad(Module):
    mode: str
    dims: int

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        self.padding = (padding,) * (2 * self.dims) if isinstance(padding, int) else tuple(padding)
        if len(self.padding) != 2 * self.dims:
            raise ValueError(f"{self._get_name()}: expected one int or {2 * self.dims}, got {self.padding}")

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """A border of `value`. Shape: (*, L) -> (*, left + L + right)."""

    dims = 1


class ConstantPad2d(_ConstantPad):
    """A border of `value`. Shape: (*, H, W) -> (*, top + H + bottom, left + W + right)."""

    dims = 2


class ConstantPad3d(_ConstantPad):
    """A border of `value`. Shape: (*, D, H, W) -> (*, D_out, H_out, W_out)."""

    dims = 3


class ZeroPad1d(ConstantPad1d):
    """A border of zeros. Shape: (*, L) -> (*, left + L + right)."""

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__(padding, 0.0)

    extra_repr = _Pad.extra_repr


class ZeroPad2d(ConstantPad2d):
    """A border of zeros. Shape: (*, H, W) -> (*, top + H + bottom, left + W + right)."""

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__(padding, 0.0)

    extra_repr = _Pad.extra_repr


class ZeroPad3d(ConstantPad3d):
    """A border of zeros. Shape: (*, D, H, W) -> (*, D_out, H_out, W_out)."""

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__(padding, 0.0)

    extra_repr = _Pad.extra_repr


class ReflectionPad1d(_Pad):
    """A mirror image without the edge itself. Shape: (*, L) -> (*, left + L + right)."""

    mode, dims = "reflect", 1


class ReflectionPad2d(_Pad):
    """A mirror image without the edge itself. Shape: (*, H, W) -> (*, top + H + bottom, left + W + right)."""

    mode, dims = "reflect", 2


class ReflectionPad3d(_Pad):
    """A mirror image without the edge itself. Shape: (*, D, H, W) -> (*, D_out, H_out, W_out)."""

    mode, dims = "reflect", 3


class ReplicationPad1d(_Pad):
    """The edge, repeated. Shape: (*, L) -> (*, left + L + right)."""

    mode, dims = "replicate", 1


class ReplicationPad2d(_Pad):
    """The edge, repeated. Shape: (*, H, W) -> (*, top + H + bottom, left + W + right)."""

    mode, dims = "replicate", 2


class ReplicationPad3d(_Pad):
    """The edge, repeated. Shape: (*, D, H, W) -> (*, D_out, H_out, W_out)."""

    mode, dims = "replicate", 3


class CircularPad1d(_Pad):
    """What stands at the other end. Shape: (*, L) -> (*, left + L + right)."""

    mode, dims = "circular", 1


class CircularPad2d(_Pad):
    """What stands at the other end. Shape: (*, H, W) -> (*, top + H + bottom, left + W + right)."""

    mode, dims = "circular", 2


class CircularPad3d(_Pad):
    """What stands at the other end. Shape: (*, D, H, W) -> (*, D_out, H_out, W_out)."""

    mode, dims = "circular", 3
