"""Functions of float32 stay within the errors that docs/accuracy.md publishes, and have the same bits on all
instruction sets with fma; exhaustively by `python -m kernelgrad.testing.every_float --full`."""

import numpy as np
import pytest

from kernelgrad import core
from kernelgrad.testing import every_float

LEVELS = core.available_levels()[::-1]


def check(results, bars, bars_generic):
    for level, (most, at, same) in zip(LEVELS, results, strict=True):
        assert most <= (bars_generic if level == "generic" else bars), f"{level}: {most} ulp at {at!r}"
        assert same or level == "generic", f"{level} differs from {LEVELS[0]}"


@pytest.mark.parametrize("name", every_float.BARS)
def test_every_251st_float(name):
    if name in ("erf", "erfc", "gelu"):
        pytest.importorskip("scipy", reason="NumPy has no error function, and the C library's one by one takes minutes")
    bar = every_float.BARS[name]
    check(every_float.worst(name, LEVELS), bar, every_float.BARS_GENERIC.get(name, bar))


@pytest.mark.parametrize("name", every_float.PAIRS)
def test_pairs(name):
    bar = every_float.PAIRS[name]
    check(every_float.worst_pair(name, LEVELS, 400_000), bar, bar)


def test_slope_of_gelu():
    """Backward by itself, where numbers far below zero lie among others."""
    special = pytest.importorskip("scipy.special")
    grid = np.linspace(-15, 15, 1_000_003, dtype=np.float32)
    x = np.random.default_rng(0).permutation(np.concatenate([grid, -np.geomspace(1e-40, 1, 10_000, dtype=np.float32)]))
    wide = x.astype(np.float64)
    exact = special.ndtr(wide) + wide * np.exp(-0.5 * wide * wide) / np.sqrt(2 * np.pi)
    answers = every_float._answers(core.kernel("gelu_backward"), (x, np.ones_like(x)), (x.size,), (), LEVELS)
    for level, actual in zip(LEVELS, answers, strict=True):
        off = every_float.errors(actual, exact)
        assert off.max() <= (8 if level == "generic" else 4), f"{level}: {off.max()} ulp at {x[off.argmax()]!r}"
        assert level == "generic" or np.array_equal(actual, answers[0]), f"{level} differs from {LEVELS[0]}"
