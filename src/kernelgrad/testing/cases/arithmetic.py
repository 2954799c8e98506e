"""Cases of arithmetic, comparison and choice with broadcasting."""

import numpy as np

import kernelgrad as kg
from kernelgrad import ops
from kernelgrad.testing.case import OpCase

# Pairs of shapes: equal, stretched on either side and on both, 0-d, empty, long rows and short.
PAIRS = [
    ((17,), (17,)),
    ((3, 129), (129,)),
    ((3, 1, 5), (4, 1)),
    ((), (7,)),
    ((2, 3), ()),
    ((0, 3), (3,)),
    ((5, 1), (1, 33)),
    ((40, 1000), (40, 1000)),
]


def _pair(rng, shapes):
    return tuple(np.asarray(rng.standard_normal(s) * 2) for s in shapes)


def _apart(rng, shapes):
    """Divisors and bases away from zero, where slopes are of ordinary size."""
    x, y = _pair(rng, shapes)
    return x, (abs(y) + 0.5) * rng.choice([-1, 1], y.shape)


def _positive(rng, shapes):
    x, y = _pair(rng, shapes)
    return abs(x) + 0.3, y


def _exponents(rng, shapes):
    """Bases that are positive, exponents with a formula of their own and others."""
    x, _ = _positive(rng, shapes)
    return x, np.asarray(rng.choice([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 2.7, 3.0, 4.0, 5.0], shapes[1]))


def _ties(rng, shapes):
    return tuple(np.asarray(rng.integers(-2, 3, s), "float64") for s in shapes)


def _three(rng, shapes):
    x, y = _apart(rng, shapes)
    return x, rng.standard_normal(shapes[0]), y


def _where(rng, shapes):
    x, y = _pair(rng, shapes)
    return np.asarray(rng.random(shapes[0]) < 0.5), x, y


def _not_broadcast(op):
    return [(lambda: op(kg.ones(3), kg.ones(4)), RuntimeError, r"\(3,\) and \(4,\) do not broadcast")]


def _binary(name, torch=None, make=_pair, grad=(0, 1), slopes=(), **options):
    op = getattr(ops, name)
    return OpCase(
        name,
        op,
        torch=torch or name,
        shapes=PAIRS,
        make=make,
        grad=grad,
        kernels=(f"{name}_forward", *slopes),
        bench=[((256, 1024), (256, 1024)), ((4096, 4096), (4096, 4096))],
        arrays_moved=3,
        errors=_not_broadcast(op),
        **options,
    )


CASES = [
    _binary("add"),
    _binary("sub"),
    _binary("mul"),
    _binary("div", make=_apart, slopes=("div_backward_y",)),
    _binary("pow", make=_positive, slopes=("pow_backward_x", "pow_backward_y"), tolerance=4),
    OpCase(
        "pow_number",
        ops.pow,
        torch="pow",
        shapes=[(0,), (1,), (17,), (3, 129), (70, 1000)],
        make=lambda rng, shape: (abs(rng.standard_normal(shape)) + 0.3,),
        kwargs=[{"exponent": e} for e in (3, 4, 0.5, -0.5, -1, -2, 2.7)],
        kernels=("pow_forward", "pow_backward_x"),
        tolerance=4,
        bench=[(1024, 1024)],
        arrays_moved=2,
    ),
    OpCase(
        "pow_exponents",
        ops.pow,
        torch="pow",
        shapes=PAIRS,
        make=_exponents,
        grad=(0, 1),
        kernels=("pow_forward", "pow_backward_x", "pow_backward_y"),
        tolerance=4,
    ),
    _binary("maximum", slopes=("maximum_backward_x", "maximum_backward_y")),
    _binary("minimum", slopes=("minimum_backward_x", "minimum_backward_y")),
    _binary("atan2", make=_apart, slopes=("atan2_backward_x", "atan2_backward_y")),
    *[_binary(name, grad=(), make=_ties) for name in ("eq", "ne", "lt", "le", "gt", "ge")],
    *[_binary(name, grad=(), make=_ties) for name in ("logical_and", "logical_or", "logical_xor")],
    _binary("remainder", make=_apart, grad=()),
    _binary("fmod", make=_apart, grad=()),
    _binary("floor_divide", make=_apart, grad=()),
    OpCase(
        "where",
        ops.where,
        torch="where",
        shapes=PAIRS,
        make=_where,
        grad=(1, 2),
        kernels=("where_forward",),
        bench=[((256, 1024), (256, 1024))],
        arrays_moved=4,
        errors=[
            (
                lambda: ops.where(kg.ones(3), kg.ones(3), kg.ones(3)),
                RuntimeError,
                "expected condition to be a boolean tensor",
            )
        ],
    ),
    OpCase(
        "lerp",
        ops.lerp,
        torch="lerp",
        shapes=PAIRS,
        make=_three,
        grad=(0, 1, 2),
        kernels=("lerp_forward",),
        bench=[((256, 1024), (256, 1024)), ((4096, 4096), (4096, 4096))],
        arrays_moved=4,
        errors=[
            (lambda: ops.lerp(kg.ones(3), kg.ones(3), kg.ones(4)), RuntimeError, "do not broadcast"),
            (lambda: ops.lerp(1.0, 2.0, 0.5), TypeError, r"lerp\(\): at least one argument must be a Tensor"),
        ],
    ),
    *[
        OpCase(
            name,
            getattr(ops, name),
            torch=name,
            shapes=PAIRS,
            make=_three,
            grad=(0, 1, 2),
            kwargs=[{}, {"value": -0.75}],
            kernels=(f"{name}_forward",),
            bench=[((256, 1024), (256, 1024)), ((4096, 4096), (4096, 4096))],
            arrays_moved=4,
            errors=[
                (
                    lambda name=name: getattr(ops, name)(1, 2.0, 3),
                    TypeError,
                    rf"{name}\(\): at least one argument must be a Tensor, got int, float, int",
                )
            ],
        )
        for name in ("addcmul", "addcdiv")
    ],
    OpCase(
        "clamp",
        ops.clamp,
        torch="clamp",
        shapes=[(0,), (1,), (17,), (3, 129)],
        kwargs=[{"min": -1.0, "max": 1.0}, {"min": 0.5}, {"max": -0.25}, {"min": 0.5, "max": -0.5}],
        kernels=("clamp_forward", "clamp_backward"),
        errors=[(lambda: ops.clamp(kg.ones(3)), RuntimeError, "At least one of 'min' or 'max'")],
    ),
]
