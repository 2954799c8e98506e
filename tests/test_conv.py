"""What is special to convolution and pooling: kernels that run, rounding, layout, a sample alone or in a batch."""

import itertools

import numpy as np
import pytest

import kernelgrad as kg
from kernelgrad import core, ops
from kernelgrad.nn import functional as F
from kernelgrad.testing.compare import assert_close

# input, weight, options: Winograd, implicit GEMM by bands and by gathering, 1x1,
# pixels in the lanes, depthwise, grouped
SHAPES = [
    ((5, 32, 9, 10), (20, 32, 3, 3), {"padding": 1}),
    ((5, 3, 28, 28), (16, 3, 3, 3), {"padding": 1}),
    ((5, 200, 9, 9), (40, 200, 3, 3), {"stride": 2}),
    ((5, 64, 6, 6), (70, 64, 1, 1), {}),
    ((9, 40, 7, 7), (20, 40, 5, 5), {"padding": 2}),
    ((5, 160, 7, 7), (110, 160, 3, 3), {"padding": 1}),
    ((5, 64, 8, 8), (64, 64, 3, 3), {"padding": 1}),
    ((5, 32, 9, 9), (3, 32, 5, 5), {"padding": 2}),
    ((5, 20, 13, 33), (17, 20, 5, 5), {"stride": 2, "padding": 2}),
    ((5, 24, 9, 9), (24, 1, 3, 3), {"padding": 1, "groups": 24}),
    ((5, 16, 9, 9), (32, 4, 3, 3), {"padding": 1, "groups": 4}),
    ((5, 48, 9, 9), (32, 24, 3, 3), {"padding": 1, "groups": 2}),
    ((5, 160, 5, 5), (32, 5, 3, 3), {"padding": 1, "groups": 32}),
    ((6, 40, 5, 6), (100, 10, 3, 3), {"padding": 1, "groups": 4}),
    ((6, 32, 6, 14), (32, 8, 3, 3), {"padding": 1, "groups": 4}),
]


def random_tensors(*shapes):
    rng = np.random.default_rng(0)
    return [kg.tensor(rng.standard_normal(s).astype("float32") / (s[1] if len(s) > 1 else 1) ** 0.5) for s in shapes]


@pytest.fixture
def high_precision():
    ops.set_conv_precision("high")
    yield
    ops.set_conv_precision("default")


@pytest.mark.parametrize(("x_shape", "weight_shape", "options"), SHAPES)
def test_a_sample_has_the_same_bits_alone_and_in_a_batch(x_shape, weight_shape, options):
    x, weight, bias = random_tensors(x_shape, weight_shape, weight_shape[:1])
    batch = ops.conv2d(x, weight, bias, **options).numpy()
    for i in range(x_shape[0]):
        alone = ops.conv2d(kg.tensor(x.numpy()[i : i + 1]), weight, bias, **options).numpy()
        assert np.array_equal(alone[0], batch[i])


@pytest.mark.parametrize("level", core.available_levels())
@pytest.mark.parametrize(
    ("groups", "width", "weight_shape"),
    [
        (1, 10, (40, 24, 3, 3)),
        (2, 10, (40, 24, 3, 3)),
        (1, 10, (40, 24, 4, 5)),
        (1, 34, (9, 24, 5, 5)),
        (1, 10, (40, 24, 1, 1)),
    ],
)
def test_kept_weights_change_no_bit_and_go_with_the_weight(level, groups, width, weight_shape):
    """Weights are transformed or packed once where no gradient is wanted, until the weight changes."""
    x, other, weight = random_tensors((2, 24 * groups, 9, width), (3, 24 * groups, 4, 4), weight_shape)
    padding = int(weight_shape[2] > 1)
    ran = []
    before = core.set_observer(lambda kernel, arrays, backend: ran.append(kernel.name))
    try:
        with core.use_backend(f"auto:{level}"):
            outputs = [ops.conv2d(x, weight, padding=padding, groups=groups).numpy() for _ in range(3)]
            assert ran.count("conv2d_keep_weight") == 1  # in the second call
            assert np.array_equal(outputs[0], outputs[1])
            assert np.array_equal(outputs[0], outputs[2])
            small = ops.conv2d(other, weight, padding=padding, groups=groups).numpy()
            assert np.array_equal(small, ops.conv2d(other, weight.clone(), padding=padding, groups=groups).numpy())
            weight.mul_(-2)
            np.testing.assert_allclose(
                ops.conv2d(x, weight, padding=padding, groups=groups).numpy(), -2 * outputs[0], rtol=1e-6
            )
            np.testing.assert_allclose(
                ops.conv2d(x, weight, padding=padding, groups=groups).numpy(), -2 * outputs[0], rtol=1e-6
            )
            weight.numpy()[...] *= -1  # from here on no version tells of changes: nothing is kept
            np.testing.assert_allclose(
                ops.conv2d(x, weight, padding=padding, groups=groups).numpy(), 2 * outputs[0], rtol=1e-6
            )
        assert len(core.available_levels()) == 1 or np.allclose(
            ops.conv2d(x, weight, padding=padding, groups=groups).numpy(), 2 * outputs[0], rtol=1e-4, atol=1e-4
        )
    finally:
        core.set_observer(before)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("channels", [16, 64, 512])
def test_rounding_error_of_winograd(channels, relu):
    """Relative L2 error at most 5e-6, the worst element at most 4e-5 of the output's rms, in all three passes."""
    x, weight = random_tensors((2, channels, 9, 10), (channels, channels, 3, 3))
    x = kg.tensor(np.maximum(x.numpy(), 0)) if relu else x
    grad_out = np.random.default_rng(1).standard_normal((2, channels, 9, 10))
    results = []
    for dtype in ("float32", "float64"):
        inputs = [kg.tensor(a.numpy().astype(dtype)).requires_grad_() for a in (x, weight)]
        with core.use_backend("auto" if dtype == "float32" else "reference"):
            out = ops.conv2d(*inputs, padding=1)
            out.backward(kg.tensor(grad_out.astype(dtype)))
        results.append([out.detach().numpy(), *(a.grad.numpy() for a in inputs)])
    for actual, expected in zip(*results, strict=True):
        error, rms = actual - expected, np.sqrt(np.mean(expected**2))
        assert np.sqrt(np.mean(error**2)) <= 5e-6 * rms
        assert np.abs(error).max() <= 4e-5 * rms


def test_rounding_error_of_the_gradient_of_a_long_sequence():
    """Grouped: a row is summed in pieces."""
    x, weight = random_tensors((1, 8, 100_000), (8, 2, 3))
    grad_out = np.random.default_rng(1).standard_normal((1, 8, 100_000))
    gradients = []
    for dtype in ("float32", "float64"):
        inputs = [kg.tensor(a.numpy().astype(dtype)).requires_grad_() for a in (x, weight)]
        ops.conv1d(*inputs, padding=1, groups=4).backward(kg.tensor(grad_out.astype(dtype)))
        gradients.append(inputs[1].grad.numpy())
    actual, expected = gradients
    assert np.abs(actual - expected).max() <= 1e-6 * np.sqrt(np.mean(expected**2))


def test_high_precision_is_a_plain_sum(high_precision):
    x, weight = random_tensors((1, 64, 8, 8), (64, 64, 3, 3))
    assert ops.get_conv_precision() == "high"
    expected = ops.conv2d(
        kg.tensor(x.numpy().astype("float64")), kg.tensor(weight.numpy().astype("float64")), padding=1
    )
    error = ops.conv2d(x, weight, padding=1).numpy() - expected.numpy()
    assert np.sqrt(np.mean(error**2)) <= 4e-7 * np.sqrt(np.mean(expected.numpy() ** 2))


def test_conv_precision_must_be_known():
    with pytest.raises(ValueError, match="expected 'default' or 'high', got 'low'"):
        ops.set_conv_precision("low")


def kernels_of(function):
    ran = []
    before = core.set_observer(lambda k, arrays, which: ran.append(k.name))
    try:
        function()
    finally:
        core.set_observer(before)
    return ran


@pytest.mark.parametrize(("wanted", "kernel"), [(0, "conv2d_backward_data"), (1, "conv2d_backward_weight")])
def test_backward_runs_only_what_is_wanted(wanted, kernel):
    inputs = random_tensors((2, 3, 8, 8), (4, 3, 3, 3))
    inputs[wanted].requires_grad_()
    out = ops.conv2d(*inputs)
    ran = kernels_of(lambda: out.backward(kg.ones(*out.shape)))
    assert {name for name in ran if name.startswith("conv2d")} == {kernel}


def test_memory_stays_nhwc_from_the_first_convolution_on():
    x, w1, w2 = random_tensors((2, 3, 12, 12), (8, 3, 3, 3), (8, 8, 3, 3))
    out = F.max_pool2d(F.relu(ops.conv2d(x, w1)), 2)
    assert x.is_contiguous()
    assert out.is_channels_last()
    ran = kernels_of(lambda: ops.conv2d(out, w2))
    assert ran == ["conv2d_forward"]  # and no conversion before it


def test_max_pool_prefers_nan_and_the_first_of_equals():
    x = kg.tensor([[[[1.0, 1.0, 0.0, float("nan")], [1.0, 0.0, 2.0, 3.0]]]])
    out, indices = F.max_pool2d(x, 2, return_indices=True)
    assert out.numpy()[0, 0, 0, 0] == 1
    assert np.isnan(out.numpy()[0, 0, 0, 1])
    assert indices.numpy().ravel().tolist() == [0, 3]


def test_three_dimensions_are_not_supported():
    with pytest.raises(NotImplementedError, match="one and two dimensions only"):
        ops.conv3d(kg.ones(1, 1, 4, 4, 4), kg.ones(1, 1, 2, 2, 2))


@pytest.mark.parametrize("backend", [*(f"simd:{level}" for level in kg.available_levels()), "jit"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 17, 5, 13), (3, 40, 9, 11), (1, 70, 1, 64)])
def test_gradient_through_a_relu_with_that_of_the_bias(shape, backend):
    """Against NumPy, also written over the upstream gradient."""
    if backend == "jit" and not core.jit_available():
        pytest.skip("Numba is not installed")
    rng = np.random.default_rng(0)
    out, grad_out = (kg.tensor(rng.standard_normal(shape).astype("f")) for _ in range(2))
    out, grad_out = (x.contiguous(memory_format=kg.channels_last) for x in (out, grad_out))
    expected = np.where(out.numpy() > 0, grad_out.numpy(), 0)
    sizes = (shape[1], shape[0] * shape[2] * shape[3])
    kernel = core.kernel("conv_backward_relu_bias")
    with core.use_backend(backend):
        for before in (kg.empty_like(grad_out), grad_out):
            grad_bias = kg.empty(shape[1])
            kernel((out, grad_out, before, grad_bias), sizes, ())
            assert np.array_equal(before.numpy(), expected)
            np.testing.assert_allclose(grad_bias.numpy(), expected.sum((0, 2, 3), np.float64), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("isa", kg.available_levels())
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_planes_have_the_bits_of_channels_last(channels, isa):
    """Without a gradient few planes are read as they lie; whole, as part of a batch, and at odd places of memory."""
    rng = np.random.default_rng(channels)
    with kg.no_grad(), core.use_backend(f"simd:{isa}"):
        for (height, width), (kernel, stride, padding, dilation), outs in itertools.product(
            [(6, 6), (7, 9), (40, 5), (13, 64)],
            [(3, 1, 1, 1), (3, 2, 1, 1), (7, 2, 3, 1), (3, 1, 2, 2), (3, 1, 0, 1), (1, 2, 0, 1)],
            [1, 16, 33],
        ):
            if height + 2 * padding < dilation * (kernel - 1) + 1 or width + 2 * padding < dilation * (kernel - 1) + 1:
                continue
            room = rng.normal(size=3 * channels * height * width + 1).astype(np.float32)
            x = kg.from_numpy(room[1:].reshape(3, channels, height, width))
            weight = kg.tensor(rng.normal(size=(outs, channels, kernel, kernel)).astype(np.float32))
            options = {"stride": stride, "padding": padding, "dilation": dilation}
            planes = F.conv2d(x, weight, **options).numpy()
            pixels = F.conv2d(x.contiguous(memory_format=kg.channels_last), weight, **options).numpy()
            alone = F.conv2d(x[1:2], weight, **options).numpy()
            what = (height, width, kernel, stride, padding, dilation, outs)
            np.testing.assert_array_equal(planes, pixels, err_msg=str(what))
            np.testing.assert_array_equal(planes[1:2], alone, err_msg=str(what))


@pytest.mark.parametrize("channels", [2, 3, 4, 5])
def test_few_planes_need_no_copy(channels):
    """Or the test above would compare one path with itself. Five channels are copied to channels_last before."""
    x = kg.ones(4, channels, 16, 40)
    weight = kg.ones(32, channels, 3, 3)

    def blocks(images):
        with kg.no_grad(), core.use_backend("simd"):
            for _ in range(3):
                F.conv2d(images, weight)  # its weight is packed and kept
            before = kg.memory_stats()
            F.conv2d(images, weight)
            after = kg.memory_stats()
        return sum(after[k] - before[k] for k in ("hits", "misses"))

    assert blocks(x) - blocks(x.contiguous(memory_format=kg.channels_last)) == (channels == 5)


def test_a_known_call_is_told_from_one_like_it():
    """Plans of latest calls are found by shapes and options: what differs is checked anew, and so is what is wrong."""
    x, weight, bias = random_tensors((2, 4, 7, 6), (4, 4, 3, 3), (4,))
    options = [{}, {"stride": 2}, {"padding": 1}, {"padding": (1, 0)}, {"dilation": 2}, {"padding": "same"}]
    for _ in range(3):
        for chosen, size, with_bias in itertools.product(options, (3, 2, 1), (False, True)):
            taps = weight[:, :, :size, :size]
            actual = F.conv2d(x, taps, bias if with_bias else None, **chosen)
            expected = F.conv2d(x.double(), taps.double(), bias.double() if with_bias else None, **chosen)
            assert actual.dtype is kg.float32
            assert expected.dtype is kg.float64
            assert_close(actual, expected.numpy())
        assert F.conv2d(x, weight[:, :2], groups=2).shape == (2, 4, 5, 4)
        assert F.conv2d(x[0], weight).shape == (4, 5, 4)
        assert F.conv1d(x[0, :, 0], weight[:, :, 0]).shape == (4, 4)
        steps = [2, 1]
        assert F.conv2d(x, weight, stride=steps).shape == (2, 4, 3, 4)
        steps[0] = 1  # a list may change
        assert F.conv2d(x, weight, stride=steps).shape == (2, 4, 5, 4)
        for wrong, kind in (
            ({"groups": True}, RuntimeError),
            ({"stride": 1.0}, TypeError),
            ({"stride": 0}, RuntimeError),
            ({"bias": bias[:3]}, RuntimeError),
            ({"bias": bias.double()}, RuntimeError),
            ({"bias": bias[None]}, RuntimeError),
            ({"bias": 1.0}, TypeError),
        ):
            with pytest.raises(kind, match="conv2d"):
                F.conv2d(x, weight, **wrong)
        with pytest.raises(RuntimeError, match="conv1d"):
            F.conv1d(x, weight)


def test_calls_that_share_a_place_are_told_apart(monkeypatch):
    """With one place for all plans each call meets that of the one before, which differs in any of its options."""
    latest = core.convolutions.KnownPlans(1)
    monkeypatch.setattr(ops.conv, "latest", latest)
    x, weight, bias = random_tensors((2, 4, 7, 7), (4, 4, 3, 3), (4,))
    narrow = weight[:, :2].contiguous()
    calls = [(x, weight, None, 1, 0, 1, 1), (x, weight, bias, 1, 0, 1, 1), (x, weight, None, 2, 0, 1, 1)]
    calls += [(x, weight, None, 1, 1, 1, 1), (x, weight, None, 1, 0, 2, 1), (x, narrow, None, 1, 0, 1, 2)]
    calls += [
        (x[0], weight, None, 1, 0, 1, 1),
        (x[:1], weight, None, 1, 0, 1, 1),
        (x[:, :, 1:], weight, None, 1, 0, 1, 1),
    ]
    calls += [(x, weight[:, :, 1:], None, 1, 0, 1, 1), (x, weight[:3], None, 1, 0, 1, 1)]
    for call in calls:
        expected = F.conv2d(*[v.double() if isinstance(v, kg.Tensor) else v for v in call])
        for other in calls:
            F.conv2d(*other)
            assert (latest.find("conv2d", *call) is not None) == (other is call)
            assert_close(F.conv2d(*call), expected.numpy())
    F.conv2d(x, weight)
    with pytest.raises(RuntimeError, match="expected bias"):
        F.conv2d(x, weight, bias[:3])
    F.conv2d(x, narrow, groups=2)
    with pytest.raises(RuntimeError, match="groups=1"):
        F.conv2d(x, narrow)
    F.conv2d(x[:, :, 0].reshape(2, 4, 7, 1), weight[:, :, :, :1])
    assert latest.find("conv1d", x[:, :, 0].reshape(2, 4, 7, 1), weight[:, :, :, :1], None, 1, 0, 1, 1) is None
