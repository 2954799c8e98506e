"""What docs/reproducibility.md promises of whole networks: the same bits, alone or in a batch, in 50 training steps."""

import numpy as np
import pytest

import kernelgrad as kg
from kernelgrad import core, nn
from kernelgrad.core import use_backend
from kernelgrad.nn import functional as F

LEVELS = core.available_levels()


def cnn():
    """Winograd and direct convolutions of several kinds, batch norm, dropout, pooling, linear layers."""
    return nn.Sequential(
        nn.Conv2d(2, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1, groups=32),
        nn.Conv2d(32, 24, 1),
        nn.BatchNorm2d(24),
        nn.SiLU(),
        nn.Dropout(0.2),
        nn.Conv2d(24, 24, 3, stride=2, padding=1),
        nn.Flatten(),
        nn.LayerNorm(24 * 16),
        nn.Linear(24 * 16, 33),
        nn.Tanh(),
        nn.Linear(33, 10),
    )


def mlp():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(512, 130), nn.Tanh(), nn.LayerNorm(130), nn.Linear(130, 70), nn.ReLU(), nn.Linear(70, 3)
    )


def trained(steps=50):
    """Every parameter and buffer, and the losses, of a training with dropout, batch norm and AdamW."""
    kg.manual_seed(3)
    model = cnn()
    optimizer = kg.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    losses = []
    for _ in range(steps):
        x, y = kg.randn(9, 2, 16, 16), kg.randint(0, 10, (9,))
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


@pytest.fixture(scope="module")
def expected():
    before = kg.get_num_threads()
    kg.set_num_threads(1)
    result = trained()
    kg.set_num_threads(before)
    assert np.isfinite(result[0]).all()
    assert len(set(result[0])) == 50
    return result


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 7])
def test_fifty_steps_have_the_same_bits_for_any_thread_count(expected, threads):
    before = kg.get_num_threads()
    kg.set_num_threads(threads)
    try:
        assert trained() == expected
    finally:
        kg.set_num_threads(before)


@pytest.mark.skipif("avx512" not in LEVELS, reason="needs avx2 and avx512")
@pytest.mark.parametrize("level", ["avx2", "avx512"])
def test_fifty_steps_have_the_same_bits_on_avx2_and_avx512(expected, level):
    with use_backend(f"auto:{level}"):
        assert trained() == expected


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("exponent", [-2, -1, -0.5, 0, 0.5, 1, 2, 2.7, 3, 4, 5])
def test_a_power_alone_has_the_bits_it_has_in_a_batch(exponent, level):
    """However the exponent is given: a number, a tensor of one, one for each element, among others."""
    rng = np.random.default_rng(0)
    x, g = (kg.tensor(rng.standard_normal((5, 29)).astype("f")) for _ in range(2))
    x[0, :4] = kg.tensor([0.0, -0.0, float("inf"), float("-inf")])
    each = kg.full((5, 29), float(exponent))
    mixed = kg.tensor(rng.standard_normal((5, 29)).astype("f"))
    mixed[:, ::3] = exponent

    def power_and_slope(x, exponent, g):
        x = x.clone().requires_grad_()
        y = x**exponent
        y.backward(g)
        return y.detach().numpy(), x.grad.numpy()

    with use_backend(f"auto:{level}"):
        expected = power_and_slope(x, float(exponent), g)
        ways = [(slice(None), e) for e in (exponent, kg.tensor(float(exponent)), each[:1, :1], each, each[:, :1])]
        ways += [((slice(None), slice(0, None, 3)), mixed[:, ::3])]
        ways += [((i, j), e) for i in range(2) for j in range(29) for e in (exponent, each[i, j])]
        ways += [((i, slice(j, j + 1)), each[0, :1]) for i in range(2) for j in range(29)]
        for place, e in ways:
            for actual, whole in zip(power_and_slope(x[place], e, g[place]), expected, strict=True):
                assert actual.tobytes() == np.ascontiguousarray(whole[place]).tobytes(), (place, e)
        for actual, whole in zip(power_and_slope(x, mixed, g), expected, strict=True):
            assert np.array_equal(actual[:, ::3], whole[:, ::3], equal_nan=True)


ALONE = {
    "linear": (lambda: nn.Linear(100, 37), (100,)),
    "linear of sequences": (lambda: nn.Linear(40, 65), (7, 40)),
    "conv 3x3": (lambda: nn.Conv2d(20, 33, 3, padding=1), (20, 13, 11)),
    "conv 3x3, one tile": (lambda: nn.Conv2d(64, 64, 3, padding=1), (64, 4, 4)),
    "conv 1x1": (lambda: nn.Conv2d(70, 90, 1), (70, 5, 9)),
    "conv 5x5 stride 2": (lambda: nn.Conv2d(6, 40, 5, stride=2, padding=2), (6, 19, 17)),
    "conv, first layer": (lambda: nn.Conv2d(3, 33, 7, stride=2, padding=3), (3, 30, 31)),
    "conv, depthwise": (lambda: nn.Conv2d(35, 35, 3, padding=1, groups=35), (35, 9, 14)),
    "conv, depthwise 7x7 stride 2": (lambda: nn.Conv2d(35, 35, 7, stride=2, padding=3, groups=35), (35, 11, 22)),
    "conv, grouped": (lambda: nn.Conv2d(24, 36, 3, padding=1, groups=4), (24, 9, 14)),
    "conv1d": (lambda: nn.Conv1d(9, 21, 3), (9, 50)),
    "transposed conv": (lambda: nn.ConvTranspose2d(12, 18, 3, stride=2), (12, 7, 6)),
    "max pool": (lambda: nn.MaxPool2d(3, 2, 1), (19, 11, 15)),
    "average pool": (lambda: nn.AvgPool2d(2), (19, 11, 15)),
    "adaptive average pool": (lambda: nn.AdaptiveAvgPool2d((3, 1)), (19, 11, 15)),
    "batch norm": (lambda: nn.BatchNorm2d(21), (21, 9, 7)),
    "layer norm": (lambda: nn.LayerNorm(205), (205,)),
    "group norm": (lambda: nn.GroupNorm(4, 20), (20, 7, 5)),
    "instance norm": (lambda: nn.InstanceNorm2d(9, affine=True), (9, 7, 5)),
    "rms norm": (lambda: nn.RMSNorm(205), (205,)),
    "softmax": (lambda: nn.Softmax(dim=-1), (301,)),
    "log softmax": (lambda: nn.LogSoftmax(dim=-1), (77,)),
    "gelu": (lambda: nn.GELU(), (205,)),
    "MLP": (mlp, (2, 16, 16)),
    "CNN": (cnn, (2, 16, 16)),
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ALONE)
def test_a_sample_alone_has_the_bits_it_has_in_a_batch(name, level):
    build, shape = ALONE[name]
    kg.manual_seed(1)
    model = build()
    batch = kg.randn(41, *shape)
    for value in model.state_dict().values():  # statistics and weights of a trained network, not zeros and ones
        if value.dtype == kg.float32:
            value.copy_(kg.rand_like(value) * 0.2 + (1.0 if value.ndim == 1 else -0.1))
    model.eval()
    with kg.no_grad(), use_backend(f"auto:{level}"):
        whole = model(batch).numpy()
        assert np.unique(whole).size > 20
        for first, last in [(0, 1), (17, 18), (40, 41), (0, 2), (5, 12), (8, 40)]:
            assert np.array_equal(model(batch[first:last]).numpy(), whole[first:last]), f"samples {first} to {last}"


def of_rows():
    """Ops of the last dimension, whose short rows are folded several at a time."""

    def losses(x):
        return F.cross_entropy(x, kg.zeros(x.shape[0], dtype=kg.int64), reduction="none")

    return {
        "sum": lambda x: x.sum(-1),
        "prod": lambda x: x.prod(-1),
        "amax": lambda x: x.amax(-1),
        "amin": lambda x: x.amin(-1),
        "var": lambda x: x.var(-1, correction=0),
        "logsumexp": lambda x: x.logsumexp(-1),
        "softmax": lambda x: F.softmax(x, -1),
        "log_softmax": lambda x: F.log_softmax(x, -1),
        "layer_norm": lambda x: F.layer_norm(x, (x.shape[-1],)),
        "rms_norm": lambda x: F.rms_norm(x, (x.shape[-1],)),
        "cross_entropy": losses,
    }


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", of_rows())
def test_a_short_row_alone_has_the_bits_it_has_among_others(name, level):
    op = of_rows()[name]
    rng = np.random.default_rng(5)
    with use_backend(f"simd:{level}"), kg.no_grad():
        for n in (1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 255, 256, 257):
            x = rng.standard_normal((35, n), np.float32)
            x[3, n // 2], x[9, 0], x[17, -1], x[20] = np.nan, np.inf, -np.inf, -np.inf
            x[22] = -0.0
            together = op(kg.from_numpy(x)).numpy()
            alone = np.concatenate([op(kg.from_numpy(x[i : i + 1].copy())).numpy() for i in range(35)])
            assert together.tobytes() == alone.tobytes(), n
            finite = np.isfinite(x).all(1)
            assert np.isfinite(together[finite]).all()
