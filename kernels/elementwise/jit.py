"""Numba twins of the elementwise kernels. A step of 0 repeats an operand's one element."""

import math

import numpy as np

from kernelgrad.kernels.runtime.jit import inline_njit

# Broadcasting kernels take (operands..., out, n, a step per operand, start, stop) and differ in one formula: each is
# made from it here, as the C bodies are made by a macro.

BINARY = {
    "add_forward": "x + y",
    "sub_forward": "x - y",
    "mul_forward": "x * y",
    "div_forward": "x / y",
    "pow_forward": "x**y",
    "maximum_forward": "x if x > y or x != x else y",
    "minimum_forward": "x if x < y or x != x else y",
    "atan2_forward": "math.atan2(x, y)",
    "fmod_forward": "np.fmod(x, y)",
    "remainder_forward": "floor_remainder(x, y)",
    "floor_divide_forward": "floor_quotient(x, y)",
    "eq_forward": "x == y",
    "ne_forward": "x != y",
    "lt_forward": "x < y",
    "le_forward": "x <= y",
    "gt_forward": "x > y",
    "ge_forward": "x >= y",
    "logical_and_forward": "x != 0 and y != 0",
    "logical_or_forward": "x != 0 or y != 0",
    "logical_xor_forward": "(x != 0) != (y != 0)",
}
TERNARY = {
    "lerp_forward": "x + z * (y - x) if abs(z) < 0.5 else y - (1 - z) * (y - x)",
    "addcmul_forward": "x + s * y * z",
    "addcdiv_forward": "x + s * (y / z)",
}
SLOPES = {
    "div_backward_y": "-(g * (x / y)) / y",
    "pow_backward_x": "0.0 if y == 0 else g * y * x ** (y - 1)",
    "pow_backward_y": "0.0 if x == 0 and y >= 0 else g * x**y * math.log(x)",
    "maximum_backward_x": "g if x > y or x != x else share(x, y, g)",
    "maximum_backward_y": "g if y > x or y != y else share(x, y, g)",
    "minimum_backward_x": "g if x < y or x != x else share(x, y, g)",
    "minimum_backward_y": "g if y < x or y != y else share(x, y, g)",
    "atan2_backward_x": "g * y / (x * x + y * y)",
    "atan2_backward_y": "-g * x / (x * x + y * y)",
}


@inline_njit
def share(x, y, g):
    """What a tie gives each of two operands."""
    return g / 2 if x == y else g - g


@inline_njit
def floor_remainder(x, y):
    r = np.fmod(x, y)
    return r + y if r != 0 and (r < 0) != (y < 0) else r


@inline_njit
def floor_quotient(x, y):
    """NumPy's and Python's: the floor of the exact quotient, where division alone may round up to the next integer."""
    if y == 0:
        return x / y
    r = np.fmod(x, y)
    q = (x - r) / y
    if r != 0 and (r < 0) != (y < 0):
        q -= 1
    return np.rint(q) if q != 0 else math.copysign(0.0, x / y)


def where_forward(condition, x, y, out, n, step_c, step_x, step_y, start, stop):
    for i in range(start, stop):
        out[i] = x[i * step_x] if condition[i * step_c] else y[i * step_y]


def _make(name, operands, formula, scalars=()):
    steps = [f"step_{o}" for o in operands]
    lines = [
        f"def {name}({', '.join([*operands, 'out', 'n', *steps, *scalars, 'start', 'stop'])}):",
        "    for i in range(start, stop):",
    ]
    lines.append(f"        out[i] = {name}_of({', '.join([*(f'{o}[i * step_{o}]' for o in operands), *scalars])})")
    names = {f"{name}_of": inline_njit(eval(f"lambda {', '.join([*operands, *scalars])}: {formula}", globals()))}
    exec("\n".join(lines), names)
    return names[name]


for _name, _formula in BINARY.items():
    globals()[_name] = _make(_name, "xy", _formula)
for _name, _formula in TERNARY.items():
    globals()[_name] = _make(_name, "xyz", _formula, () if _name == "lerp_forward" else ("s",))
for _name, _formula in SLOPES.items():
    globals()[_name] = _make(_name, "xyg", _formula)

# ---- Functions of one operand; `v` is the saved element ----


def exp_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.exp(v)


def exp_backward(y, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = y[i]
        grad_x[i] = grad_out[i] * v


def exp2_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.exp2(v)


def exp2_backward(y, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = y[i]
        grad_x[i] = grad_out[i] * v * 0.6931471805599453


def expm1_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.expm1(v)


def expm1_backward(y, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = y[i]
        grad_x[i] = grad_out[i] * (v + 1)


def log_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.log(v)


def log_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] / v


def log2_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.log2(v)


def log2_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] / (v * 0.6931471805599453)


def log10_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.log10(v)


def log10_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] / (v * 2.302585092994046)


def log1p_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.log1p(v)


def log1p_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] / (v + 1)


def sqrt_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.sqrt(v)


def sqrt_backward(y, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = y[i]
        grad_x[i] = grad_out[i] / (v + v)


def rsqrt_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = 1 / np.sqrt(v)


def rsqrt_backward(y, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = y[i]
        grad_x[i] = -0.5 * grad_out[i] * v * v * v


def square_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = v * v


def square_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] * (v + v)


def reciprocal_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = 1 / v


def reciprocal_backward(y, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = y[i]
        grad_x[i] = -grad_out[i] * v * v


def sin_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.sin(v)


def sin_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] * np.cos(v)


def cos_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.cos(v)


def cos_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = -grad_out[i] * np.sin(v)


def tan_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.tan(v)


def tan_backward(y, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = y[i]
        grad_x[i] = grad_out[i] * (1 + v * v)


def asin_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.arcsin(v)


def asin_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] / np.sqrt((1 - v) * (1 + v))


def acos_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.arccos(v)


def acos_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = -grad_out[i] / np.sqrt((1 - v) * (1 + v))


def atan_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.arctan(v)


def atan_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] / (1 + v * v)


def sinh_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.sinh(v)


def sinh_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] * np.cosh(v)


def cosh_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.cosh(v)


def cosh_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] * np.sinh(v)


def asinh_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.arcsinh(v)


def asinh_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] / np.sqrt(v * v + 1)


def acosh_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.arccosh(v)


def acosh_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] / np.sqrt((v - 1) * (v + 1))


def atanh_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.arctanh(v)


def atanh_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] / ((1 - v) * (1 + v))


def erf_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = math.erf(v)


def erf_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] * 1.1283791670955126 * np.exp(-v * v)


def erfc_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = math.erfc(v)


def erfc_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = -grad_out[i] * 1.1283791670955126 * np.exp(-v * v)


def abs_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = abs(v)


def abs_backward(x, grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] if v > 0 else -grad_out[i] if v < 0 else 0


def neg_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = -v


def neg_backward(grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        grad_x[i] = -grad_out[i]


def sign_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = 1 if v > 0 else -1 if v < 0 else 0


def sign_backward(grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        grad_x[i] = 0


def floor_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.floor(v)


def floor_backward(grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        grad_x[i] = 0


def ceil_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.ceil(v)


def ceil_backward(grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        grad_x[i] = 0


def round_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.rint(v)


def round_backward(grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        grad_x[i] = 0


def trunc_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = np.trunc(v)


def trunc_backward(grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        grad_x[i] = 0


def frac_forward(x, out, n, start, stop):
    for i in range(start, stop):
        v = x[i]
        out[i] = v - np.trunc(v)


def frac_backward(grad_out, grad_x, n, start, stop):
    for i in range(start, stop):
        grad_x[i] = grad_out[i]


def clamp_forward(x, out, n, lo, hi, start, stop):
    for i in range(start, stop):
        v = x[i]
        v = lo if v < lo else v
        out[i] = hi if v > hi else v


def clamp_backward(x, grad_out, grad_x, n, lo, hi, start, stop):
    for i in range(start, stop):
        v = x[i]
        grad_x[i] = grad_out[i] if lo <= v and v <= hi else 0
