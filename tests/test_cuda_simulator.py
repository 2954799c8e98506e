"""The CUDA simulator: right answers for right kernels, errors for wrong ones."""

import cuda_samples as samples
import numpy as np
import pytest

pytest.importorskip("greenlet")

from kernelgrad.backends.cuda.simulator import SimulatorError, simulate  # noqa: E402


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [0, 1, 5, 6, 7, 100])
def test_grid_stride_covers_any_n(n, dtype):
    x = np.arange(n, dtype=dtype)
    out = np.full(n + 1, -1, dtype)
    simulate(samples.scale, dtype, (x, out, n, np.float64(0.5)), 2, 3)
    assert (out[:n] == x).all()
    assert out[n] == -1


@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 1), (8, 8, 8), (9, 7, 17), (16, 20, 0)])
def test_tiles_with_ragged_edges(m, n, k):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((m, k)), rng.standard_normal((k, n))
    c = np.full((m, n), np.nan)
    tile = samples.TILE
    grid = (-(-n // tile), -(-m // tile))
    simulate(samples.matmul, "float64", (a.ravel(), b.ravel(), c.ravel(), m, n, k), grid, (tile, tile))
    np.testing.assert_allclose(c, a @ b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("threads", [32, 64, 128])
def test_shuffles_and_shared_memory(threads):
    x = np.random.default_rng(0).standard_normal((3, 150))
    out = np.zeros(3)
    simulate(samples.block_sum, "float64", (x.ravel(), out, 150), 3, threads)
    np.testing.assert_allclose(out, x.sum(1), rtol=1e-12)


def test_votes():
    x = np.tile([1.0, -1.0, -1.0, 2.0], 16)
    out = np.zeros((64, 5), np.int64)
    simulate(samples.votes, "float64", (x, out.ravel(), 64), 1, 64)
    lane = np.arange(64) % 32
    assert (out[:, 0] == 0x99999999).all()
    assert (out[:, 1] == np.arange(64) ^ 1).all()
    assert (out[:, 2] == np.arange(64) - np.where(lane < 3, 0, 3)).all()
    assert (out[:, 3] == 32).all()
    assert (out[:, 4] == [int(i).bit_count() for i in range(64)]).all()


def test_atomics_on_shared_memory():
    x = np.random.default_rng(0).integers(0, 4, 1000)
    out = np.zeros(4, np.int64)
    simulate(samples.histogram, "int64", (x, out, 1000), 1, 32)
    assert (out == np.bincount(x, minlength=4)).all()


def test_math_has_the_type_of_its_argument_and_ieee_answers():
    x = np.array([-2.5, -1.5, 0.5, 1.5, 1e30, np.inf], np.float32)
    out = np.empty_like(x)
    simulate(samples.rint, "float32", (x, out, len(x)), 2, 3)
    assert out.tolist() == [-2.0, -2.0, 0.0, 2.0, np.float32(1e30), np.inf]


def test_a_missing_barrier_shows():
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal((8, 8)) for _ in range(3))
    simulate(samples.matmul_without_barrier, "float64", (a.ravel(), b.ravel(), c.ravel(), 8, 8, 8), 1, (8, 8))
    assert not np.allclose(c, a @ b)


def test_threads_that_wait_for_each_other_in_vain_are_named():
    with pytest.raises(SimulatorError, match="divergent: block .* hangs, 32 of 32 threads wait at barrier and warp"):
        simulate(samples.divergent, "float32", (np.ones(1), np.ones(1), 1), 1, 32)


def test_a_write_past_the_end_raises():
    with pytest.raises(IndexError, match="out of bounds"):
        simulate(samples.past_the_end, "float32", (np.ones(1), np.ones(3), 3), 1, 1)
