"""Cases of reductions, on contiguous, channels-last, transposed and empty arrays."""

import numpy as np

import kernelgrad as kg
from kernelgrad import ops
from kernelgrad.core import views
from kernelgrad.testing.case import OpCase

SHAPES = [(1,), (16,), (17,), (3, 129), (4, 5, 33), (2, 3, 4, 5)]
LONG = [
    (1025,),
    (70000,),
    (3, 70000),
    (40, 1000),
    (1000, 40),
]  # more than a block, than a piece, and columns of both kinds


def _apart(rng, shape):
    """No two elements nearer than the step of a numerical gradient: extrema have one place."""
    n = int(np.prod(shape))
    return ((rng.permutation(n).reshape(shape) - n / 2) * 1e-3,)


def _ties(rng, shape):
    return (rng.integers(-2, 3, shape).astype("float64"),)


def _near_one(rng, shape):
    return (1 + rng.standard_normal(shape) * 0.1,)


def _channels_last(op):
    """The op on an NHWC copy of a 4-d input: the same answer from other memory."""

    def of(x, *args, **kwargs):
        return op(views.channels_last(x) if isinstance(x, kg.Tensor) else x, *args, **kwargs)

    of.__name__ = op.__name__
    return of


def _kernels(name, *slopes):
    return (f"{name}_forward", *(slopes or (f"{name}_backward",)))


def _case(name, kwargs, make=None, grad=(0,), kernels=None, shapes=SHAPES + LONG, **options):
    return OpCase(
        options.pop("title", name),
        getattr(ops, name),
        torch=options.pop("torch", name),
        shapes=shapes,
        make=make,
        kwargs=kwargs,
        grad=grad,
        kernels=kernels or _kernels(name),
        bench=options.pop("bench", [(256, 1024), (4096, 4096)]),
        arrays_moved=1,
        **options,
    )


APART = {"shapes": [(3, 4, 5), (2, 1, 70), (5, 17, 33)], "bench": [(64, 64, 784)]}
ALL_OR_LAST = [{}, {"dim": -1}, {"dim": 0, "keepdim": True}]
NOT_EMPTY = [(lambda: ops.amax(kg.zeros(0)), RuntimeError, "Expected reduction dim to be specified")]

CASES = [
    _case(
        "sum",
        ALL_OR_LAST,
        shapes=[(0,), (3, 0), *SHAPES, *LONG],
        errors=[(lambda: ops.sum(kg.ones(2, 3), dim=2), IndexError, "Dimension out of range")],
    ),
    _case(
        "mean",
        ALL_OR_LAST,
        errors=[(lambda: ops.mean(kg.tensor([1, 2])), RuntimeError, "could not infer output dtype")],
    ),
    # Kept and reduced dimensions alternate in memory.
    _case("sum", [{"dim": (0, 2)}, {"dim": (0, 2), "keepdim": True}], **APART, title="sum_alternating"),
    _case("mean", [{"dim": (0, 2)}], **APART, title="mean_alternating"),
    _case("amax", [{"dim": (0, 2)}], make=_apart, **APART, title="amax_alternating"),
    _case("prod", [{}, {"dim": -1}], make=_near_one, shapes=SHAPES, tolerance=4),
    _case("amax", [{}, {"dim": -1}, {"dim": 0, "keepdim": True}], make=_apart, errors=NOT_EMPTY),
    _case("amin", [{}, {"dim": -1}], make=_apart, kernels=("amin_forward", "amax_backward")),
    _case("max", [{"dim": -1}, {"dim": 0, "keepdim": True}], make=_apart, kernels=("max_forward", "max_backward")),
    _case("min", [{"dim": -1}], make=_apart, kernels=("min_forward", "max_backward")),
    _case("argmax", [{}, {"dim": -1}, {"dim": 0}], make=_ties, grad=(), kernels=("argmax_forward",)),
    _case("argmin", [{}, {"dim": -1}], make=_ties, grad=(), kernels=("argmin_forward",)),
    _case("norm", [{}, {"dim": -1}, {"dim": 0, "keepdim": True}]),
    _case("logsumexp", [{"dim": -1}, {"dim": 0, "keepdim": True}]),
    _case(
        "var",
        [{}, {"dim": -1, "correction": 0}, {"dim": 0, "correction": 0}],
        shapes=[(16,), *SHAPES[2:], *LONG],
        tolerance=2,
    ),
    _case("std", [{}, {"dim": -1, "correction": 1}], shapes=[(16,), *SHAPES[2:], *LONG], tolerance=2),
    _case("cumsum", [{"dim": -1}, {"dim": 0}], shapes=[(0,), *SHAPES, (1000, 40)], tolerance=2),
    _case("any", [{}, {"dim": -1}], make=_ties, grad=(), kernels=("any_forward",), shapes=SHAPES),
    _case("all", [{}, {"dim": -1}], make=_ties, grad=(), kernels=("all_forward",), shapes=SHAPES),
    OpCase(
        "sum_of_images",
        _channels_last(ops.sum),
        torch="sum",
        shapes=[(2, 3, 4, 5), (8, 16, 20, 20)],
        kwargs=[{"dim": d} for d in ((0, 2, 3), (1,), (2, 3), (0, 1), (1, 3))],
        kernels=_kernels("sum"),
    ),
    OpCase(
        "amax_with_ties",
        ops.amax,
        torch="amax",
        shapes=[(17,), (3, 40)],
        make=_ties,
        kwargs=[{"dim": -1}],
        grad=(),
        kernels=("amax_forward",),
    ),
]
