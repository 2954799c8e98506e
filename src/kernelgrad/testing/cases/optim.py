"""Cases of the optimizers' kernels: one step on copies of parameter, gradient and state; what comes back is what was
written."""

import numpy as np

from kernelgrad import core
from kernelgrad.testing.case import OpCase

SHAPES = [(0,), (1,), (7,), (17,), (3, 129)]


def _make(states):
    """Parameter, gradient, and `states` arrays that are not negative."""

    def make(rng, shape):
        return (
            rng.standard_normal(shape),
            rng.standard_normal(shape),
            *(rng.random(shape) + 0.1 for _ in range(states)),
        )

    return make


def _step(name, flags, scalars, absent=()):
    """The kernel as a function of its arrays; None goes in at the positions `absent`."""

    def step(*arrays):
        arrays = [core.copy(core.contiguous(a)) for a in arrays]
        given = list(arrays)
        for position in absent:
            given.insert(position, None)
        if arrays[0].numel():
            core.kernel(name)(tuple(given), (arrays[0].numel(), *flags), scalars)
        return tuple(arrays)

    return step


def _case(suffix, name, states, flags, scalars, absent=()):
    return OpCase(
        f"{name}{suffix}",
        _step(name, flags, scalars, absent),
        shapes=SHAPES,
        make=_make(states),
        grad=(),
        kernels=(name,),
        arrays_moved=3 + 2 * states,
    )


def _norm(x):
    parts = core.empty((-(-x.numel() // 16384),), core.float64, x.device)
    if x.numel():
        core.kernel("squared_norm_forward")((core.contiguous(x), parts), (parts.numel(), x.numel()))
    total = np.asarray(core.as_numpy(core.move(parts, "cpu")).sum(), x.dtype.numpy)
    return core.move(core.from_numpy(total), x.device)


def _scale(x):
    x = core.copy(core.contiguous(x))
    if x.numel():
        core.kernel("scale_step")((x,), (x.numel(),), (0.3,))
    return x


COMMON = (0.7, 0.02, 0.99)  # gradient scale, weight decay, shrink
CASES = [
    _case("", "sgd_step", 0, (0, 0), (*COMMON, 0.1, 0.0, 1.0, 0.0), absent=(2,)),
    _case("_momentum", "sgd_step", 1, (1, 0), (*COMMON, 0.1, 0.9, 0.8, 0.9)),
    _case("_nesterov", "sgd_step", 1, (1, 1), (*COMMON, 0.1, 0.9, 1.0, 0.9)),
    _case("", "adam_step", 2, (0,), (*COMMON, 0.1, 0.999, 1e-3, 0.01, 1.2, 1e-8), absent=(4,)),
    _case("_amsgrad", "adam_step", 3, (1,), (*COMMON, 0.1, 0.999, 1e-3, 0.01, 1.2, 1e-8)),
    _case("", "nadam_step", 2, (), (*COMMON, 0.1, 0.999, 1e-3, 0.01, 0.02, 1.2, 1e-8)),
    _case("", "radam_step", 2, (1,), (*COMMON, 0.1, 0.999, 1e-3, 0.01, 1e-8)),
    _case("_unrectified", "radam_step", 2, (0,), (*COMMON, 0.1, 0.999, 1e-3, 0.01, 1e-8)),
    _case("", "adamax_step", 2, (), (*COMMON, 0.1, 0.999, 0.01, 1e-8)),
    _case("", "rmsprop_step", 1, (0, 0), (*COMMON, 0.9, 0.1, 0.01, 1e-8, 0.9), absent=(3, 4)),
    _case("_momentum", "rmsprop_step", 2, (0, 1), (*COMMON, 0.9, 0.1, 0.01, 1e-8, 0.9), absent=(3,)),
    _case("", "adagrad_step", 1, (), (*COMMON, 0.01, 1e-10)),
    _case("", "adadelta_step", 2, (), (*COMMON, 0.9, 0.1, 1.0, 1e-6)),
    OpCase("scale_step", _scale, shapes=SHAPES, grad=(), kernels=("scale_step",)),
    OpCase(
        "squared_norm",
        _norm,
        shapes=[(0,), (1,), (17,), (40000,)],
        grad=(),
        kernels=("squared_norm_forward",),
        arrays_moved=1,
    ),
]
