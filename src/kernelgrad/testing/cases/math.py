"""Cases of the functions of one operand, each on the numbers where it is defined."""

import numpy as np

from kernelgrad.ops import math as ops
from kernelgrad.testing.case import OpCase

SHAPES = [(0,), (1,), (7,), (15,), (17,), (3, 129), (70, 1000)]


def _normal(rng, shape):
    return (rng.standard_normal(shape) * 2,)


def _positive(rng, shape):
    return (np.abs(rng.standard_normal(shape)) * 2 + 0.1,)


def _apart(rng, shape):
    return ((np.abs(rng.standard_normal(shape)) + 0.3) * rng.choice([-1, 1], shape),)


def _inside(rng, shape):
    return (rng.uniform(-0.95, 0.95, shape),)


def _above_one(rng, shape):
    return (1.05 + np.abs(rng.standard_normal(shape)),)


def _between(rng, shape):
    """Away from whole numbers and from halves, where steps and slopes jump."""
    return (rng.integers(-5, 5, shape) + rng.choice([0.1, 0.3, 0.7, 0.9], shape),)


def _case(name, make=_normal, **options):
    return OpCase(
        name,
        getattr(ops, name),
        torch=name,
        shapes=SHAPES,
        make=make,
        kernels=(f"{name}_forward", f"{name}_backward"),
        bench=[(256, 1024), (4096, 4096)],
        errors=[(lambda: getattr(ops, name)(1.0), TypeError, "must be Tensor")],
        **options,
    )


CASES = [
    *[
        _case(name)
        for name in ("exp", "exp2", "expm1", "square", "sin", "cos", "atan", "sinh", "cosh", "asinh", "erf", "neg")
    ],
    _case("erfc"),
    *[_case(name, _positive) for name in ("log", "log2", "log10", "sqrt", "rsqrt")],
    *[_case(name, _apart) for name in ("reciprocal", "abs", "sign")],
    *[_case(name, _inside) for name in ("log1p", "tan", "asin", "acos", "atanh")],
    _case("acosh", _above_one),
    *[_case(name, _between) for name in ("floor", "ceil", "round", "trunc", "frac")],
]
