"""Random numbers: Philox against its published answers, the same numbers everywhere, a state that resumes exactly."""

import copy
import pickle

import numpy as np
import pytest

import kernelgrad as kg
from kernelgrad import core, ops
from kernelgrad.kernels.random.reference import _philox, words32, words64

ANSWERS = [  # kat_vectors of Random123: counter, key, outputs of philox4x32 with 10 rounds
    ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), ANSWERS)
def test_reference_is_philox(counter, key, expected):
    c = np.array([counter[0] | counter[1] << 32], np.uint64)
    found = _philox(c, key[0] | key[1] << 32, counter[2] | counter[3] << 32)
    assert [int(x[0]) for x in found] == expected


def levels():
    return [f"simd:{level}" for level in core.available_levels()]


@pytest.mark.parametrize("backend", levels())
@pytest.mark.parametrize("key", [(0, 0), (-5, 7), (2**63 - 1, 2**40)])
@pytest.mark.parametrize("n", [1, 16, 63, 64, 65, 1000])
def test_words_are_the_reference_bit_for_bit(backend, key, n):
    for dtype, words in ((core.int32, words32), (core.int64, words64)):
        out = core.empty((n,), dtype)
        with core.use_backend(backend):
            core.kernel("random_bits_fill")((out,), (n, *key))
        unsigned = core.as_numpy(out).view(f"uint{8 * dtype.itemsize}")
        assert (unsigned == words(n, *key).astype(unsigned.dtype)).all()


@pytest.mark.parametrize("name", ["uniform_", "bernoulli_"])
def test_exact_fills_are_the_reference_bit_for_bit(name):
    def draw(backend):
        with core.use_backend(backend):
            return getattr(kg.empty(1000), name)(generator=kg.Generator().manual_seed(3)).numpy().tobytes()

    assert len({draw(backend) for backend in [*levels(), "reference"]}) == 1


def test_state_resumes_exactly():
    kg.manual_seed(11)
    kg.randn(5)
    state = kg.get_rng_state()
    expected = [kg.rand(3).numpy(), kg.randperm(9).numpy(), kg.dropout(kg.ones(7)).numpy()]
    kg.randn(100)
    kg.set_rng_state(state)
    found = [kg.rand(3).numpy(), kg.randperm(9).numpy(), kg.dropout(kg.ones(7)).numpy()]
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))
    assert state.dtype is kg.uint8
    assert state.shape == (16,)


def test_generator_is_copied_with_its_place():
    generator = kg.Generator().manual_seed(-3)
    kg.rand(4, generator=generator)
    for twin in (copy.deepcopy(generator), pickle.loads(pickle.dumps(generator))):
        assert (kg.rand(4, generator=twin).numpy() == kg.rand(4, generator=copy.copy(generator)).numpy()).all()
    with pytest.raises(RuntimeError, match="expected an integer in"):
        generator.manual_seed(2**64)
    with pytest.raises(TypeError, match="uint8"):
        generator.set_state(kg.zeros(16))


def test_any_layout_gets_the_numbers_of_its_memory():
    whole = kg.empty(6, 10).uniform_(generator=kg.Generator().manual_seed(1))
    gaps = kg.zeros(6, 20)[:, ::2].uniform_(generator=kg.Generator().manual_seed(1))
    assert (whole == gaps).numpy().all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_moments(dtype):
    kg.manual_seed(0)
    n = 200_000
    u, z = kg.rand(n, dtype=getattr(kg, dtype)).numpy(), kg.randn(n, dtype=getattr(kg, dtype)).numpy()
    e = kg.empty(n, dtype=getattr(kg, dtype)).exponential_(2.0).numpy()
    assert u.min() >= 0
    assert u.max() < 1
    assert e.min() > 0
    assert np.isfinite(z).all()
    assert abs(u.mean() - 0.5) < 0.003
    assert abs(u.var() - 1 / 12) < 0.002
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01
    assert abs((z**4).mean() - 3) < 0.15
    assert abs(np.corrcoef(z[:-16], z[16:])[0, 1]) < 0.01
    assert abs(e.mean() - 0.5) < 0.01


def test_integers():
    kg.manual_seed(1)
    dice = kg.randint(1, 7, (60_000,)).numpy()
    assert set(dice) == set(range(1, 7))
    assert np.abs(np.bincount(dice)[1:] - 10_000).max() < 500
    wide = kg.randint(-(2**62), 2**62, (1000,)).numpy()
    assert wide.min() < -(2**61)
    assert wide.max() > 2**61
    assert (np.sort(kg.randperm(1000).numpy()) == np.arange(1000)).all()
    with pytest.raises(RuntimeError, match="from=3 >= to=3"):
        kg.randint(3, 3, (2,))


def test_multinomial():
    kg.manual_seed(2)
    p = kg.tensor([[0.1, 0.0, 0.9], [5.0, 5.0, 0.0]])
    drawn = kg.multinomial(p, 20_000, replacement=True).numpy()
    assert abs((drawn[0] == 0).mean() - 0.1) < 0.01
    assert not (drawn[0] == 1).any()
    assert abs(drawn[1].mean() - 0.5) < 0.02
    assert sorted(kg.multinomial(p[0], 2).tolist()) == [0, 2]
    with pytest.raises(RuntimeError, match="without replacement"):
        kg.multinomial(p, 4)
    with pytest.raises(RuntimeError, match="inf"):
        kg.multinomial(kg.tensor([-1.0, 2.0]), 1)


@pytest.mark.parametrize("shape", [(1000,), (2, 3, 5, 7)])
def test_dropout_draws_one_mask_for_both_passes(shape):
    x = kg.ones(*shape, requires_grad=True)
    y = ops.dropout(x if len(shape) == 1 else x.contiguous(memory_format=kg.channels_last), 0.4)
    y.backward(kg.ones(*shape))
    assert (x.grad == y.detach()).numpy().all()
    assert ops.dropout(x, 0.4, training=False) is x
    assert not ops.dropout(kg.ones(5), 1.0).numpy().any()


def test_like_keeps_the_layout_of_its_model():
    model = kg.zeros(2, 3, 4, 5).to(memory_format=kg.channels_last)
    for make, again in [(kg.rand_like, kg.rand), (kg.randn_like, kg.randn)]:
        kg.manual_seed(1)
        found = make(model)
        assert found.stride() == model.stride()
        kg.manual_seed(1)
        np.testing.assert_array_equal(found.permute(0, 2, 3, 1).numpy().ravel(), again(120).numpy())
        assert make(model.permute(0, 2, 3, 1)[:, 1:]).shape == (2, 3, 5, 3)
