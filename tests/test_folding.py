"""What a Sequential runs as one kernel: a convolution or, in training, a batch norm with its relu; in inference a
convolution with its batch norm."""

import copy
import gc

import numpy as np
import pytest

import kernelgrad as kg
from kernelgrad import nn
from kernelgrad.nn import folding

CONVOLUTIONS = {
    "winograd": (lambda: nn.Conv2d(16, 33, 3, padding=1, bias=False), (16, 9, 10)),
    "strided": (lambda: nn.Conv2d(5, 18, 3, stride=2), (5, 13, 12)),
    "1x1": (lambda: nn.Conv2d(20, 40, 1), (20, 6, 5)),
    "depthwise": (lambda: nn.Conv2d(18, 18, 3, padding=1, groups=18), (18, 8, 7)),
    "grouped": (lambda: nn.Conv2d(16, 24, 3, groups=4), (16, 8, 7)),
    "reflect": (lambda: nn.Conv2d(8, 16, 3, padding=2, padding_mode="reflect"), (8, 9, 9)),
    "1d": (lambda: nn.Conv1d(6, 17, 5, padding="same"), (6, 40)),
}


def with_statistics(norm):
    """As after training: no statistic or weight is 0 or 1."""
    for value in norm.state_dict().values():
        if value.dtype == kg.float32:
            value.copy_(kg.rand_like(value) + 0.3)
    return norm


def build(name, relu=True):
    kg.manual_seed(4)
    make, shape = CONVOLUTIONS[name]
    conv = make()
    norm = with_statistics((nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(conv.out_channels))
    return nn.Sequential(conv, norm, *[nn.ReLU()] * relu).eval(), kg.randn(3, *shape)


def one_by_one(model, x):
    for module in model:
        x = module(x)
    return x


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_folded_norm_rounds_like_the_convolution(name, relu):
    model, x = build(name, relu)
    with kg.no_grad():
        actual = model(x)
        assert len(folding.kept) >= 1
        assert np.array_equal(model(x).numpy(), actual.numpy())  # from what was kept
        exact = one_by_one(copy.deepcopy(model).double(), x.double()).numpy()
    assert np.linalg.norm(actual.numpy() - exact) <= 2e-6 * np.linalg.norm(exact)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_with_gradients_and_in_training_nothing_is_folded(name):
    model, x = build(name)
    assert np.array_equal(model(x).detach().numpy(), one_by_one(model, x).detach().numpy())
    model.train()
    with kg.no_grad():
        before = {key: value.clone() for key, value in model.state_dict().items()}
        joined = model(x).numpy()
        model.load_state_dict(before)
        assert np.array_equal(joined, one_by_one(model, x).numpy())


CHANGES = {
    "weight": lambda model: model[0].weight.mul_(2),
    "bias": lambda model: model[0].bias.add_(1),
    "a new weight": lambda model: setattr(model[0], "weight", nn.Parameter(kg.ones_like(model[0].weight))),
    "gamma": lambda model: model[1].weight.neg_(),
    "beta": lambda model: model[1].bias.sub_(3),
    "mean": lambda model: model[1].running_mean.add_(1),
    "variance": lambda model: model[1].running_var.mul_(3),
    "eps": lambda model: setattr(model[1], "eps", 0.5),
    "a step of training": lambda model: (model.train()(kg.randn(3, 20, 6, 5)), model.eval()),
    "a loaded state": lambda model: model.load_state_dict({k: v * 2 for k, v in model.state_dict().items()}),
    "NumPy": lambda model: model[0].weight.detach().numpy().fill(0.25),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(change):
    model, x = build("1x1")
    with kg.no_grad():
        before = model(x).numpy()
        model(x)
        CHANGES[change](model)
        after = model(x).numpy()
        assert not np.allclose(after, before, rtol=1e-3)
        np.testing.assert_allclose(after, one_by_one(model, x).numpy(), rtol=1e-4, atol=1e-5)
        if change == "NumPy":  # the view may be written again, at any time
            model[0].weight.detach().numpy().fill(-0.5)
            np.testing.assert_allclose(model(x).numpy(), one_by_one(model, x).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_hooks_see_every_layer(position):
    model, x = build("1x1")
    seen = []
    model[position].register_forward_hook(lambda module, inputs, output: seen.append(output.numpy().copy()))
    with kg.no_grad():
        model(x)
        expected = one_by_one(nn.Sequential(*list(model)[: position + 1]), x).numpy()
    if position < 2:  # the pair is not folded
        assert np.array_equal(seen[0], expected)
    else:
        np.testing.assert_allclose(seen[0], expected, rtol=1e-4, atol=1e-5)


def test_the_norm_sees_a_wrong_number_of_dimensions():
    model, x = build("1x1")
    with kg.no_grad(), pytest.raises(ValueError, match="expected 4D input"):
        model(x[0])


def test_what_was_kept_goes_with_the_norm():
    gc.collect()
    before = len(folding.kept)
    model, x = build("strided")
    with kg.no_grad():
        model(x)
    assert len(folding.kept) == before + 1
    del model
    gc.collect()
    assert len(folding.kept) == before


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_relu_joins_the_convolution_to_the_same_bits(name):
    kg.manual_seed(7)
    make, shape = CONVOLUTIONS[name]
    conv, x = make(), kg.randn(3, *shape)
    x[0, 0] = float("nan")
    x.requires_grad_()
    model = nn.Sequential(conv, nn.ReLU())
    results = []
    for forward in (model, lambda x: conv(x).relu()):
        out = forward(x)
        out.backward(kg.from_numpy(np.random.default_rng(0).standard_normal(out.shape).astype("f")))
        leaves = [x, *conv.parameters()]
        results.append([out.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves)])
        for leaf in leaves:
            leaf.grad = None
    assert np.isnan(results[0][0]).any()
    for joined, apart in zip(*results):
        assert np.array_equal(joined, apart, equal_nan=True)
    assert "Relu" not in model(x).grad_fn.name().title()


def test_a_joined_relu_that_is_changed_in_place_is_noticed():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    out = model(kg.randn(1, 3, 6, 6))
    with kg.no_grad():
        out.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("groups", [1, 2])
def test_a_joined_relu_writes_over_no_gradient_that_somebody_holds(groups):
    kg.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=groups), nn.ReLU())
    x = kg.randn(2, 4, 6, 6)
    upstream = kg.randn(2, 6, 4, 4).to(memory_format=kg.channels_last)
    before = upstream.numpy().copy()
    out = model(x)
    out.backward(upstream, retain_graph=True)
    expected = [p.grad.numpy().copy() for p in model.parameters()]
    assert np.array_equal(upstream.numpy(), before)

    seen = []
    out = model(x)
    out.register_hook(lambda grad: seen.append(grad))
    total = (out * upstream).sum() + (out * upstream).sum()  # two gradients meet before the convolution
    model.zero_grad()
    total.backward()
    assert np.array_equal(seen[0].numpy(), 2 * before)
    for p, once in zip(model.parameters(), expected):
        np.testing.assert_allclose(p.grad.numpy(), 2 * once, rtol=1e-5, atol=1e-5)


NORMS = {
    "planes": (lambda: nn.BatchNorm2d(5), (3, 5, 12, 11), False),
    "short planes": (lambda: nn.BatchNorm2d(20), (7, 20, 3, 3), False),
    "wide planes": (lambda: nn.BatchNorm2d(3), (2, 3, 40, 33), False),
    "pixels": (lambda: nn.BatchNorm2d(18), (3, 18, 9, 7), True),
    "few channels": (lambda: nn.BatchNorm2d(3), (5, 3, 30, 31), True),
    "many channels": (lambda: nn.BatchNorm2d(300), (2, 300, 5, 5), True),
    "no weight": (lambda: nn.BatchNorm2d(16, affine=False), (3, 16, 6, 6), True),
    "no statistics": (lambda: nn.BatchNorm2d(16, track_running_stats=False), (3, 16, 6, 6), False),
    "mean of all": (lambda: nn.BatchNorm1d(16, momentum=None), (9, 16), False),
    "1d": (lambda: nn.BatchNorm1d(6), (4, 6, 33), False),
    "float64": (lambda: nn.BatchNorm2d(4, dtype=kg.float64), (3, 4, 6, 6), False),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NORMS)
def test_a_relu_joins_the_batch_norm_to_the_same_bits(name, training):
    kg.manual_seed(11)
    make, shape, nhwc = NORMS[name]
    norm = with_statistics(make()).train(training)
    x = kg.randn(*shape, dtype=kg.float64 if name == "float64" else kg.float32)
    x = x.to(memory_format=kg.channels_last) if nhwc else x
    x[(0,) * len(shape)] = float("nan")
    x.requires_grad_()
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    model = nn.Sequential(norm, nn.ReLU())
    results = []
    for forward in (model, lambda x: norm(x).relu()):
        norm.load_state_dict(before)
        out = forward(x)
        assert out.stride() == x.stride()
        out.backward(kg.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(x.dtype.numpy)))
        leaves = [x, *norm.parameters()]
        results.append([out.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves)])
        results[-1] += [value.numpy().copy() for value in norm.buffers()]
        for leaf in leaves:
            leaf.grad = None
    for kind in (np.isnan(results[0][0]), results[0][0] == 0, results[0][0] > 0):
        assert kind.any()
    for joined, apart in zip(*results):
        assert np.array_equal(joined, apart, equal_nan=True)
    one = (training or name == "no statistics") and name != "float64"
    assert model(x).grad_fn.name().startswith("BatchNormRelu" if one else "Relu")


def test_a_joined_batch_norm_lets_its_bias_change_before_backward():
    model, x = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()), kg.randn(2, 3, 4, 4)
    grads = []
    for change in (0.0, 5.0):
        out = model(x).sum()
        with kg.no_grad():
            model[0].bias.add_(change)
        model.zero_grad()
        out.backward()
        grads.append(model[0].bias.grad.numpy().copy())
    assert np.array_equal(*grads)


def test_a_joined_batch_norm_names_the_layer_that_fails():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())
    with pytest.raises(ValueError, match=r"0 \(BatchNorm2d.*expected 4D input"):
        model(kg.randn(3, 3))
