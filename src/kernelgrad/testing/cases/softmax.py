"""Cases of softmax: rows that lie together and rows that do not, short and longer than a block."""

import numpy as np

import kernelgrad as kg
from kernelgrad import ops
from kernelgrad.testing.case import OpCase

SHAPES = [(1,), (15,), (16,), (17,), (3, 129), (4, 5, 33), (2, 3000), (70, 3, 5), (3, 70, 80)]


def _large(rng, shape):
    """Logits far enough apart to overflow a careless exp."""
    return (rng.standard_normal(shape) * 60,)


def _case(name, **options):
    return OpCase(
        name,
        getattr(ops, name),
        torch=f"nn.functional.{name}",
        shapes=SHAPES,
        kwargs=[{"dim": -1}, {"dim": 0}],
        kernels=(f"{name}_forward", f"{name}_backward"),
        bench=[(256, 64), (512, 1000), (4096, 4096)],
        errors=[(lambda: getattr(ops, name)(kg.ones(2, 3), dim=2), IndexError, "Dimension out of range")],
        **options,
    )


CASES = [
    _case("softmax"),
    _case("log_softmax"),
    OpCase(
        "softmax_of_large",
        ops.softmax,
        torch="nn.functional.softmax",
        shapes=[(3, 17), (2, 2000)],
        make=_large,
        kwargs=[{"dim": -1}],
        grad=(),
        kernels=("softmax_forward",),
        tolerance=8,
    ),
    OpCase(
        "softmax_masked",  # -inf in every row, and rows of nothing else
        ops.softmax,
        torch="nn.functional.softmax",
        shapes=[(4, 17), (4, 40)],
        make=lambda rng, shape: (
            np.where(rng.random(shape) < 0.5 + 0.5 * (np.arange(shape[0])[:, None] == 1), -np.inf, 1.0),
        ),
        kwargs=[{"dim": -1}, {"dim": 0}],
        grad=(),
        kernels=("softmax_forward",),
    ),
]
