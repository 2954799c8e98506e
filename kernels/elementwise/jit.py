"""Numba twins of the elementwise kernels. A step of 0 repeats an operand's one element."""

import math

import numpy as np

from kernelgrad.kernels.runtime.jit import inline_njit

# Broadcasting kernels take (operands..., out, n, a step per operand, start, stop) and differ in one formula: each is made from
# it here, as the C bodies are made by a macro.

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


def _make(name, operands, formula):
    steps = [f"step_{o}" for o in operands]
    lines = [f"def {name}({', '.join([*operands, 'out', 'n', *steps, 'start', 'stop'])}):", "    for i in range(start, stop):"]
    lines.append(f"        out[i] = {name}_of({', '.join(f'{o}[i * step_{o}]' for o in operands)})")
    names = {f"{name}_of": inline_njit(eval(f"lambda {', '.join(operands)}: {formula}", globals()))}
    exec("\n".join(lines), names)
    return names[name]


for _name, _formula in BINARY.items():
    globals()[_name] = _make(_name, "xy", _formula)
for _name, _formula in SLOPES.items():
    globals()[_name] = _make(_name, "xyg", _formula)
