"""Cases of pooling, each in NCHW memory and in NHWC memory."""

import numpy as np

import kernelgrad as kg
from kernelgrad import ops
from kernelgrad.core import views
from kernelgrad.testing.case import OpCase

IMAGES = [(2, 20, 7, 7), (1, 33, 8, 5), (1, 5, 9, 12), (1, 70, 5, 6)]

WINDOWS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (3, 2), "stride": (1, 2), "padding": (1, 1)},
    {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    {"kernel_size": 2, "stride": 3, "ceil_mode": True, "padding": 1},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": 2, "stride": 2, "padding": 1},
]


def _apart(rng, shape):
    """Values far enough apart that a small step does not change which of them is the largest."""
    return (rng.permutation(int(np.prod(shape))).reshape(shape) * 0.01 - 1,)


def _normal(rng, shape):
    return (rng.standard_normal(shape),)


def _nhwc(make):
    """The same values as `make` draws, in NHWC memory."""

    def made(rng, shape):
        return tuple(np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for a in make(rng, shape))

    return made


def _in_nhwc(op):
    """The op on input in NHWC memory (a copy only if it comes otherwise); the output must have that layout too."""

    def run(x, **options):
        result = op(views.channels_last(x), **options)
        first = result[0] if isinstance(result, tuple) else result
        if not first.is_channels_last():
            raise AssertionError(f"{op.__name__}: NHWC input, but the output has strides {first.stride()}")
        return result

    return run


def _cases(name, kwargs, kernels, make=_normal, errors=(), bench=()):
    op = getattr(ops, name)
    options = {"torch": f"nn.functional.{name}", "kwargs": kwargs, "kernels": kernels, "bench": list(bench)}
    planes = [(2, 3, 8, 9), (3, 9, 10), (0, 2, 8, 9), (1, 2, 6, 41)]
    return [
        OpCase(name, op, shapes=planes, make=make, errors=list(errors), **options),
        OpCase(f"{name}_nhwc", _in_nhwc(op), shapes=IMAGES, make=_nhwc(make), **options),
    ]


def _wrong(op, shape, message, exception=RuntimeError, **options):
    return (lambda: op(kg.ones(*shape), **options), exception, message)


MAX = ("max_pool2d_forward", "max_pool2d_backward")
AVG = ("avg_pool2d_forward", "avg_pool2d_backward")
ADAPTIVE_AVG = (*AVG, "global_avg_pool2d_forward", "global_avg_pool2d_backward")
IMAGE = (64, 64, 28, 28)

CASES = [
    *_cases(
        "max_pool2d",
        [
            *WINDOWS,
            {"kernel_size": 2, "stride": 1, "dilation": 3, "return_indices": True},
            {"kernel_size": 3, "padding": 1, "ceil_mode": True, "return_indices": True},
            {"kernel_size": (5, 4), "stride": 1, "padding": (2, 2)},
        ],
        (*MAX, "max_pool2d_indices"),
        make=_apart,
        bench=[IMAGE],
        errors=[
            _wrong(ops.max_pool2d, (2, 3), "Expected 3D or 4D", kernel_size=2),
            _wrong(ops.max_pool2d, (1, 3, 4, 4), "Output size is too small", kernel_size=5),
            _wrong(ops.max_pool2d, (1, 3, 4, 4), "at most half of effective kernel size", kernel_size=2, padding=2),
            _wrong(ops.max_pool2d, (1, 3, 4, 4), "stride should be greater than zero", kernel_size=2, stride=0),
            _wrong(ops.max_pool2d, (1, 3, 4, 4), "must either be a single int", TypeError, kernel_size=2.5),
        ],
    ),
    *_cases(
        "avg_pool2d",
        [
            *WINDOWS,
            {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
            {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "divisor_override": 5},
        ],
        AVG,
        bench=[IMAGE],
        errors=[
            _wrong(ops.avg_pool2d, (1, 3, 4, 4), "tuple of 2 ints", kernel_size=(2, 2, 2)),
            _wrong(ops.avg_pool2d, (1, 3, 4, 4), "divisor must be not zero", kernel_size=2, divisor_override=0),
        ],
    ),
    *_cases(
        "adaptive_avg_pool2d",
        [{"output_size": size} for size in (1, (3, 4), (None, 2), (9, 13))],
        ADAPTIVE_AVG,
        bench=[IMAGE],
        errors=[_wrong(ops.adaptive_avg_pool2d, (1, 3, 4, 4), "greater than or equal to 0", output_size=-1)],
    ),
    *_cases(
        "adaptive_max_pool2d",
        [{"output_size": (3, 4), "return_indices": True}, {"output_size": 1}],
        (*MAX, "max_pool2d_indices"),
        make=_apart,
    ),
    *[
        OpCase(
            name,
            getattr(ops, name),
            torch=f"nn.functional.{name}",
            shapes=[(2, 3, 11), (3, 11)],
            make=_apart,
            kwargs=kwargs,
            kernels=kernels,
        )
        for name, kwargs, kernels in (
            (
                "max_pool1d",
                [{"kernel_size": 3, "stride": 2, "padding": 1, "return_indices": True}, {"kernel_size": 2}],
                MAX,
            ),
            ("avg_pool1d", [{"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}], AVG),
            ("adaptive_avg_pool1d", [{"output_size": 4}], AVG),
            ("adaptive_max_pool1d", [{"output_size": 4}], MAX),
        )
    ],
]
