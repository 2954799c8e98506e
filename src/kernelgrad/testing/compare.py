"""Tolerances, in one table, and central differences."""

import numpy as np

from kernelgrad import core

# (relative, absolute in units of the largest expected magnitude). float32: a few ulp of an elementwise function,
# and sums of a few thousand terms in another order than NumPy's. float64: the same for Numba and NumPy. bfloat16
# rounds to 8 bits.
TOLERANCE = {"float32": (2e-5, 2e-6), "float64": (1e-11, 1e-12), "bfloat16": (1e-2, 1e-2)}


def assert_close(actual, expected, dtype="float32", factor=1.0, what=""):
    """Raise AssertionError unless two arrays agree within the dtype's tolerance; nan equals nan, infinities match."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    if expected.dtype.kind in "biu":
        np.testing.assert_array_equal(actual, expected, err_msg=what)
        return
    relative, absolute = TOLERANCE[dtype]
    finite = expected[np.isfinite(expected)]
    scale = float(np.abs(finite).max()) if finite.size else 0.0
    np.testing.assert_allclose(
        actual, expected, rtol=relative * factor, atol=absolute * factor * max(scale, 1e-30), err_msg=what
    )


def gradcheck(function, inputs, eps=1e-6, rtol=1e-5, atol=1e-7, seed=0):
    """Compare backward with central differences in float64, along random directions for a random upstream gradient.

    Parameters
    ----------
    function : takes the inputs, returns one Tensor (or a tuple, all of whose floating outputs are checked together)
    inputs : tuple of float64 Tensors with requires_grad, others are passed on untouched

    Raises
    ------
    AssertionError
        Naming the input whose slope is off, with both values.
    """
    rng = np.random.default_rng(seed)
    outputs = _outputs(function(*inputs))
    upstream = [rng.standard_normal(tuple(o.shape)) for o in outputs]
    wanted = [x for x in inputs if isinstance(x, core.Array) and x.requires_grad]
    grads = core.grad(outputs, wanted, [core.from_numpy(u) for u in upstream], allow_unused=True)

    def objective():
        with core.no_grad():
            return sum(float((core.as_numpy(o) * u).sum()) for o, u in zip(_outputs(function(*inputs)), upstream))

    for position, (x, g) in enumerate(zip(wanted, grads)):
        values = core.as_numpy(x)
        slope = np.zeros(values.shape) if g is None else core.as_numpy(g)
        for _ in range(3):
            direction = rng.standard_normal(values.shape)
            original = values.copy()
            values[...] = original + eps * direction
            up = objective()
            values[...] = original - eps * direction
            down = objective()
            values[...] = original
            numeric, analytic = (up - down) / (2 * eps), float((slope * direction).sum())
            bound = atol + rtol * max(abs(numeric), abs(analytic))
            assert abs(numeric - analytic) <= bound, (
                f"gradient of input {position}: backward gives {analytic:.10g} along a direction, "
                f"central differences {numeric:.10g}"
            )
    return True


def _outputs(result):
    found = list(result) if isinstance(result, (tuple, list)) else [result]
    return [o for o in found if isinstance(o, core.Array) and o.dtype.is_floating_point]
