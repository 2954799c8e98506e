"""Definitions of the elementwise kernels in plain NumPy."""

import math

import numpy as np


def add_forward(x, y, out):
    np.add(x, y, out=out)


def sub_forward(x, y, out):
    np.subtract(x, y, out=out)


def mul_forward(x, y, out):
    np.multiply(x, y, out=out)


def div_forward(x, y, out):
    np.divide(x, y, out=out)


def div_backward_y(x, y, grad_out, out):
    out[...] = -grad_out * (x / y) / y


def pow_forward(x, y, out):
    if out.dtype.kind in "iu" and (y < 0).any():  # 1 / x**-y cut to an integer: 0 but for x = 1 and x = -1
        odd = np.where(y % 2 == 0, 1, x)
        out[...] = np.where(y >= 0, np.power(x, np.maximum(y, 0)), np.where(x == 1, 1, np.where(x == -1, odd, 0)))
        return
    np.power(x, y, out=out)


def pow_backward_x(x, y, grad_out, out):
    out[...] = np.where(y == 0, 0, grad_out * y * np.power(x, y - 1))


def pow_backward_y(x, y, grad_out, out):
    out[...] = np.where((x == 0) & (y >= 0), 0, grad_out * np.power(x, y) * np.log(x))


def lerp_forward(x, end, weight, out):
    near = np.abs(weight) < 0.5
    out[...] = np.where(near, x + weight * (end - x), end - (1 - weight) * (end - x))


def addcmul_forward(x, y, z, out, value):
    out[...] = x + value * y * z


def addcdiv_forward(x, y, z, out, value):
    out[...] = x + value * (y / z)


def maximum_forward(x, y, out):
    np.maximum(x, y, out=out)


def maximum_backward_x(x, y, grad_out, out):
    out[...] = grad_out * np.where(x == y, 0.5, (x > y) | np.isnan(x))


def maximum_backward_y(x, y, grad_out, out):
    out[...] = grad_out * np.where(x == y, 0.5, (y > x) | np.isnan(y))


def minimum_forward(x, y, out):
    np.minimum(x, y, out=out)


def minimum_backward_x(x, y, grad_out, out):
    out[...] = grad_out * np.where(x == y, 0.5, (x < y) | np.isnan(x))


def minimum_backward_y(x, y, grad_out, out):
    out[...] = grad_out * np.where(x == y, 0.5, (y < x) | np.isnan(y))


def atan2_forward(x, y, out):
    np.arctan2(x, y, out=out)


def atan2_backward_x(x, y, grad_out, out):
    out[...] = grad_out * y / (x * x + y * y)


def atan2_backward_y(x, y, grad_out, out):
    out[...] = -grad_out * x / (x * x + y * y)


def fmod_forward(x, y, out):
    np.fmod(x, y, out=out)


def remainder_forward(x, y, out):
    np.remainder(x, y, out=out)


def floor_divide_forward(x, y, out):
    np.floor_divide(x, y, out=out)


def eq_forward(x, y, out):
    np.equal(x, y, out=out)


def ne_forward(x, y, out):
    np.not_equal(x, y, out=out)


def lt_forward(x, y, out):
    np.less(x, y, out=out)


def le_forward(x, y, out):
    np.less_equal(x, y, out=out)


def gt_forward(x, y, out):
    np.greater(x, y, out=out)


def ge_forward(x, y, out):
    np.greater_equal(x, y, out=out)


def logical_and_forward(x, y, out):
    np.logical_and(x, y, out=out)


def logical_or_forward(x, y, out):
    np.logical_or(x, y, out=out)


def logical_xor_forward(x, y, out):
    np.logical_xor(x, y, out=out)


def bitwise_and_forward(x, y, out):
    np.bitwise_and(x, y, out=out)


def bitwise_or_forward(x, y, out):
    np.bitwise_or(x, y, out=out)


def bitwise_xor_forward(x, y, out):
    np.bitwise_xor(x, y, out=out)


def where_forward(condition, x, y, out):
    out[...] = np.where(condition, x, y)


# ---- Functions of one operand. Backward has the output of exp, exp2, expm1, sqrt, rsqrt, reciprocal and tan ----


def erf(x, complement=False):
    """NumPy has no error function; the C library's, one by one."""
    function = np.frompyfunc(math.erfc if complement else math.erf, 1, 1)
    return np.asarray(function(np.asarray(x, np.float64)), np.float64)


def exp_forward(x, out):
    out[...] = np.exp(x)


def exp_backward(saved, grad_out, grad_x):
    grad_x[...] = grad_out * saved


def exp2_forward(x, out):
    out[...] = np.exp2(x)


def exp2_backward(saved, grad_out, grad_x):
    grad_x[...] = grad_out * saved * math.log(2)


def expm1_forward(x, out):
    out[...] = np.expm1(x)


def expm1_backward(saved, grad_out, grad_x):
    grad_x[...] = grad_out * (saved + 1)


def log_forward(x, out):
    out[...] = np.log(x)


def log_backward(x, grad_out, grad_x):
    grad_x[...] = grad_out / x


def log2_forward(x, out):
    out[...] = np.log2(x)


def log2_backward(x, grad_out, grad_x):
    grad_x[...] = grad_out / (x * math.log(2))


def log10_forward(x, out):
    out[...] = np.log10(x)


def log10_backward(x, grad_out, grad_x):
    grad_x[...] = grad_out / (x * math.log(10))


def log1p_forward(x, out):
    out[...] = np.log1p(x)


def log1p_backward(x, grad_out, grad_x):
    grad_x[...] = grad_out / (x + 1)


def sqrt_forward(x, out):
    out[...] = np.sqrt(x)


def sqrt_backward(saved, grad_out, grad_x):
    grad_x[...] = grad_out / (2 * saved)


def rsqrt_forward(x, out):
    out[...] = 1 / np.sqrt(x)


def rsqrt_backward(saved, grad_out, grad_x):
    grad_x[...] = -0.5 * grad_out * saved**3


def reciprocal_forward(x, out):
    out[...] = 1 / x


def reciprocal_backward(saved, grad_out, grad_x):
    grad_x[...] = -grad_out * saved * saved


def square_forward(x, out):
    out[...] = x * x


def square_backward(x, grad_out, grad_x):
    grad_x[...] = grad_out * 2 * x


def sin_forward(x, out):
    out[...] = np.sin(x)


def sin_backward(x, grad_out, grad_x):
    grad_x[...] = grad_out * np.cos(x)


def cos_forward(x, out):
    out[...] = np.cos(x)


def cos_backward(x, grad_out, grad_x):
    grad_x[...] = -grad_out * np.sin(x)


def tan_forward(x, out):
    out[...] = np.tan(x)


def tan_backward(saved, grad_out, grad_x):
    grad_x[...] = grad_out * (1 + saved * saved)


def asin_forward(x, out):
    out[...] = np.arcsin(x)


def asin_backward(x, grad_out, grad_x):
    grad_x[...] = grad_out / np.sqrt((1 - x) * (1 + x))


def acos_forward(x, out):
    out[...] = np.arccos(x)


def acos_backward(x, grad_out, grad_x):
    grad_x[...] = -grad_out / np.sqrt((1 - x) * (1 + x))


def atan_forward(x, out):
    out[...] = np.arctan(x)


def atan_backward(x, grad_out, grad_x):
    grad_x[...] = grad_out / (1 + x * x)


def sinh_forward(x, out):
    out[...] = np.sinh(x)


def sinh_backward(x, grad_out, grad_x):
    grad_x[...] = grad_out * np.cosh(x)


def cosh_forward(x, out):
    out[...] = np.cosh(x)


def cosh_backward(x, grad_out, grad_x):
    grad_x[...] = grad_out * np.sinh(x)


def asinh_forward(x, out):
    out[...] = np.arcsinh(x)


def asinh_backward(x, grad_out, grad_x):
    grad_x[...] = grad_out / np.sqrt(x * x + 1)


def acosh_forward(x, out):
    out[...] = np.arccosh(x)


def acosh_backward(x, grad_out, grad_x):
    grad_x[...] = grad_out / np.sqrt((x - 1) * (x + 1))


def atanh_forward(x, out):
    out[...] = np.arctanh(x)


def atanh_backward(x, grad_out, grad_x):
    grad_x[...] = grad_out / ((1 - x) * (1 + x))


def erf_forward(x, out):
    out[...] = erf(x)


def erf_backward(x, grad_out, grad_x):
    grad_x[...] = grad_out * 2 / math.sqrt(math.pi) * np.exp(-x * x)


def erfc_forward(x, out):
    out[...] = erf(x, complement=True)


def erfc_backward(x, grad_out, grad_x):
    grad_x[...] = -grad_out * 2 / math.sqrt(math.pi) * np.exp(-x * x)


def abs_forward(x, out):
    out[...] = np.abs(x)


def abs_backward(x, grad_out, grad_x):
    grad_x[...] = np.where(x > 0, grad_out, np.where(x < 0, -grad_out, 0))


def neg_forward(x, out):
    np.negative(x, out=out)


def neg_backward(grad_out, grad_x):
    grad_x[...] = -grad_out


def sign_forward(x, out):
    out[...] = np.where(x > 0, 1, np.where(x < 0, -1, 0))


def floor_forward(x, out):
    out[...] = np.floor(x)


def ceil_forward(x, out):
    out[...] = np.ceil(x)


def round_forward(x, out):
    out[...] = np.rint(x)


def trunc_forward(x, out):
    out[...] = np.trunc(x)


def frac_forward(x, out):
    out[...] = x - np.trunc(x)


def frac_backward(grad_out, grad_x):
    grad_x[...] = grad_out


def sign_backward(grad_out, grad_x):
    grad_x[...] = 0


floor_backward = ceil_backward = round_backward = trunc_backward = sign_backward  # steps: slope 0 everywhere


def clamp_forward(x, out, lo, hi):
    out[...] = np.minimum(np.maximum(x, lo), hi)


def clamp_backward(x, grad_out, grad_x, lo, hi):
    grad_x[...] = np.where((x >= lo) & (x <= hi), grad_out, 0)


# ---- Copies ----


def copy_strided(src, dst, nd, *sizes):
    dst[...] = src  # shape and strides are the arrays' own


def cast_to_float32(x, out, n):
    """Any dtype to any other; floats to integers cut towards zero. bfloat16, half a float32, comes as uint16."""
    out[...] = (x.astype(np.uint32) << 16).view(np.float32) if x.dtype == np.uint16 else x


cast_to_float64 = cast_to_int64 = cast_to_int32 = cast_to_int8 = cast_to_uint8 = cast_to_bool = cast_to_float32


def cast_to_bfloat16(x, out, n):
    bits = x.astype(np.float32).view(np.uint32)
    rounded = (bits + ((bits >> 16) & 1) + 0x7FFF) >> 16  # to nearest, half to even
    out[...] = np.where((bits & 0x7FFFFFFF) > 0x7F800000, (bits >> 16) | 0x40, rounded)
