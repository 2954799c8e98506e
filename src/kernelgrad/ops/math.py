"""Functions of mathematics on tensors, elementwise. Worst errors over every float32 are in docs/accuracy.md."""

import builtins

from kernelgrad.core import INPUT, NONE, OUTPUT, Unary
from kernelgrad.ops.elementwise import div, mul

_RETURNS = """

    Parameters
    ----------
    input : Tensor of shape (*), any layout, on any device

    Returns
    -------
    Same shape, layout and device as `input`; a new array. {dtype} Backward keeps {kept}.
    """
_KEPT = {NONE: "nothing", INPUT: "`input`", OUTPUT: "the result"}
_DTYPE = {
    "float": "Integers become the default float dtype.",
    "keep": "Integers keep their dtype.",
    "raise": "TypeError for integers.",
}


def _op(name, saves, formula, integers="float"):
    doc = formula + ", elementwise." + _RETURNS.format(dtype=_DTYPE[integers], kept=_KEPT[saves])
    return Unary(name, saves=saves, integers=integers, doc=doc)


exp = _op("exp", OUTPUT, "``e ** x``")
exp2 = _op("exp2", OUTPUT, "``2 ** x``")
expm1 = _op("expm1", OUTPUT, "``e ** x - 1``, exact near 0")
log = _op("log", INPUT, "The natural logarithm: -inf at 0, nan below")
log2 = _op("log2", INPUT, "The logarithm to base 2")
log10 = _op("log10", INPUT, "The logarithm to base 10")
log1p = _op("log1p", INPUT, "``log(1 + x)``, exact near 0")
sqrt = _op("sqrt", OUTPUT, "The square root: nan below 0")
rsqrt = _op("rsqrt", OUTPUT, "``1 / sqrt(x)``")
square = _op("square", INPUT, "``x * x``", "keep")
reciprocal = _op("reciprocal", OUTPUT, "``1 / x``")
sin = _op("sin", INPUT, "The sine of an angle in radians")
cos = _op("cos", INPUT, "The cosine of an angle in radians")
tan = _op("tan", OUTPUT, "The tangent of an angle in radians")
asin = _op("asin", INPUT, "The angle whose sine is x, in [-pi/2, pi/2]; nan outside of [-1, 1]")
acos = _op("acos", INPUT, "The angle whose cosine is x, in [0, pi]; nan outside of [-1, 1]")
atan = _op("atan", INPUT, "The angle whose tangent is x, in [-pi/2, pi/2]")
sinh = _op("sinh", INPUT, "The hyperbolic sine")
cosh = _op("cosh", INPUT, "The hyperbolic cosine")
asinh = _op("asinh", INPUT, "The inverse hyperbolic sine")
acosh = _op("acosh", INPUT, "The inverse hyperbolic cosine; nan below 1")
atanh = _op("atanh", INPUT, "The inverse hyperbolic tangent; nan outside of [-1, 1]")
erf = _op("erf", INPUT, "The error function, ``2 / sqrt(pi)`` times the integral of ``e ** -t**2`` from 0 to x")
erfc = _op("erfc", INPUT, "``1 - erf(x)``, exact however small")
abs = _op("abs", INPUT, "The absolute value; slope 0 at 0", "keep")
neg = _op("neg", NONE, "``-x``", "keep")
sign = _op("sign", NONE, "1 above 0, -1 below, 0 at 0 and at nan; slope 0", "keep")
floor = _op("floor", NONE, "The largest whole number not above x; slope 0", "keep")
ceil = _op("ceil", NONE, "The smallest whole number not below x; slope 0", "keep")
trunc = _op("trunc", NONE, "The whole part, towards 0; slope 0", "keep")
frac = _op("frac", NONE, "``x - trunc(x)``, with the sign of x", "raise")
_round = _op("round", NONE, "The nearest whole number, half to even; slope 0", "keep")


def round(input, *, decimals=0):
    """The nearest number of so many `decimals` (negative: tens, hundreds ..), half to even; slope 0.

    Parameters
    ----------
    input : Tensor of shape (*), any layout, on any device
    decimals : int

    Returns
    -------
    Same shape, layout and device as `input`; a new array. Integers keep their dtype. Backward keeps nothing.
    """
    if decimals == 0:
        return _round(input)
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"round: decimals are for floating dtypes, got {input.dtype}; convert with .float()")
    power = 10.0 ** builtins.abs(decimals)
    if decimals < 0:
        return mul(_round(div(input, power)), power)
    return div(_round(mul(input, power)), power)


absolute, negative, fix, arcsin, arccos, arctan = abs, neg, trunc, asin, acos, atan
arcsinh, arccosh, arctanh = asinh, acosh, atanh
