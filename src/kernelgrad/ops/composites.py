"""Elementwise functions made of those that have kernels; where a gradient wants care, as a Function of their own."""

import math

import numpy as np

from kernelgrad import core
from kernelgrad.core import Array, Function, as_numpy, from_numpy, move, sum_to_shape, to_dtype
from kernelgrad.ops.elementwise import (
    add,
    clamp,
    div,
    eq,
    ge,
    gt,
    isinf,
    isnan,
    le,
    logical_and,
    logical_or,
    maximum,
    mul,
    pow,
    sub,
    where,
)
from kernelgrad.ops.math import abs, exp, log, log1p, neg, sign, sin, sqrt

__all__ = [
    "clamp_max",
    "clamp_min",
    "copysign",
    "deg2rad",
    "float_power",
    "fmax",
    "fmin",
    "heaviside",
    "hypot",
    "logaddexp",
    "logaddexp2",
    "logit",
    "positive",
    "rad2deg",
    "sgn",
    "signbit",
    "sinc",
    "xlogy",
]

sgn = sign


def as_pair(input, other):
    """Two Tensors of the common floating dtype; numbers become 0-d ones."""
    dtype = core.result_type(input, other)
    dtype = dtype if dtype.is_floating_point else core.get_default_dtype()
    device = (input if isinstance(input, Array) else other).device
    return tuple(
        to_dtype(v, dtype) if isinstance(v, Array) else core.full((), v, dtype, device) for v in (input, other)
    )


def clamp_min(input, min):
    """Limit from below: `clamp` with `min` alone, a number or a Tensor."""
    return clamp(input, min=min)


def clamp_max(input, max):
    """Limit from above: `clamp` with `max` alone, a number or a Tensor."""
    return clamp(input, max=max)


def positive(input):
    """`input` itself. RuntimeError for bools."""
    if input.dtype is core.bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


def fmax(input, other):
    """The larger of two; a number where one of them is nan. Of equals the first gets the gradient."""
    return where(logical_or(ge(input, other), isnan(other)), input, other)


def fmin(input, other):
    """The smaller of two; a number where one of them is nan. Of equals the first gets the gradient."""
    return where(logical_or(le(input, other), isnan(other)), input, other)


def signbit(input):
    """True where the sign is minus, that of -0.0 too."""
    bits = np.signbit(as_numpy(move(core.detach(input), "cpu"))) if input.dtype is not core.bool_ else False
    return move(from_numpy(np.array(np.broadcast_to(bits, input.shape))), input.device)


def copysign(input, other):
    """The size of `input` with the sign of `other`, elementwise; slope 0 where `input` is 0."""
    x, y = as_pair(input, other)
    size = abs(x)
    return where(signbit(y), neg(size), size)


def heaviside(input, values):
    """0 below 0, 1 above, `values` at 0; not differentiable."""
    if input.dtype is not values.dtype:
        raise RuntimeError(
            f"heaviside is not yet implemented for tensors with different dtypes, got {input.dtype} and {values.dtype}"
        )
    with core.no_grad():
        return where(eq(input, 0), values, to_dtype(gt(input, 0), input.dtype))


class Hypot(Function):
    """sqrt(x^2 + y^2) of numbers first divided by the larger; slopes x / out and y / out, 0 at the origin."""

    @staticmethod
    def forward(ctx, x, y):
        larger = maximum(abs(x), abs(y))
        scale = where(logical_or(eq(larger, 0), isinf(larger)), 1.0, larger)
        a, b = div(x, scale), div(y, scale)
        out = mul(scale, sqrt(add(mul(a, a), mul(b, b))))
        ctx.save_for_backward(x, y, out)
        return out

    @staticmethod
    def backward(ctx, grad_out):
        *sides, out = ctx.saved_tensors
        return tuple(
            sum_to_shape(where(eq(out, 0), 0.0, mul(grad_out, div(side, out))), side.shape) if wanted else None
            for side, wanted in zip(sides, ctx.needs_input_grad)
        )


def hypot(input, other):
    """``sqrt(input ** 2 + other ** 2)`` without overflow. Backward keeps both, and the result."""
    return Hypot.apply(*as_pair(input, other))


def sinc(input):
    """``sin(pi x) / (pi x)``, 1 at 0, where the slope is 0."""
    nothing = eq(input, 0)
    angle = mul(where(nothing, 1.0, input), math.pi)
    return where(nothing, 1.0, div(sin(angle), angle))


def deg2rad(input):
    """Degrees as radians."""
    return mul(input, math.pi / 180)


def rad2deg(input):
    """Radians as degrees."""
    return mul(input, 180 / math.pi)


def float_power(input, exponent):
    """``input ** exponent`` in float64."""
    return pow(*(to_dtype(v, core.float64) if isinstance(v, Array) else float(v) for v in (input, exponent)))


def logit(input, eps=None):
    """``log(x / (1 - x))``, the inverse of `sigmoid`; with `eps`, x is first limited to [eps, 1 - eps]."""
    x = input if input.dtype.is_floating_point else to_dtype(input, core.get_default_dtype())
    x = x if eps is None else clamp(x, eps, 1 - eps)
    return log(div(x, sub(1, x)))


class LogAddExp(Function):
    """log(e^x + e^y) = max + log(1 + e^-|x - y|); the slope to x is 1 / (1 + e^(y - x))."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        larger = maximum(x, y)
        out = add(larger, log1p(exp(neg(abs(sub(x, y))))))
        return where(isinf(larger), larger, out)

    @staticmethod
    def backward(ctx, grad_out):
        x, y = ctx.saved_tensors
        return tuple(
            sum_to_shape(div(grad_out, add(exp(sub(b, a)), 1.0)), a.shape) if wanted else None
            for a, b, wanted in ((x, y, ctx.needs_input_grad[0]), (y, x, ctx.needs_input_grad[1]))
        )


def logaddexp(input, other):
    """``log(exp(input) + exp(other))`` without overflow. Backward keeps both."""
    return LogAddExp.apply(*as_pair(input, other))


def logaddexp2(input, other):
    """``log2(2 ** input + 2 ** other)`` without overflow. Backward keeps both."""
    x, y = as_pair(input, other)
    return mul(LogAddExp.apply(mul(x, math.log(2)), mul(y, math.log(2))), 1 / math.log(2))


class XLogY(Function):
    """x log(y), 0 where x is, unless y is nan."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return where(isnan(y), y, where(eq(x, 0), 0.0, mul(x, log(y))))

    @staticmethod
    def backward(ctx, grad_out):
        x, y = ctx.saved_tensors
        grad_x = grad_y = None
        if ctx.needs_input_grad[0]:
            nothing = logical_and(eq(x, 0), le(y, 0))
            grad_x = sum_to_shape(where(nothing, 0.0, mul(grad_out, log(y))), x.shape)
        if ctx.needs_input_grad[1]:
            grad_y = sum_to_shape(div(mul(grad_out, x), y), y.shape)
        return grad_x, grad_y


def xlogy(input, other):
    """``input * log(other)``, 0 where `input` is 0, whatever `other` is (but nan). Backward keeps both."""
    return XLogY.apply(*as_pair(input, other))
