"""`nn.functional`: what no layer stands for, against PyTorch, and wrong calls."""

from contextlib import nullcontext

import numpy as np
import pytest

import kernelgrad as kg
from kernelgrad.core import use_backend
from kernelgrad.nn import functional as F

torch = pytest.importorskip("torch")


def both(function, arrays, *, dtype=np.float64):
    """Outputs and input gradients of ``function(library, functional, *tensors)``, ours and PyTorch's."""
    results = []
    for library, functional in ((kg, F), (torch, torch.nn.functional)):
        tensors = [library.tensor(a.astype(dtype), requires_grad=True) for a in arrays]
        # float64 asks for the formulas: the reference answers, and nothing need be compiled for it
        with use_backend("reference") if dtype is np.float64 else nullcontext():
            out = function(library, functional, *tensors)
            upstream = np.random.default_rng(7).standard_normal(tuple(out.shape)).astype(dtype)
            out.backward(library.tensor(upstream))
        results.append([out.detach().numpy(), *(tensor.grad.numpy() for tensor in tensors)])
    return zip(*results, strict=True)


def assert_same(function, arrays, rtol=1e-9, atol=1e-11, **options):
    for ours, theirs in both(function, arrays, **options):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


def draw(*shapes):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape) for shape in shapes]


# ---- Attention ----


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"scale": 0.3},
        {"attn_mask": "bool"},
        {"attn_mask": "float"},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_attention(options, dtype):
    mask = np.tril(np.ones((5, 7), bool), 1)
    added = np.random.default_rng(3).standard_normal((2, 1, 5, 7)).astype(dtype)

    def attend(library, functional, q, k, v):
        given = dict(options)
        if "attn_mask" in given:
            given["attn_mask"] = library.tensor(mask if given["attn_mask"] == "bool" else added)
        return functional.scaled_dot_product_attention(q, k, v, **given)

    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype is np.float32 else {}
    assert_same(attend, draw((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)), dtype=dtype, **tolerance)


def test_attention_with_fewer_heads_for_keys():
    def attend(library, functional, q, k, v):
        return functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    assert_same(attend, draw((2, 6, 5, 4), (2, 2, 5, 4), (2, 2, 5, 4)))


def test_attention_refuses_two_masks():
    q = kg.zeros(1, 2, 3)
    with pytest.raises(RuntimeError, match="attn_mask or is_causal"):
        F.scaled_dot_product_attention(q, q, q, attn_mask=kg.ones(2, 2), is_causal=True)


def test_attention_dropout():
    kg.manual_seed(0)
    q, v = kg.zeros(1, 200, 4), kg.ones(1, 300, 1)
    out = F.scaled_dot_product_attention(q, kg.zeros(1, 300, 4), v, dropout_p=0.4).numpy()
    assert abs(out.mean() - 1) < 0.01  # what stays is scaled up
    assert 0.02 < out.std() < 0.08  # sqrt(p / (1 - p) / 300) = 0.047


# ---- Norms ----


@pytest.mark.parametrize(("p", "dim"), [(2.0, 1), (1.0, 0), (3.0, -1)])
def test_normalize(p, dim):
    assert_same(lambda library, functional, x: functional.normalize(x, p, dim), draw((3, 4, 5)))


def test_normalize_and_similarity_of_a_zero_vector():
    x, y = draw((3, 4), (3, 4))
    x[1] = 0
    assert_same(lambda library, functional, a: functional.normalize(a), [x])
    assert_same(lambda library, functional, a, b: functional.cosine_similarity(a, b), [x, y])


def test_cosine_similarity_of_shapes_that_broadcast():
    assert_same(lambda library, functional, a, b: functional.cosine_similarity(a, b, 0), draw((3, 4), (4,)))


@pytest.mark.parametrize("shape", [(), (5,), (5, 1)])
def test_prelu_with_one_slope(shape):
    assert_same(lambda library, functional, x, w: functional.prelu(x, w), [-np.ones(shape), np.array([0.3])])


# ---- Resampling ----


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(5, 7), (4, 4), (1, 3), (10, 9)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_interpolation_by_odd_factors(mode, size, channels_last):
    x = np.random.default_rng(0).standard_normal((2, 3, *size)).astype(np.float32)
    ours, theirs = kg.tensor(x), torch.tensor(x)
    if channels_last:
        ours = ours.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    for factor in (1.0, 1.1, 1.3, 1.9, 2.0, 2.5, 3.0, 0.5, 0.6, 0.99, (1.1, 2.0)):
        for recompute in (None, True):
            for corners in (None,) if "nearest" in mode else (None, True):
                options = {"mode": mode, "recompute_scale_factor": recompute, "align_corners": corners}
                if 0 in np.floor(np.multiply(size, factor)):
                    continue
                expected = torch.nn.functional.interpolate(theirs, scale_factor=factor, **options)
                actual = F.interpolate(ours, scale_factor=factor, **options)
                assert actual.is_channels_last() or not channels_last
                np.testing.assert_allclose(
                    actual.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5, err_msg=f"{factor} {options}"
                )


# ---- Softmax ----


def test_implicit_dimension_is_torchs():
    for function in ("softmax", "softmin", "log_softmax"):
        for shape in ((4,), (3, 4), (2, 3, 4), (2, 3, 4, 2)):
            (x,) = draw(shape)
            x = x.astype(np.float32)
            ours = getattr(F, function)(kg.tensor(x))
            with pytest.warns(UserWarning, match="Implicit dimension choice"):
                theirs = getattr(torch.nn.functional, function)(torch.tensor(x))
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5)


def test_softmax_in_another_dtype():
    x = kg.tensor([1.0, 2.0, 3.0])
    out = F.softmax(x, 0, dtype=kg.float64)
    assert out.dtype is kg.float64
    expected = np.exp([1.0, 2.0, 3.0])
    np.testing.assert_allclose(out.numpy(), expected / expected.sum(), rtol=1e-15)


def test_gumbel_softmax():
    kg.manual_seed(0)
    logits = kg.tensor(np.log(np.tile([0.2, 0.5, 0.3], (20000, 1))).astype(np.float32), requires_grad=True)
    soft = F.gumbel_softmax(logits, tau=0.5)
    np.testing.assert_allclose(soft.sum(-1).detach().numpy(), 1, rtol=1e-5)
    hard = F.gumbel_softmax(logits, hard=True)
    values = hard.detach().numpy()
    np.testing.assert_allclose(np.sort(values, -1), np.tile([0, 0, 1], (20000, 1)), atol=1e-6)
    np.testing.assert_allclose(values.mean(0), [0.2, 0.5, 0.3], atol=0.02)
    hard[:, 0].sum().backward()
    assert logits.grad.abs().sum().item() > 0  # the gradient of the soft sample
    np.testing.assert_allclose(logits.grad.sum(-1).numpy(), 0, atol=1e-6)


# ---- In place ----


@pytest.mark.parametrize("name", ["relu_", "leaky_relu_", "elu_", "celu_", "selu_", "hardtanh_", "rrelu_"])
def test_underscore_forms(name):
    def apply(library, functional, x):
        middle = x * 1
        out = getattr(functional, name)(middle)
        assert out is middle
        return out

    assert_same(apply, draw((3, 7)))


def test_in_place_on_a_leaf_is_refused():
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        F.relu(kg.ones(2, requires_grad=True), inplace=True)


# ---- Dropout ----


@pytest.mark.parametrize("name", ["dropout", "dropout1d", "dropout2d", "alpha_dropout", "feature_alpha_dropout"])
def test_dropout_at_its_ends(name):
    function = getattr(F, name)
    x = kg.randn(2, 3, 4)
    np.testing.assert_array_equal(function(x, 0.0, True).numpy(), x.numpy())
    np.testing.assert_array_equal(function(x, 0.5, False).numpy(), x.numpy())
    assert (function(x, 1.0, True).numpy() == 0).all()


@pytest.mark.parametrize("name", ["dropout", "dropout1d", "dropout2d", "alpha_dropout", "feature_alpha_dropout"])
@pytest.mark.parametrize("p", [0.4, 1.0])
def test_dropout_in_place(name, p):
    x = kg.randn(20, 30, 4)
    kg.manual_seed(1)
    expected = getattr(F, name)(x, p, True).numpy()
    kg.manual_seed(1)
    assert getattr(F, name)(x, p, True, inplace=True) is x
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-6, atol=1e-7)


def test_dropout2d_without_channels_warns():
    with pytest.warns(UserWarning, match="Received a 2-D input to dropout2d"):
        F.dropout2d(kg.ones(2, 3))


# ---- Names and wrong calls ----


def test_signatures_are_torchs():
    import inspect

    for name in F.__all__:
        try:
            expected = inspect.signature(getattr(torch.nn.functional, name))
        except ValueError:  # written in C++
            continue
        kinds = {parameter.kind for parameter in expected.parameters.values()}
        if inspect.Parameter.VAR_POSITIONAL in kinds or not inspect.isfunction(getattr(F, name)):
            continue
        ours = [p for p in inspect.signature(getattr(F, name)).parameters if not p.startswith("_")]
        theirs = [p for p in expected.parameters if not p.startswith("_")]
        assert ours[: len(theirs)] == theirs[: len(ours)], name
        missing = set(theirs) - set(ours)
        assert all(expected.parameters[p].default is not inspect.Parameter.empty for p in missing), name


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: F.interpolate(x), ValueError, "either size or scale_factor should be defined"),
        (lambda x: F.interpolate(x, 3, 2.0), ValueError, "only one of size or scale_factor"),
        (
            lambda x: F.interpolate(x, 3, mode="nearest", align_corners=True),
            ValueError,
            "align_corners option can only",
        ),
        (lambda x: F.interpolate(x, (3, 3, 3)), ValueError, "2 spatial dimensions"),
        (lambda x: F.interpolate(x, 3, mode="trilinear"), NotImplementedError, "trilinear"),
        (lambda x: F.interpolate(x, 3, mode="linear"), NotImplementedError, "takes 3D input, got 4D"),
        (lambda x: F.interpolate(x, 3, mode="bilinear", antialias=True), NotImplementedError, "antialias"),
        (lambda x: F.interpolate(x, 0), RuntimeError, "sizes must be positive"),
        (lambda x: F.pixel_shuffle(x[0, 0], 2), RuntimeError, "at least 3 dimensions, but got 2"),
        (lambda x: F.pixel_unshuffle(x[0, 0], 2), RuntimeError, "at least 3 dimensions, but got 2"),
        (lambda x: F.unfold(x[0, 0], 2), RuntimeError, "expected 3D or 4D input, got 2D"),
        (lambda x: F.fold(x, (4, 4), 2), RuntimeError, "expected 2D or 3D input, got 4D"),
        (lambda x: F.hardtanh(x, 1.0, -1.0), ValueError, "min_val cannot be greater than max_val"),
        (lambda x: F.prelu(x, kg.ones(1, 3)), RuntimeError, "Expected `weight` to be a scalar or 1D tensor"),
        (lambda x: F.glu(kg.tensor(1.0)), RuntimeError, "does not support scalars"),
        (lambda x: F.bilinear(x, x[0], kg.ones(2, 4, 4)), RuntimeError, "batch dimensions do not match"),
        (lambda x: F.multi_margin_loss(x[0, 0], kg.tensor([0]), p=3), ValueError, "only p == 1 and p == 2"),
        (lambda x: F.multi_margin_loss(x[0, 0], kg.tensor([0]), weight=x), ValueError, "must be one-dimensional"),
        (lambda x: F.triplet_margin_loss(x, x, x, margin=0.0), ValueError, "margin must be greater than 0"),
        (lambda x: F.gaussian_nll_loss(x, x, x[0]), ValueError, "var is of incorrect size"),
        (lambda x: F.pixel_shuffle(x, 2), RuntimeError, "divisible by the square of"),
        (lambda x: F.pixel_unshuffle(x, 3), RuntimeError, "divisible by downscale_factor"),
        (lambda x: F.channel_shuffle(x, 2), RuntimeError, "3 channels cannot be dealt from 2 groups"),
        (lambda x: F.unfold(x, 9), RuntimeError, "does not fit"),
        (lambda x: F.fold(x[0], (4, 4), 2), RuntimeError, "does not fit"),
        (lambda x: F.glu(x, 1), RuntimeError, "Halving dimension must be even, but dimension 1 is size 3"),
        (lambda x: F.prelu(x, kg.ones(4)), RuntimeError, "parameter numbers = 4 and channel size = 3"),
        (lambda x: F.dropout1d(x), RuntimeError, "Expected 2D or 3D input"),
        (lambda x: F.alpha_dropout(x, 2.0), ValueError, "has to be between 0 and 1"),
        (lambda x: F.rrelu(x, 0.5, 0.1), RuntimeError, "less than or equal to the upper bound"),
        (lambda x: F.soft_margin_loss(x, x, reduction="max"), ValueError, "max is not a valid value for reduction"),
        (lambda x: F.bilinear(x, x, kg.ones(2, 3, 4)), RuntimeError, "takes 3 and 4 features, got 4 and 4"),
        (lambda x: F.local_response_norm(x[0, 0], 2), ValueError, "Expected 3D or higher"),
        (lambda x: F.normalize(x, out=x), NotImplementedError, "out="),
        (lambda x: F.gaussian_nll_loss(x, x, -1.0), ValueError, "var has negative"),
        (lambda x: F.margin_ranking_loss(x, x, x[0]), RuntimeError, "should have same dimension"),
    ],
)
def test_wrong_calls(call, error, message):
    with pytest.raises(error, match=message):
        call(kg.ones(2, 3, 4, 4))
