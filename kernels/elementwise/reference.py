"""Definitions of the elementwise kernels in plain NumPy."""

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
    np.power(x, y, out=out)


def pow_backward_x(x, y, grad_out, out):
    out[...] = np.where(y == 0, 0, grad_out * y * np.power(x, y - 1))


def pow_backward_y(x, y, grad_out, out):
    out[...] = np.where((x == 0) & (y >= 0), 0, grad_out * np.power(x, y) * np.log(x))


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
