"""Cases of the activations."""

import numpy as np

import kernelgrad as kg
from kernelgrad.ops import activations as ops
from kernelgrad.testing.case import OpCase

SHAPES = [(0,), (1,), (7,), (15,), (17,), (3, 129), (2, 3, 4, 5), (70, 1000)]
BENCH = [(256, 1024), (4096, 4096)]


def _between_kinks(rng, shape):
    """Both sides of every kink, but 0.005 at least from each."""
    return (np.floor(rng.standard_normal(shape) * 200) / 100 + 0.005,)


def _case(name, op=None, torch=None, integers_raise=True, **options):
    op = op or getattr(ops, name)
    kernel = options.pop("kernel", name)
    errors = [(lambda: op([1.0]), TypeError, "must be Tensor")]
    if integers_raise:
        errors.append((lambda: op(kg.arange(3)), TypeError, "expected a floating-point tensor"))
    return OpCase(
        name,
        op,
        torch=None if torch == "no" else torch or f"nn.functional.{name}",
        shapes=SHAPES,
        make=_between_kinks,
        kernels=(f"{kernel}_forward", f"{kernel}_backward"),
        bench=BENCH,
        errors=errors,
        **options,
    )


CASES = [
    _case("relu", integers_raise=False),
    _case("relu6", integers_raise=False),
    _case("threshold", integers_raise=False, kwargs=[{"threshold": 0.3, "value": -2.0}]),
    _case("hardtanh", integers_raise=False, kwargs=[{}, {"min_val": -0.5, "max_val": 2.5}]),
    _case("leaky_relu", kwargs=[{}, {"negative_slope": 0.3}]),
    _case(
        "hardsigmoid", torch="no"
    ),  # PyTorch's float64 backward multiplies with a float32 1 / 6, so only float32 is compared
    OpCase(
        "hardsigmoid_float32",
        ops.hardsigmoid,
        torch="nn.functional.hardsigmoid",
        make=_between_kinks,
        kernels=("hardsigmoid_forward",),
        dtypes=("float32",),
    ),
    _case("hardswish"),
    _case("hardshrink", torch="nn.functional.hardshrink", kwargs=[{}, {"lambd": 1.0}]),
    _case("softshrink", kwargs=[{}, {"lambd": 1.0}]),
    _case("elu", kwargs=[{}, {"alpha": 1.5}]),
    _case("celu", kwargs=[{}, {"alpha": 1.5}]),
    _case("selu"),
    _case("sigmoid", torch="sigmoid", integers_raise=False),
    _case("tanh", torch="tanh", integers_raise=False),
    _case("tanhshrink", integers_raise=False),
    _case("logsigmoid"),
    _case("softplus", kwargs=[{}, {"beta": 2.0}, {"beta": 3.0, "threshold": 5.0}]),
    _case("softsign", integers_raise=False),
    _case("silu"),
    _case("mish"),
    _case("gelu"),
    _case("gelu_tanh", op=ops.gelu, torch="nn.functional.gelu", kwargs=[{"approximate": "tanh"}]),
]
