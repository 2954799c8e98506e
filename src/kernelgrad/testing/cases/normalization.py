"""Cases of the normalizations: NCHW and NHWC memory, with and without parameters, training and inference."""

import kernelgrad as kg
from kernelgrad import ops
from kernelgrad.core import views
from kernelgrad.ops.normalization import batch_norm_relu
from kernelgrad.testing.case import OpCase

ROWS = [(3, 1), (2, 16), (5, 17), (3, 4, 129), (70, 300), (4, 2000)]
IMAGES = [(4, 3), (5, 16), (3, 17, 7), (2, 3, 4, 5), (4, 20, 3, 3), (8, 16, 12, 12)]
# Channels that several rows share a vector of, with rows left over; more than one piece; images enough for a task each.
FOLDED = [(3, 1, 9, 17), (2, 3, 23, 11), (1, 67, 23, 30), (9, 6, 16, 16), (2, 8, 70, 71), (1, 300, 17, 8)]


def _rows(rng, shape):
    n = shape[-1]
    return rng.standard_normal(shape) * 2 + 1, rng.uniform(0.5, 2, n), rng.standard_normal(n)


def _images(rng, shape):
    c = shape[1]
    return rng.standard_normal(shape) * 2 + 1, rng.uniform(0.5, 2, c), rng.standard_normal(c)


def _running(rng, shape):
    x, weight, bias = _images(rng, shape)
    return x, weight, bias, rng.standard_normal(shape[1]), rng.uniform(0.5, 2, shape[1])


def _layer_norm(x, weight, bias):
    return _functional(x).layer_norm(x, (x.shape[-1],), weight, bias)


def _layer_norm_plain(x):
    return _functional(x).layer_norm(x, (x.shape[-1],))


def _rms_norm(x, weight, bias):
    return _functional(x).rms_norm(x, (x.shape[-1],), weight, 1e-5)


def _batch_norm(x, weight, bias):
    return _functional(x).batch_norm(x, None, None, weight, bias, True)


def _batch_norm_nhwc(x, weight, bias):
    if isinstance(x, kg.Tensor) and x.ndim == 4:
        x = views.channels_last(x)
    return _batch_norm(x, weight, bias)


def _batch_norm_relu(x, weight, bias):
    if isinstance(x, kg.Tensor):
        return batch_norm_relu(x, None, None, weight, bias, True, 0.1, 1e-5)
    return _batch_norm(x, weight, bias).relu()


def _batch_norm_relu_nhwc(x, weight, bias):
    if isinstance(x, kg.Tensor) and x.ndim == 4:
        x = views.channels_last(x)
    return _batch_norm_relu(x, weight, bias)


def _batch_norm_inference(x, weight, bias, mean, var):
    return _functional(x).batch_norm(x, mean, var, weight, bias, False)


def _group_norm(x, weight, bias):
    return _functional(x).group_norm(x, 2 if x.shape[1] % 2 == 0 else 1, weight, bias)


def _group_norm_nhwc(x, weight, bias):
    if isinstance(x, kg.Tensor):
        x = views.channels_last(x)
    return _group_norm(x, weight, bias)


def _functional(x):
    """The same call serves both libraries."""
    if isinstance(x, kg.Tensor):
        return ops
    import torch

    return torch.nn.functional


def _case(name, op, shapes, make, kernels, grad=(0, 1, 2), **options):
    """`torch` names a function that is not looked up: the op itself calls whichever library its input is of."""
    return OpCase(
        name,
        op,
        shapes=shapes,
        make=make,
        grad=grad,
        kernels=tuple(f"{k}" for k in kernels),
        tolerance=4,
        bench=[shapes[-1]],
        **options,
    )


def _both(name):
    return f"{name}_forward", f"{name}_backward"


CASES = [
    _case(
        "layer_norm",
        _layer_norm,
        ROWS,
        _rows,
        _both("layer_norm"),
        errors=[
            (lambda: ops.layer_norm(kg.ones(2, 3), (4,)), RuntimeError, r"expected input with shape \[\*, 4\]"),
            (
                lambda: ops.layer_norm(kg.ones(2, 3), (3,), kg.ones(4)),
                RuntimeError,
                r"weight to have shape \(3,\), got \(4,\)",
            ),
        ],
    ),
    _case(
        "layer_norm_plain",
        _layer_norm_plain,
        ROWS[1:],
        lambda rng, shape: _rows(rng, shape)[:1],
        _both("layer_norm"),
        grad=(0,),
    ),
    _case("rms_norm", _rms_norm, ROWS, _rows, _both("rms_norm"), grad=(0, 1)),
    _case(
        "batch_norm",
        _batch_norm,
        IMAGES,
        _images,
        _both("batch_norm"),
        errors=[
            (
                lambda: ops.batch_norm(kg.ones(1, 3), None, None, training=True),
                ValueError,
                "more than 1 value per channel",
            ),
            (lambda: ops.batch_norm(kg.ones(2, 3), None, None), RuntimeError, "running_mean and running_var"),
        ],
    ),
    _case("batch_norm_nhwc", _batch_norm_nhwc, FOLDED + IMAGES[3:], _images, _both("batch_norm")),
    _case("batch_norm_relu", _batch_norm_relu, IMAGES, _images, _both("batch_norm_relu")),
    _case("batch_norm_relu_nhwc", _batch_norm_relu_nhwc, FOLDED + IMAGES[3:], _images, _both("batch_norm_relu")),
    _case(
        "batch_norm_inference",
        _batch_norm_inference,
        IMAGES,
        _running,
        ("batch_norm_inference", "batch_norm_inference_backward"),
    ),
    _case(
        "group_norm",
        _group_norm,
        IMAGES[2:],
        _images,
        _both("group_norm"),
        errors=[
            (lambda: ops.group_norm(kg.ones(2, 3, 4), 2), RuntimeError, "divisible by num_groups"),
        ],
    ),
    _case("group_norm_nhwc", _group_norm_nhwc, FOLDED + IMAGES[3:], _images, _both("group_norm_nhwc")),
]
