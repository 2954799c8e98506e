"""Training on device "cuda" (simulated where there is no GPU) goes the way it goes on the CPU."""

import numpy as np
import pytest

pytest.importorskip("greenlet")

import kernelgrad as kg  # noqa: E402
from kernelgrad import cuda, nn, optim  # noqa: E402
from kernelgrad.backends.cuda.backend import start  # noqa: E402
from kernelgrad.backends.cuda.simulated import SimulatedGpu  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def some_device():
    """The GPU where there is one, else the simulated device."""
    return start(None if cuda.is_available() else SimulatedGpu())


def spirals(count, seed=0):
    """Points of three arms in the plane, and which arm each is on."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, count)
    radius = rng.uniform(0.2, 1.0, count)
    angle = 3 * radius + label * 2 * np.pi / 3 + rng.normal(0, 0.1, count)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32), label


def losses(device, make_optimizer, steps=12, batch=20):
    """The loss of every step of a small MLP, and the trained parameters."""
    kg.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 20), nn.ReLU(), nn.Linear(20, 3)).to(device)
    optimizer = make_optimizer(model.parameters())
    points, labels = spirals(3 * batch)
    x, y = kg.tensor(points, device=device), kg.tensor(labels, device=device)
    curve = []
    for step in range(steps):
        at = step % 3 * batch
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[at : at + batch]), y[at : at + batch])
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    assert all(p.device == device and p.grad.device == device for p in model.parameters())
    return curve, [p.detach().cpu().numpy() for p in model.parameters()]


OPTIMIZERS = {
    "sgd": lambda parameters: optim.SGD(parameters, lr=0.5),
    "sgd-momentum": lambda parameters: optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adam": lambda parameters: optim.Adam(parameters, lr=0.05),
    "adamw": lambda parameters: optim.AdamW(parameters, lr=0.05, amsgrad=True),
    "rmsprop": lambda parameters: optim.RMSprop(parameters, lr=0.01, centered=True, momentum=0.5),
    "adagrad": lambda parameters: optim.Adagrad(parameters, lr=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_mlp_learns_as_on_the_cpu(name):
    expected, expected_parameters = losses("cpu", OPTIMIZERS[name])
    actual, parameters = losses("cuda", OPTIMIZERS[name])
    np.testing.assert_allclose(actual, expected, rtol=2e-4)
    for a, e in zip(parameters, expected_parameters):
        np.testing.assert_allclose(a, e, rtol=2e-3, atol=2e-4)
    assert np.mean(actual[-3:]) < 0.9 * np.mean(actual[:3])


def test_after_the_second_step_the_allocator_asks_for_nothing():
    model = nn.Sequential(nn.Linear(2, 9), nn.Tanh(), nn.Linear(9, 3)).to("cuda")
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    x, y = (kg.tensor(a, device="cuda") for a in spirals(5))
    misses = []
    for _ in range(4):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        misses.append(cuda.memory_stats()["misses"])
    assert misses[1] == misses[3]


def test_a_model_goes_there_and_back():
    model = nn.Linear(3, 2)
    before = [p.detach().numpy().copy() for p in model.parameters()]
    assert {str(p.device) for p in model.to("cuda").parameters()} <= {"cuda", "cuda:0"}
    for p, b in zip(model.to("cpu").parameters(), before):
        assert (p.detach().numpy() == b).all()


def test_devices_do_not_mix():
    model = nn.Linear(3, 2).to("cuda")
    with pytest.raises(RuntimeError, match="same device"):
        model(kg.ones(1, 3))
