"""The gamma function's logarithm with its derivatives, and the inverse of erf, to the last digits of float64.

They are computed in float64, through the C library element by element or by a series in NumPy: right, but not fast.
"""

import math

import numpy as np

from kernelgrad.core import Function, as_numpy, from_numpy, get_default_dtype, move, to_dtype

__all__ = ["digamma", "erfinv", "lgamma"]


def _lgamma(x):
    return math.inf if x <= 0 and (x == math.floor(x) or math.isinf(x)) else math.lgamma(x)


log_gamma = np.vectorize(_lgamma, otypes=[np.float64])
erf, erfc = (np.vectorize(f, otypes=[np.float64]) for f in (math.erf, math.erfc))
SERIES = 12.0  # beyond it the terms below leave less than 1e-17


def psi(x):
    """The logarithmic derivative of gamma: psi(x) = psi(x + 1) - 1 / x up to where the asymptotic series holds."""
    with np.errstate(all="ignore"):
        z = np.where(x < 0, 1 - x, x)
        total = np.zeros_like(z)
        while (small := z < SERIES).any():
            total[small] -= 1 / z[small]
            z = np.where(small, z + 1, z)
        w = 1 / (z * z)
        tail = w * (1 / 12 - w * (1 / 120 - w * (1 / 252 - w * (1 / 240 - w * (1 / 132 - w * (691 / 32760 - w / 12))))))
        total += np.log(z) - 0.5 / z - tail
        fraction = x - np.trunc(x)  # the period of tan, exact for large x
        mirrored = np.where(fraction == 0, np.nan, total - math.pi / np.tan(math.pi * fraction))
        return np.where(x == 0, -np.copysign(np.inf, x), np.where(x < 0, mirrored, total))


def psi_1(x):
    """The derivative of psi; trigamma(x) = trigamma(x + 1) + 1 / x^2, and pi^2 / sin^2(pi x) - trigamma(1 - x)."""
    with np.errstate(all="ignore"):
        z = np.where(x < 0.5, 1 - x, x)
        total = np.zeros_like(z)
        while (small := z < SERIES).any():
            total[small] += 1 / (z[small] * z[small])
            z = np.where(small, z + 1, z)
        w = 1 / (z * z)
        series = w * (1 / 6 - w * (1 / 30 - w * (1 / 42 - w * (1 / 30 - w * (5 / 66 - w * (691 / 2730 - w * 7 / 6))))))
        total += (1 + 0.5 / z + series) / z
        return np.where(x < 0.5, (math.pi / np.sin(math.pi * x)) ** 2 - total, total)


def inverse_erf(y):
    """Winitzki's approximation (2008), then Halley's steps; near 1 the difference is taken between complements."""
    with np.errstate(all="ignore"):
        size = np.abs(y)
        log = np.log1p(-size * size)
        first = 2 / (math.pi * 0.147) + log / 2
        x = np.sqrt(np.sqrt(first * first - log / 0.147) - first)
        for _ in range(3):
            error = np.where(size < 0.5, erf(x) - size, (1 - size) - erfc(x)) / (
                2 / math.sqrt(math.pi) * np.exp(-x * x)
            )
            x = x - error / (1 + x * error)
        x = np.where(size == 0, 0, x)
        return np.copysign(np.where(size == 1, np.inf, np.where(size < 1, x, np.nan)), y)


class Curve(Function):
    """out = f(x), whose slope is g(x, out), both of NumPy arrays in float64."""

    @staticmethod
    def forward(ctx, x, f, g):
        a = as_numpy(move(x, "cpu"))
        y = np.asarray(f(np.atleast_1d(a).astype(np.float64))).reshape(a.shape)
        ctx.save_for_backward(x)
        ctx.g, ctx.y = g, y
        return move(from_numpy(np.array(y, a.dtype)), x.device)

    @staticmethod
    def backward(ctx, grad_out):
        a, grad = (as_numpy(move(v, "cpu")) for v in (*ctx.saved_tensors, grad_out))
        slope = np.asarray(ctx.g(np.atleast_1d(a).astype(np.float64), np.atleast_1d(ctx.y))).reshape(a.shape)
        return move(from_numpy(np.array(grad * slope, grad.dtype)), grad_out.device), None, None


def _curve(input, f, g):
    return Curve.apply(input if input.dtype.is_floating_point else to_dtype(input, get_default_dtype()), f, g)


def lgamma(input):
    """``log(abs(gamma(x)))``, elementwise; inf at 0 and the negative integers. Backward keeps `input`."""
    return _curve(input, log_gamma, lambda x, y: psi(x))


def digamma(input):
    """The derivative of `lgamma`, elementwise; nan at the negative integers. Backward keeps `input`."""
    return _curve(input, psi, lambda x, y: psi_1(x))


def erfinv(input):
    """The number whose `erf` is x, elementwise: infinite at 1 and -1, nan beyond. Backward keeps the result."""
    return _curve(input, inverse_erf, lambda x, y: math.sqrt(math.pi) / 2 * np.exp(y * y))
