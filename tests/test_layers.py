"""Every layer against PyTorch's: the same text, state, output and gradients for the same weights and inputs."""

import warnings
from contextlib import nullcontext

import numpy as np
import pytest

import kernelgrad as kg
from kernelgrad import nn
from kernelgrad.core import use_backend
from kernelgrad.testing import assert_close

torch = pytest.importorskip("torch")


# ---- Inputs: functions of a generator. Floats are cast to the dtype under test, integers stay. ----


def normal(*shape):
    return lambda rng: rng.standard_normal(shape)


def uniform(*shape, low=0.05, high=0.95):
    return lambda rng: rng.uniform(low, high, shape)


def integers(*shape, below):
    return lambda rng: rng.integers(0, below, shape)


def signs(*shape):
    return lambda rng: rng.choice([-1.0, 1.0], shape)


def counts(*shape):
    return lambda rng: rng.integers(0, 5, shape).astype(float)


def log_probabilities(*shape):
    def draw(rng):
        x = rng.standard_normal(shape)
        return x - np.log(np.exp(x).sum(1, keepdims=True))

    return draw


def probabilities(*shape):
    return lambda rng: np.exp(log_probabilities(*shape)(rng))


def labels(*shape):
    """In each row some classes, then -1, then anything."""

    def draw(rng):
        rows = np.argsort(rng.random(shape), axis=-1)
        rows[..., rng.integers(1, shape[-1])] = -1
        return rows

    return draw


def places(batch, channels, *space):
    """Indices as maximum pooling by 2 returns them, for an image of `space` in each channel; no two alike."""

    def draw(rng):
        half = [(n + 1) // 2 for n in space]
        count = int(np.prod(half))
        chosen = np.argsort(rng.random((batch, channels, int(np.prod(space)))), axis=-1)[..., :count]
        return chosen.reshape(batch, channels, *half)

    return draw


def weights(*values):
    """A tensor argument of a layer, such as class weights, for whichever library."""
    return lambda library, dtype: library.tensor(list(values), dtype=getattr(library, dtype))


LAYERS = [
    # ---- linear ----
    ("Identity", (), {}, [normal(2, 3)]),
    ("Linear", (5, 3), {}, [normal(4, 5)]),
    ("Linear", (5, 3), {"bias": False}, [normal(2, 4, 5)]),
    ("Linear", (17, 33), {}, [normal(17)]),
    ("Bilinear", (4, 3, 5), {}, [normal(6, 4), normal(6, 3)]),
    ("Bilinear", (4, 3, 5), {"bias": False}, [normal(2, 6, 4), normal(2, 6, 3)]),
    ("Flatten", (), {}, [normal(2, 3, 4, 5)]),
    ("Flatten", (), {"start_dim": 0, "end_dim": 2}, [normal(2, 3, 4, 5)]),
    ("Unflatten", (1, (2, 3)), {}, [normal(4, 6, 2)]),
    # ---- conv ----
    ("Conv1d", (3, 4, 3), {}, [normal(2, 3, 9)]),
    ("Conv1d", (4, 6, 5), {"stride": 2, "padding": 2, "groups": 2, "bias": False}, [normal(2, 4, 11)]),
    ("Conv1d", (3, 4, 3), {"padding": "same", "dilation": 2}, [normal(2, 3, 9)]),
    ("Conv1d", (3, 4, 3), {"padding": 1, "padding_mode": "circular"}, [normal(2, 3, 9)]),
    ("Conv2d", (3, 8, 3), {}, [normal(2, 3, 8, 9)]),
    ("Conv2d", (3, 8, 3), {}, [normal(3, 8, 9)]),
    ("Conv2d", (16, 32, 3), {"padding": 1, "bias": False}, [normal(2, 16, 8, 8)]),
    ("Conv2d", (4, 6, (3, 5)), {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}, [normal(2, 4, 9, 12)]),
    ("Conv2d", (4, 8, 3), {"groups": 4, "padding": 1}, [normal(2, 4, 7, 7)]),
    ("Conv2d", (3, 4, (2, 3)), {"padding": "same"}, [normal(2, 3, 6, 7)]),
    ("Conv2d", (3, 4, 3), {"padding": "valid"}, [normal(2, 3, 6, 7)]),
    ("Conv2d", (3, 4, 3), {"padding": (1, 2), "padding_mode": "reflect"}, [normal(2, 3, 6, 7)]),
    ("Conv2d", (3, 4, 3), {"padding": 2, "padding_mode": "replicate", "stride": 2}, [normal(2, 3, 6, 7)]),
    ("Conv2d", (3, 4, (2, 3)), {"padding": "same", "padding_mode": "circular"}, [normal(2, 3, 6, 7)]),
    ("ConvTranspose1d", (3, 4, 3), {"stride": 2, "padding": 1, "output_padding": 1}, [normal(2, 3, 7)]),
    ("ConvTranspose2d", (3, 4, 3), {}, [normal(2, 3, 5, 6)]),
    ("ConvTranspose2d", (4, 6, (3, 2)), {"stride": 2, "padding": 1, "groups": 2, "bias": False}, [normal(2, 4, 5, 6)]),
    ("ConvTranspose2d", (3, 4, 3), {"stride": 2, "output_padding": 1, "dilation": 2}, [normal(2, 3, 5, 6)]),
    # ---- pooling ----
    ("MaxPool1d", (3,), {"stride": 2, "padding": 1}, [normal(2, 3, 10)]),
    ("MaxPool2d", (2,), {}, [normal(2, 3, 8, 6)]),
    ("MaxPool2d", ((3, 2),), {"stride": (2, 1), "padding": (1, 0), "ceil_mode": True}, [normal(2, 3, 8, 7)]),
    ("MaxPool2d", (2,), {"dilation": 2}, [normal(2, 3, 8, 7)]),
    ("AvgPool1d", (3,), {"stride": 2}, [normal(2, 3, 10)]),
    ("AvgPool2d", (2,), {}, [normal(2, 3, 8, 6)]),
    ("AvgPool2d", (3,), {"stride": 2, "padding": 1, "count_include_pad": False}, [normal(2, 3, 8, 7)]),
    ("AvgPool2d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True, "divisor_override": 5}, [normal(2, 3, 8, 7)]),
    ("AdaptiveAvgPool1d", (4,), {}, [normal(2, 3, 10)]),
    ("AdaptiveAvgPool2d", (1,), {}, [normal(2, 3, 7, 5)]),
    ("AdaptiveAvgPool2d", ((3, None),), {}, [normal(2, 3, 7, 5)]),
    ("AdaptiveMaxPool1d", (4,), {}, [normal(2, 3, 10)]),
    ("AdaptiveMaxPool2d", ((3, 2),), {}, [normal(2, 3, 7, 5)]),
    ("LPPool1d", (2, 3), {}, [uniform(2, 3, 9)]),
    ("LPPool1d", (3.0, 2), {"ceil_mode": True}, [normal(2, 3, 9)]),  # nan where the sum is negative
    ("LPPool2d", (3.0, 2), {"stride": 2}, [uniform(2, 3, 8, 6)]),
    # ---- normalization ----
    ("BatchNorm1d", (5,), {}, [normal(6, 5)]),
    ("BatchNorm1d", (5,), {"momentum": None, "affine": False}, [normal(6, 5, 4)]),
    ("BatchNorm2d", (3,), {}, [normal(4, 3, 5, 6)]),
    ("BatchNorm3d", (3,), {}, [normal(4, 3, 2, 5, 6)]),
    ("InstanceNorm3d", (3,), {"affine": True}, [normal(4, 3, 2, 5, 6)]),
    ("ConstantPad3d", ((1, 2, 0, 1, -1, 1), 0.5), {}, [normal(2, 3, 4, 5, 6)]),
    ("ZeroPad3d", (1,), {}, [normal(2, 3, 4, 5, 6)]),
    ("ReflectionPad3d", ((1, 2, 0, 1, 2, 1),), {}, [normal(2, 3, 4, 5, 6)]),
    ("ReplicationPad3d", ((1, 2, 0, 1, 2, 1),), {}, [normal(2, 3, 4, 5, 6)]),
    ("CircularPad3d", ((1, 2, 0, 1, 2, 1),), {}, [normal(2, 3, 4, 5, 6)]),
    ("MaxUnpool1d", (2,), {}, [normal(2, 3, 4), places(2, 3, 8)]),
    ("MaxUnpool2d", (2,), {}, [normal(2, 3, 4, 4), places(2, 3, 8, 8)]),
    ("MaxUnpool2d", ((3, 2),), {"stride": (2, 2), "padding": (1, 0)}, [normal(2, 3, 3, 4), places(2, 3, 5, 8)]),
    ("MultiLabelMarginLoss", (), {}, [normal(4, 5), labels(4, 5)]),
    ("MultiLabelMarginLoss", (), {"reduction": "none"}, [normal(5), labels(5)]),
    ("BatchNorm2d", (17,), {"eps": 1e-3, "momentum": 0.3}, [normal(3, 17, 4, 4)]),
    ("BatchNorm2d", (3,), {"track_running_stats": False}, [normal(4, 3, 5, 6)]),
    ("LayerNorm", (6,), {}, [normal(4, 6)]),
    ("LayerNorm", ((3, 5),), {"eps": 1e-3, "bias": False}, [normal(2, 4, 3, 5)]),
    ("LayerNorm", (6,), {"elementwise_affine": False}, [normal(4, 6)]),
    ("RMSNorm", (6,), {}, [normal(4, 6)]),
    ("RMSNorm", ((3, 5),), {"eps": 1e-3, "elementwise_affine": False}, [normal(2, 3, 5)]),
    ("GroupNorm", (2, 6), {}, [normal(3, 6, 4, 5)]),
    ("GroupNorm", (6, 6), {"affine": False}, [normal(3, 6, 7)]),
    ("InstanceNorm1d", (3,), {"affine": True}, [normal(2, 3, 6)]),
    ("InstanceNorm2d", (3,), {}, [normal(2, 3, 5, 6)]),
    ("InstanceNorm2d", (3,), {"affine": True, "track_running_stats": True}, [normal(2, 3, 5, 6)]),
    ("InstanceNorm2d", (3,), {}, [normal(3, 5, 6)]),
    ("LocalResponseNorm", (3,), {"alpha": 0.5}, [normal(2, 7, 4, 5)]),
    ("LocalResponseNorm", (4,), {"alpha": 0.5, "k": 2.0}, [normal(2, 7, 4)]),
    # ---- embedding ----
    ("Embedding", (10, 4), {}, [integers(3, 5, below=10)]),
    ("Embedding", (10, 4), {"padding_idx": -2}, [integers(30, below=10)]),
    ("Embedding", (10, 4), {"scale_grad_by_freq": True}, [integers(30, below=10)]),
    ("Embedding", (10, 4), {"max_norm": 1.5, "norm_type": 1.0}, [integers(6, below=10)]),
    ("EmbeddingBag", (10, 4), {}, [integers(3, 5, below=10)]),
    (
        "EmbeddingBag",
        (10, 4),
        {"mode": "sum", "padding_idx": 2},
        [integers(9, below=10), lambda rng: np.array([0, 4, 4])],
    ),
    ("EmbeddingBag", (10, 4), {"mode": "max"}, [integers(9, below=10), lambda rng: np.array([0, 4])]),
    # ---- activations ----
    ("ReLU", (), {}, [lambda rng: rng.standard_normal((3, 17)).round(1) * 5]),  # with zeros
    ("ReLU6", (), {}, [lambda rng: 6 * rng.standard_normal((3, 17))]),
    ("SELU", (), {}, [normal(3, 17)]),
    ("SiLU", (), {}, [normal(3, 17)]),
    ("Mish", (), {}, [normal(3, 17)]),
    ("Hardsigmoid", (), {}, [lambda rng: 4 * rng.standard_normal((3, 17))]),
    ("Hardswish", (), {}, [lambda rng: 4 * rng.standard_normal((3, 17))]),
    ("LeakyReLU", (0.2,), {}, [normal(3, 17)]),
    ("ELU", (1.5,), {}, [normal(3, 17)]),
    ("CELU", (0.7,), {}, [normal(3, 17)]),
    ("Hardtanh", (-0.5, 0.8), {}, [normal(3, 17)]),
    ("Threshold", (0.1, 20.0), {}, [normal(3, 17)]),
    ("PReLU", (), {}, [normal(3, 17)]),
    ("PReLU", (), {}, [lambda rng: np.zeros((3, 2))]),  # the slope at 0 is that of the left
    ("PReLU", (4,), {"init": 0.1}, [normal(3, 4, 5)]),
    ("Sigmoid", (), {}, [normal(3, 17)]),
    ("Tanh", (), {}, [normal(3, 17)]),
    ("LogSigmoid", (), {}, [normal(3, 17)]),
    ("Softsign", (), {}, [normal(3, 17)]),
    ("Tanhshrink", (), {}, [normal(3, 17)]),
    ("GELU", (), {}, [normal(3, 17)]),
    ("GELU", (), {"approximate": "tanh"}, [normal(3, 17)]),
    ("Softplus", (), {"beta": 2.0, "threshold": 1.0}, [normal(3, 17)]),
    ("Hardshrink", (0.4,), {}, [normal(3, 17)]),
    ("Softshrink", (0.4,), {}, [normal(3, 17)]),
    ("GLU", (), {}, [normal(3, 16)]),
    ("GLU", (1,), {}, [normal(2, 6, 5)]),
    ("Softmax", (-1,), {}, [normal(3, 17)]),
    ("Softmax", (1,), {}, [normal(3, 4, 5)]),
    ("Softmin", (1,), {}, [normal(3, 4, 5)]),
    ("LogSoftmax", (-1,), {}, [normal(3, 17)]),
    ("Softmax2d", (), {}, [normal(2, 3, 4, 5)]),
    ("RReLU", (), {}, [normal(3, 17)]),
    # ---- loss ----
    ("L1Loss", (), {}, [normal(4, 5), normal(4, 5)]),
    ("L1Loss", (), {"reduction": "none"}, [normal(4, 5), normal(4, 5)]),
    ("MSELoss", (), {}, [normal(4, 5), normal(4, 5)]),
    ("MSELoss", (), {"reduction": "sum"}, [normal(4, 5), normal(4, 5)]),
    ("SmoothL1Loss", (), {"beta": 0.7}, [normal(4, 5), normal(4, 5)]),
    ("HuberLoss", (), {"delta": 0.7}, [normal(4, 5), normal(4, 5)]),
    ("CrossEntropyLoss", (), {}, [normal(6, 5), integers(6, below=5)]),
    (
        "CrossEntropyLoss",
        (),
        {"weight": weights(0.5, 1.0, 2.0), "ignore_index": 1, "label_smoothing": 0.1},
        [normal(6, 3), integers(6, below=3)],
    ),
    ("CrossEntropyLoss", (), {"reduction": "none"}, [normal(4, 3, 5), integers(4, 5, below=3)]),
    ("CrossEntropyLoss", (), {"reduction": "sum"}, [normal(6, 5), probabilities(6, 5)]),
    ("NLLLoss", (), {}, [log_probabilities(6, 5), integers(6, below=5)]),
    (
        "NLLLoss",
        (),
        {"weight": weights(0.5, 1.0, 2.0), "ignore_index": 2},
        [log_probabilities(4, 3, 6), integers(4, 6, below=3)],
    ),
    ("BCELoss", (), {}, [uniform(4, 5), uniform(4, 5)]),
    ("BCELoss", (), {"reduction": "sum", "weight": weights(0.5, 1.0, 2.0)}, [uniform(4, 3), uniform(4, 3)]),
    ("BCEWithLogitsLoss", (), {}, [normal(4, 5), uniform(4, 5)]),
    ("BCEWithLogitsLoss", (), {"pos_weight": weights(0.5, 1.0, 2.0)}, [normal(4, 3), uniform(4, 3)]),
    ("KLDivLoss", (), {"reduction": "batchmean"}, [log_probabilities(4, 5), probabilities(4, 5)]),
    ("KLDivLoss", (), {"reduction": "sum", "log_target": True}, [log_probabilities(4, 5), log_probabilities(4, 5)]),
    ("PoissonNLLLoss", (), {"full": True}, [normal(4, 5), counts(4, 5)]),
    ("PoissonNLLLoss", (), {"log_input": False}, [uniform(4, 5), counts(4, 5)]),
    ("GaussianNLLLoss", (), {"full": True}, [normal(4, 5), normal(4, 5), uniform(4, 5)]),
    ("GaussianNLLLoss", (), {"eps": 0.5}, [normal(4, 5), normal(4, 5), uniform(4, 1)]),
    ("HingeEmbeddingLoss", (), {"margin": 0.8}, [normal(4, 5), signs(4, 5)]),
    ("MarginRankingLoss", (), {"margin": 0.3}, [normal(7), normal(7), signs(7)]),
    ("SoftMarginLoss", (), {}, [normal(4, 5), signs(4, 5)]),
    ("MultiLabelSoftMarginLoss", (), {"weight": weights(0.5, 1.0, 2.0)}, [normal(4, 3), uniform(4, 3)]),
    ("MultiMarginLoss", (), {}, [normal(6, 4), integers(6, below=4)]),
    (
        "MultiMarginLoss",
        (),
        {"p": 2, "margin": 0.7, "weight": weights(0.5, 1.0, 2.0), "reduction": "none"},
        [normal(6, 3), integers(6, below=3)],
    ),
    ("CosineEmbeddingLoss", (), {"margin": 0.1}, [normal(7, 4), normal(7, 4), signs(7)]),
    ("TripletMarginLoss", (), {}, [normal(7, 4), normal(7, 4), normal(7, 4)]),
    ("TripletMarginLoss", (), {"p": 1.0, "swap": True, "margin": 2.0}, [normal(7, 4), normal(7, 4), normal(7, 4)]),
    ("TripletMarginWithDistanceLoss", (), {"swap": True}, [normal(7, 4), normal(7, 4), normal(7, 4)]),
    # ---- padding ----
    ("ConstantPad1d", ((1, 2), 3.5), {}, [normal(2, 3, 5)]),
    ("ConstantPad2d", (2, -1.0), {}, [normal(2, 3, 5, 4)]),
    ("ZeroPad1d", (2,), {}, [normal(2, 3, 5)]),
    ("ZeroPad2d", ((1, 2, 3, -1),), {}, [normal(2, 3, 5, 4)]),
    ("ReflectionPad1d", ((1, 3),), {}, [normal(2, 3, 5)]),
    ("ReflectionPad2d", ((1, 3, 2, 0),), {}, [normal(2, 3, 5, 4)]),
    ("ReplicationPad1d", ((1, 3),), {}, [normal(2, 3, 5)]),
    ("ReplicationPad2d", (2,), {}, [normal(2, 3, 5, 4)]),
    ("CircularPad1d", ((1, 3),), {}, [normal(2, 3, 5)]),
    ("CircularPad2d", ((1, 3, 2, 0),), {}, [normal(2, 3, 5, 4)]),
    # ---- upsampling ----
    ("Upsample", (), {"scale_factor": 2}, [normal(2, 3, 4, 5)]),
    ("Upsample", (), {"size": (7, 3)}, [normal(2, 3, 4, 5)]),
    ("Upsample", (), {"scale_factor": 1.7, "mode": "nearest-exact"}, [normal(2, 3, 4, 5)]),
    ("Upsample", (), {"scale_factor": (1.5, 2.3), "mode": "bilinear"}, [normal(2, 3, 4, 5)]),
    ("Upsample", (), {"size": 3, "mode": "bilinear", "align_corners": True}, [normal(2, 3, 6, 5)]),
    ("Upsample", (), {"scale_factor": 2.0, "mode": "linear"}, [normal(2, 3, 7)]),
    ("Upsample", (), {"scale_factor": 2, "mode": "bicubic"}, [normal(2, 3, 4, 5)]),
    ("Upsample", (), {"size": (2, 3), "mode": "area"}, [normal(2, 3, 4, 7)]),
    ("UpsamplingNearest2d", (), {"scale_factor": 3}, [normal(2, 3, 4, 5)]),
    ("UpsamplingBilinear2d", (), {"size": (9, 8)}, [normal(2, 3, 4, 5)]),
    ("PixelShuffle", (2,), {}, [normal(2, 12, 3, 4)]),
    ("PixelUnshuffle", (2,), {}, [normal(2, 3, 6, 4)]),
    ("ChannelShuffle", (2,), {}, [normal(2, 6, 3, 4)]),
    ("Unfold", ((2, 3),), {"padding": (1, 0), "stride": (2, 1), "dilation": (1, 2)}, [normal(2, 3, 6, 7)]),
    ("Fold", ((6, 7), (2, 3)), {"padding": (1, 0), "stride": (2, 1), "dilation": (1, 2)}, [normal(2, 18, 12)]),
    # ---- distance ----
    ("PairwiseDistance", (), {"p": 1.0, "keepdim": True}, [normal(4, 5), normal(4, 5)]),
    ("PairwiseDistance", (), {}, [normal(4, 5), normal(4, 5)]),
    ("CosineSimilarity", (), {"dim": -1}, [normal(4, 5), normal(4, 5)]),
]


def case_id(case):
    name, args, kwargs, _ = case
    options = ",".join([*map(str, args), *(f"{k}={'...' if callable(v) else v}" for k, v in kwargs.items())])
    return f"{name}({options})".replace(" ", "")


def build(library, layers, case, dtype):
    name, args, kwargs, _ = case
    options = {k: v(library, dtype) if callable(v) else v for k, v in kwargs.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch")
        layer = getattr(layers, name)(*args, **options)
    return layer.double() if dtype == "float64" else layer


def pair(case, dtype):
    """PyTorch's layer, and ours with its weights; what starts as constants is shaken, so that it is seen to be used."""
    theirs = build(torch, torch.nn, case, dtype)
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for param in theirs.parameters():
            param.add_(torch.from_numpy(0.1 * rng.standard_normal(tuple(param.shape))).to(param.dtype))
        if case[0].startswith("Embedding") and theirs.padding_idx is not None:
            theirs.weight[theirs.padding_idx] = 0
    ours = build(kg, nn, case, dtype)
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    return ours, theirs


def inputs_for(case, dtype):
    rng = np.random.default_rng(0)
    arrays = [draw(rng) for draw in case[3]]
    arrays = [a if a.dtype.kind == "i" else a.astype(dtype) for a in arrays]
    # targets of losses with classes carry no gradient; everything floating does, except what PyTorch refuses
    ours = [kg.tensor(a, requires_grad=needs_grad(case, i, a)) for i, a in enumerate(arrays)]
    theirs = [torch.tensor(a, requires_grad=needs_grad(case, i, a)) for i, a in enumerate(arrays)]
    return ours, theirs


def needs_grad(case, index, array):
    return array.dtype.kind == "f" and (index == 0 or not case[0].endswith("Loss") or "Triplet" in case[0])


# Layers whose float64 backward in PyTorch takes constants rounded to float32: 1 / 6 in one, 1 / alpha in the other.
ROUNDED = {"Hardsigmoid", "CELU"}


def assert_same(actual, expected, dtype, what, factor=10):
    """The factor is for two libraries that round and sum each in their own way, several ops in a row."""
    assert (actual is None) == (expected is None), what
    if actual is not None:
        actual, expected = actual.detach().numpy(), expected.detach().numpy()
        assert actual.dtype == expected.dtype, what
        assert_close(actual, expected, dtype, factor, what)


def check_both(ours, theirs, our_inputs, their_inputs, dtype):
    """One forward and backward of both, with a random upstream gradient."""
    actual = ours(*our_inputs)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch")
        expected = theirs(*their_inputs)
    assert_same(actual, expected, dtype, "output")
    if not expected.requires_grad:
        assert not actual.requires_grad
        return
    upstream = np.random.default_rng(2).standard_normal(tuple(expected.shape)).astype(dtype)
    actual.backward(kg.tensor(upstream))
    expected.backward(torch.tensor(upstream))
    for i, (x, y) in enumerate(zip(our_inputs, their_inputs)):
        factor = 1e4 if type(ours).__name__ in ROUNDED and dtype == "float64" else 10
        assert_same(x.grad, y.grad, dtype, f"gradient of input {i}", factor)
    expected_grads = {name: param.grad for name, param in theirs.named_parameters()}
    for name, param in ours.named_parameters():
        assert_same(param.grad, expected_grads.pop(name), dtype, f"gradient of {name}")
    assert not expected_grads


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", LAYERS, ids=case_id)
def test_same_as_torch(case, dtype):
    # float64 asks for the formulas: the reference answers, and nothing need be compiled for it
    with use_backend("reference") if dtype == "float64" else nullcontext():
        compare(case, dtype)


def compare(case, dtype):
    ours, theirs = pair(case, dtype)
    assert repr(ours) == repr(theirs)
    if case[0] != "RReLU":  # random while training
        check_both(ours, theirs, *inputs_for(case, dtype), dtype)
        state = ours.state_dict()
        for name, value in theirs.state_dict().items():  # running statistics, renormalised rows
            assert_same(state[name], value, dtype, f"{name} after a step")
    ours.zero_grad()
    theirs.zero_grad()
    check_both(ours.eval(), theirs.eval(), *inputs_for(case, dtype), dtype)


def test_every_layer_is_tested():
    tested = {name for name, *_ in LAYERS}
    elsewhere = {"Dropout", "Dropout1d", "Dropout2d", "AlphaDropout", "FeatureAlphaDropout"}  # random: below
    elsewhere |= {"Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict", "Module"}  # test_modules
    elsewhere |= {"Conv3d"}  # raises
    layers = {
        name for name in dir(nn) if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Module)
    }
    assert layers - elsewhere == tested


# ---- In place ----

IN_PLACE = [
    ("ReLU", ()),
    ("ReLU6", ()),
    ("SELU", ()),
    ("SiLU", ()),
    ("Mish", ()),
    ("Hardsigmoid", ()),
    ("Hardswish", ()),
    ("LeakyReLU", (0.2,)),
    ("ELU", (1.5,)),
    ("CELU", (0.7,)),
    ("Hardtanh", (-0.5, 0.8)),
    ("Threshold", (0.1, 20.0)),
]


@pytest.mark.parametrize(("name", "args"), IN_PLACE)
def test_activation_in_place(name, args):
    x = np.random.default_rng(0).standard_normal((3, 17)).astype(np.float32)
    upstream = np.random.default_rng(1).standard_normal((3, 17)).astype(np.float32)
    grads, values = [], []
    for library, layers in ((kg, nn), (torch, torch.nn)):
        layer = getattr(layers, name)(*args, inplace=True)
        leaf = library.tensor(x, requires_grad=True)
        middle = leaf * 2
        out = layer(middle)
        assert out is middle
        out.backward(library.tensor(upstream))
        grads.append(leaf.grad.numpy())
        values.append(middle.detach().numpy())
    np.testing.assert_allclose(values[0], values[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grads[0], grads[1], rtol=1e-4, atol=1e-5)
    assert repr(getattr(nn, name)(*args, inplace=True)) == repr(getattr(torch.nn, name)(*args, inplace=True))


def test_relu_in_place_between_layers():
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    plain = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    plain.load_state_dict(model.state_dict())
    for shape in ((3, 5), (2, 3, 5)):
        x = kg.randn(shape)
        model.zero_grad()
        plain.zero_grad()
        model(x).sum().backward()
        plain(x).sum().backward()
        for (name, p), q in zip(model.named_parameters(), plain.parameters()):
            np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy(), err_msg=name)


# ---- Random layers ----


@pytest.mark.parametrize(
    ("name", "shape", "unit"),
    [
        ("Dropout", (100, 200), (0, 1)),
        ("Dropout1d", (40, 50, 6), (0, 1)),
        ("Dropout2d", (40, 50, 3, 4), (0, 1)),
    ],
)
def test_dropout(name, shape, unit):
    kg.manual_seed(3)
    layer = getattr(nn, name)(0.3)
    assert repr(layer) == repr(getattr(torch.nn, name)(0.3))
    values = np.random.default_rng(0).uniform(0.5, 1.5, shape).astype(np.float32)
    x = kg.tensor(values, requires_grad=True)
    out = layer(x)
    factor = out.detach().numpy() / values
    dropped = factor == 0
    np.testing.assert_allclose(factor[~dropped], 1 / 0.7, rtol=1e-5)
    if name != "Dropout":  # whole channels
        rows = dropped.reshape(shape[0], shape[1], -1)
        np.testing.assert_array_equal(rows, np.broadcast_to(rows[..., :1], rows.shape))
        dropped = rows[..., 0]
    share, n = dropped.mean(), dropped.size
    assert abs(share - 0.3) < 5 * np.sqrt(0.3 * 0.7 / n)
    upstream = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    out.backward(kg.tensor(upstream))
    np.testing.assert_allclose(x.grad.numpy(), upstream * factor, rtol=1e-5, atol=1e-6)
    assert not np.array_equal(layer(x).detach().numpy() == 0, out.detach().numpy() == 0)
    np.testing.assert_array_equal(layer.eval()(x).detach().numpy(), values)


@pytest.mark.parametrize("name", ["AlphaDropout", "FeatureAlphaDropout"])
def test_alpha_dropout_keeps_mean_and_variance(name):
    kg.manual_seed(4)
    layer = getattr(nn, name)(0.2)
    x = kg.randn(400, 500, requires_grad=True)
    out = layer(x).detach().numpy()
    assert abs(out.mean()) < 0.02
    assert abs(out.std() - 1) < 0.02
    floor, counts = np.unique(out.round(4), return_counts=True)
    assert abs(counts.max() / out.size - 0.2) < 0.01  # what was dropped sits at one value
    assert floor[counts.argmax()] < -1
    np.testing.assert_array_equal(layer.eval()(x).detach().numpy(), x.detach().numpy())


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_dropout_refuses_a_wrong_probability(p):
    with pytest.raises(ValueError, match="dropout probability has to be between 0 and 1"):
        nn.Dropout(p)


def test_rrelu_draws_slopes_in_training():
    kg.manual_seed(5)
    x = kg.tensor(-np.ones(10000, np.float32), requires_grad=True)
    out = nn.RReLU(0.1, 0.4)(x)
    slopes = -out.detach().numpy()
    assert slopes.min() >= 0.1
    assert slopes.max() <= 0.4
    assert abs(slopes.mean() - 0.25) < 0.005
    out.backward(kg.tensor(np.full(10000, 2.0, np.float32)))
    np.testing.assert_allclose(x.grad.numpy(), 2 * slopes, rtol=1e-6)


# ---- Initial values: the bounds and moments are PyTorch's ----


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("Linear", (300, 200)),
        ("Bilinear", (30, 40, 50)),
        ("Conv1d", (40, 60, 5)),
        ("Conv2d", (32, 48, 3)),
        ("ConvTranspose2d", (32, 48, 3)),
        ("Embedding", (300, 50)),
        ("BatchNorm2d", (7,)),
        ("LayerNorm", (7,)),
        ("GroupNorm", (2, 8)),
        ("PReLU", (3,)),
    ],
)
def test_initial_values_are_distributed_as_in_torch(name, args):
    kg.manual_seed(0)
    torch.manual_seed(0)
    ours, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
    expected = dict(theirs.named_parameters())
    for key, param in ours.named_parameters():
        a, b = param.detach().numpy().ravel(), expected.pop(key).detach().numpy().ravel()
        assert a.shape == b.shape
        scale = b.std() or 1.0
        assert abs(a.mean() - b.mean()) <= 6 * scale / np.sqrt(a.size), key
        if a.size > 1000:
            assert abs(a.std() / b.std() - 1) < 0.05, key
            assert abs(np.abs(a).max() / np.abs(b).max() - 1) < (0.01 if name != "Embedding" else 0.3), key
    assert not expected


# ---- Wrong calls ----


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "in_channels must be divisible by groups"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), ValueError, "out_channels must be divisible by groups"),
        (lambda: nn.Conv2d(4, 4, 3, groups=0), ValueError, "groups must be a positive integer"),
        (lambda: nn.Conv2d(4, 4, 3, padding="full"), ValueError, "Invalid padding string 'full'"),
        (lambda: nn.Conv2d(4, 4, 3, stride=2, padding="same"), ValueError, "not supported for strided"),
        (lambda: nn.Conv2d(4, 4, 3, padding_mode="mirror"), ValueError, "padding_mode must be one of"),
        (lambda: nn.Conv3d(4, 4, 3), NotImplementedError, "Conv3d"),
        (lambda: nn.ConvTranspose2d(4, 4, 3, padding_mode="reflect"), ValueError, 'Only "zeros" padding mode'),
        (lambda: nn.GroupNorm(4, 6), ValueError, "must be divisible by num_groups"),
        (lambda: nn.BatchNorm2d(3)(kg.zeros(2, 3)), ValueError, "expected 4D input .got 2D input."),
        (lambda: nn.BatchNorm1d(3)(kg.zeros(3)), ValueError, "expected 2D or 3D input .got 1D input."),
        (lambda: nn.Bilinear(0, 1, 2), ValueError, "in1_features must be > 0"),
        (lambda: nn.Hardtanh(1, -1), AssertionError, "must be greater than min_val"),
        (lambda: nn.Embedding(5, 2, padding_idx=5), AssertionError, "within num_embeddings"),
        (lambda: nn.Unflatten(1, (2, 3.0)), TypeError, "found element of type float at pos 1"),
        (lambda: nn.MultiMarginLoss(p=3), ValueError, "only p == 1 and p == 2"),
        (lambda: nn.TripletMarginLoss(margin=0), ValueError, "margin to be greater than 0"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), ValueError, "kernel_size: expected one int or 2"),
        (lambda: nn.ZeroPad2d((1, 2)), ValueError, "ZeroPad2d: expected one int or 4"),
        (lambda: nn.Unflatten(1, 6), TypeError, "must be a tuple of ints, but found type int"),
        (lambda: nn.Embedding.from_pretrained(kg.ones(3)), AssertionError, "expected to be 2-dimensional"),
        (lambda: nn.EmbeddingBag.from_pretrained(kg.ones(3)), AssertionError, "expected to be 2-dimensional"),
        (lambda: nn.Embedding(3, 4, _weight=kg.ones(3, 3)), AssertionError, "Shape of weight does not match"),
        (lambda: nn.Softmax2d()(kg.ones(2, 3)), ValueError, "expected input to be 3D or 4D, got 2D"),
        (lambda: nn.InstanceNorm2d(3)(kg.ones(2, 3)), ValueError, "expected 3D or 4D input .got 2D input."),
        (
            lambda: nn.InstanceNorm2d(3, affine=True)(kg.ones(2, 4, 5, 5)),
            ValueError,
            r"size at dim=1 to match num_features .3., but got: 4",
        ),
        (lambda: nn.MultiMarginLoss(weight=kg.ones(2, 2)), ValueError, "expected weight to be None or 1D"),
        (
            lambda: nn.ConvTranspose2d(1, 1, 3)(kg.ones(1, 1, 4, 4), output_size=[3]),
            ValueError,
            "output_size must have 2 or 4 elements",
        ),
        (lambda: nn.HuberLoss(delta="1"), TypeError, "delta must be a float or int"),
    ],
)
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_conv_transpose_output_size():
    layer, theirs = nn.ConvTranspose2d(3, 4, 3, stride=2), torch.nn.ConvTranspose2d(3, 4, 3, stride=2)
    layer.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 6)).astype(np.float32)
    for size in ((12, 13), (11, 14)):
        out = layer(kg.tensor(x), output_size=size)
        assert tuple(out.shape[2:]) == size
        assert_same(out, theirs(torch.tensor(x), output_size=size), "float32", "output")
    with pytest.raises(ValueError, match=r"valid sizes of dimension 0 range from 11 to 12"):
        layer(kg.tensor(x), output_size=(13, 13))


def test_pooling_indices():
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 8)).astype(np.float32)
    out, indices = nn.MaxPool2d(2, return_indices=True)(kg.tensor(x))
    expected, expected_indices = torch.nn.MaxPool2d(2, return_indices=True)(torch.tensor(x))
    np.testing.assert_array_equal(out.numpy(), expected.numpy())
    np.testing.assert_array_equal(indices.numpy(), expected_indices.numpy())


def test_embedding_from_pretrained_shares_memory_and_is_frozen():
    table = kg.randn(5, 3)
    layer = nn.Embedding.from_pretrained(table)
    assert not layer.weight.requires_grad
    table.fill_(7.0)
    assert (layer(kg.tensor([1, 4])).numpy() == 7).all()
    assert nn.Embedding.from_pretrained(table, freeze=False).weight.requires_grad
    bag = nn.EmbeddingBag.from_pretrained(table, mode="sum")
    assert not bag.weight.requires_grad
    assert bag(kg.tensor([[1, 4]])).tolist() == [[14.0] * 3]


@pytest.mark.parametrize(
    ("flags", "reduction"), [({"size_average": False}, "sum"), ({"reduce": False}, "none"), ({"reduce": True}, "mean")]
)
def test_old_reduction_flags_warn(flags, reduction):
    with pytest.warns(UserWarning, match=f"please use reduction='{reduction}' instead"):
        assert nn.MSELoss(**flags).reduction == reduction


def test_instance_norm_of_other_channels_warns():
    with pytest.warns(UserWarning, match="does not match num_features .3., which is not used"):
        assert nn.InstanceNorm1d(3)(kg.randn(2, 4, 5)).shape == (2, 4, 5)


def test_batch_norm_without_num_batches_tracked_loads_as_in_torch():
    state = nn.BatchNorm1d(3).state_dict()
    del state["num_batches_tracked"]
    nn.BatchNorm1d(3).load_state_dict(dict(state))  # a plain dict is of version 1, which did not have it
    with pytest.raises(RuntimeError, match='Missing key.s. in state_dict: "num_batches_tracked"'):
        nn.BatchNorm1d(3).load_state_dict(state)
