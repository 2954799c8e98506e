"""Every float32 through every function of one operand, against the NumPy definition in float64: worst error in ulp.

    python -m kernelgrad.testing.every_float                  every 251st float and all exponent boundaries
    python -m kernelgrad.testing.every_float --full exp tanh  all 2^32, of two functions

An ulp is the distance of float32 numbers at the exact answer (2^-149 below the normal range; infinity counts as 2^128).
A wrong nan, or a zero of the wrong sign, is an error of infinitely many.
"""

import argparse
import importlib

import numpy as np

from kernelgrad import core

CHUNK = 1 << 20

# Bars in ulp. Products of several rounded factors get more than a single function.
TWO = """
exp exp2 expm1 log log2 log10 log1p sqrt rsqrt reciprocal square sin cos tan asin acos atan sinh cosh asinh acosh atanh
erf erfc abs neg sign floor ceil round trunc frac
""".split()  # noqa: SIM905
ACTIVATIONS = """
relu leaky_relu elu celu selu sigmoid tanh tanhshrink logsigmoid softplus softsign hardsigmoid hardswish silu mish gelu
gelu_tanh
""".split()  # noqa: SIM905
SCALARS = {"leaky_relu": (0.25,), "elu": (1.0,), "celu": (1.0,), "softplus": (1.0, 20.0)}
BARS = {
    **dict.fromkeys(TWO + ACTIVATIONS, 2.0),
    "silu": 2.5,
    "mish": 3.0,
    "gelu_tanh": 2.5,
    "tanhshrink": 4.0,
    "gelu": 4.0,
}
BARS_GENERIC = {"softplus": 2.5, "logsigmoid": 2.5}  # without fma


def _odd_cubic(x):
    """x - tanh x without cancellation near 0: its series there."""
    z = x * x
    series = (
        x * z * (1 / 3 - z * (2 / 15 - z * (17 / 315 - z * (62 / 2835 - z * (1382 / 155925 - z * 21844 / 6081075)))))
    )
    return np.where(np.abs(x) < 0.1, series, x - np.tanh(x))


def _beyond_numpy():
    """References that NumPy lacks or only has slowly: SciPy's where it is installed."""
    better = {"tanhshrink": _odd_cubic}
    try:
        from scipy import special
    except ImportError:
        return better
    better.update(erf=special.erf, erfc=special.erfc)
    better["gelu"] = lambda x: np.maximum(x, -1e30) * 0.5 * special.erfc(-np.maximum(x, -1e30) / np.sqrt(2.0))
    return better


def definition(name):
    """The function of float64 arrays that float32 kernel `name` is held to."""
    better = _beyond_numpy()
    if name in better:
        return better[name]
    family = "activations" if name in ACTIVATIONS else "elementwise"
    forward = getattr(importlib.import_module(f"kernelgrad.kernels.{family}.reference"), f"{name}_forward")

    def function(x):
        out = np.empty_like(x)
        forward(x, out, *SCALARS.get(name, ()))
        return out

    return function


def floats(full):
    """Arrays of float32 inputs."""
    if full:
        for start in range(0, 1 << 32, CHUNK):
            yield np.arange(start, start + CHUNK, dtype=np.uint64).astype(np.uint32).view(np.float32)
        return
    steps = np.arange(0, 1 << 32, 251, dtype=np.uint64)
    edges = (np.arange(512, dtype=np.int64)[:, None] << 23) + np.arange(-3, 4)
    bits = np.concatenate([steps, (edges % (1 << 32)).ravel().astype(np.uint64)]).astype(np.uint32)
    for start in range(0, bits.size, CHUNK):
        yield bits[start : start + CHUNK].view(np.float32)


def errors(actual, exact):
    """Distance of float32 answers from float64 ones, in ulp."""
    top = 2.0**128
    near, right = np.clip(actual.astype(np.float64), -top, top), np.clip(exact, -top, top)
    exponent = np.maximum(np.frexp(right)[1] - 24, -149)
    off = np.ldexp(np.abs(near - right), -exponent)
    wrong = np.isnan(near) != np.isnan(right)
    wrong |= (actual == 0) & (exact == 0) & (np.signbit(actual) != np.signbit(exact))
    return np.where(wrong, np.inf, np.where(np.isnan(right), 0, off))


def worst(name, level, full=False):
    """(largest error in ulp, the input it happens at) of one function on one instruction set."""
    kernel, exact, scalars = core.kernel(f"{name}_forward"), definition(name), SCALARS.get(name, ())
    most, at = -1.0, 0.0
    with core.use_backend(f"simd:{level}"), np.errstate(all="ignore"):
        for x in floats(full):
            out = core.empty((x.size,))
            kernel((core.from_numpy(x), out), (x.size,), scalars)
            off = errors(core.as_numpy(out), exact(x.astype(np.float64)))
            i = int(off.argmax())
            if off[i] > most:
                most, at = float(off[i]), float(x[i])
    return most, at


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="functions; all by default")
    parser.add_argument("--full", action="store_true", help="all 2^32 floats: minutes for each function")
    parser.add_argument(
        "--isa", action="append", choices=core.available_levels(), help="instruction sets; all by default"
    )
    options = parser.parse_args()
    levels = options.isa or core.available_levels()
    print("| function | " + " | ".join(f"{level} | at" for level in levels) + " |")
    print("|---" * (1 + 2 * len(levels)) + "|")
    for name in options.names or BARS:
        cells = [f"{most:.3f} | {at:.9g}" for most, at in (worst(name, level, options.full) for level in levels)]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
