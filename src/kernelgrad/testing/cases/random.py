"""Cases of random fills and dropout. Each call starts a generator of its own, so that every twin draws the same
numbers."""

import kernelgrad as kg
from kernelgrad import ops
from kernelgrad.testing.case import OpCase

SHAPES = [(0,), (1,), (15,), (16,), (17,), (63,), (64,), (65,), (3, 129), (1000,)]


def _generator():
    return ops.Generator().manual_seed(2**40 + 17)


def _fill(name, dtype, kernel, op, errors=()):
    """A fill of the given dtype; the input lends its shape alone."""
    return OpCase(
        f"{name}_{dtype}",
        lambda x: op(kg.empty(tuple(x.shape), dtype=getattr(kg, dtype), device=x.device), _generator()),
        shapes=SHAPES,
        grad=(),
        kernels=(kernel,),
        dtypes=(dtype,),
        arrays_moved=1,
        bench=[(256, 1024), (4096, 1024)],
        errors=list(errors),
    )


def _bits(x, generator):
    ops.random.fill(kg.core.kernel("random_bits_fill"), x, generator)
    return x


UNIFORM_ERRORS = [
    (lambda: kg.empty(2).uniform_(1.0, 0.0), RuntimeError, "from=1.0 > to=0.0"),
    (lambda: kg.zeros(2, dtype=kg.int64).uniform_(), RuntimeError, "floating-point"),
    (lambda: kg.ones(2, requires_grad=True).uniform_(), RuntimeError, "leaf Variable"),
]
CASES = [
    OpCase(
        "dropout",
        lambda x, p=0.5: ops.dropout(x, p, generator=_generator()),
        shapes=SHAPES,
        kwargs=[{}, {"p": 0.0}, {"p": 1.0}, {"p": 0.1}],
        kernels=("dropout_forward",),
        bench=[(256, 1024), (4096, 1024)],
        errors=[
            (lambda: ops.dropout(kg.ones(2), 1.5), ValueError, "dropout probability"),
            (lambda: ops.dropout(kg.ones(2, dtype=kg.int64)), RuntimeError, "floating-point"),
        ],
    ),
    *[
        case
        for dtype in ("float32", "float64")
        for case in (
            _fill("uniform", dtype, "uniform_fill", lambda x, g: x.uniform_(-1.0, 2.5, generator=g), UNIFORM_ERRORS),
            _fill("normal", dtype, "normal_fill", lambda x, g: x.normal_(0.5, 2.0, generator=g)),
            _fill("exponential", dtype, "exponential_fill", lambda x, g: x.exponential_(1.5, generator=g)),
            _fill("bernoulli", dtype, "bernoulli_fill", lambda x, g: x.bernoulli_(0.3, generator=g)),
        )
    ],
    _fill(
        "randint",
        "int64",
        "randint_fill",
        lambda x, g: ops.randint(-5, 2**33, tuple(x.shape), generator=g, device=x.device),
    ),
    _fill("random_bits", "int64", "random_bits_fill", _bits),
    _fill("random_bits", "int32", "random_bits_fill", _bits),
]
