"""Every float32 through every function of one operand, against the NumPy definition in float64: worst error in ulp.

    python -m kernelgrad.testing.every_float                  every 251st float and all exponent boundaries
    python -m kernelgrad.testing.every_float --full exp tanh  all 2^32, of two functions
    python -m kernelgrad.testing.every_float --pairs 100000000  functions of two operands, on special and random pairs

An ulp is the distance of float32 numbers at the exact answer (2^-149 below the normal range; infinity counts as 2^128).
A wrong nan, or a zero of the wrong sign, is an error of infinitely many. The oracle is NumPy's and SciPy's own float64,
asked once for all instruction sets: answers with the bits of the first set are not measured again.
"""

import argparse
import functools
import importlib
import multiprocessing
import os

import numpy as np

from kernelgrad import core

CHUNK = 1 << 16  # floats that stay in the second cache through all steps
TASK = 1 << 24

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
BARS = {**dict.fromkeys(TWO + ACTIVATIONS, 2.0), "gelu_tanh": 2.5}
BARS_GENERIC = {
    "softplus": 2.5,
    "logsigmoid": 2.5,
    "mish": 2.5,
    "tanhshrink": 3.0,
    "erfc": 3.5,
}  # without fma
PAIRS = {"pow": 2.0, "atan2": 2.0, "fmod": 0.0, "remainder": 0.0, "floor_divide": 0.0}  # 0: the same bits as NumPy


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


@functools.cache
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


def tasks(full):
    """Descriptions of float32 inputs for `inputs`."""
    if full:
        return [(start, start + TASK) for start in range(0, 1 << 32, TASK)]
    last = (1 << 32) // 251 + 1
    return [(start, min(start + TASK, last)) for start in range(0, last, TASK)] + ["edges"]


def inputs(task, full):
    """Arrays of at most CHUNK float32 inputs."""
    if task == "edges":
        edges = (np.arange(512, dtype=np.int64)[:, None] << 23) + np.arange(-3, 4)
        yield (edges % (1 << 32)).ravel().astype(np.uint32).view(np.float32)
        return
    for start in range(*task, CHUNK):
        stop = min(start + CHUNK, task[1])
        if full:
            yield np.arange(start, stop, dtype=np.uint32).view(np.float32)
        else:
            bits = np.arange(start, stop, dtype=np.uint64) * 251
            yield bits[bits < 1 << 32].astype(np.uint32).view(np.float32)


def errors(actual, exact):
    """Distance of float32 answers from float64 ones, in ulp."""
    top = 2.0**128
    near, right = np.clip(actual.astype(np.float64), -top, top), np.clip(exact, -top, top)
    exponent = (right.view(np.int64) >> 52) & 0x7FF  # biased by 1023
    ulp = (np.maximum(exponent - 23, 1023 - 149) << 52).view(np.float64)
    off = np.abs(near - right) / ulp
    missing, right_missing = np.isnan(near), np.isnan(right)
    off[missing & right_missing] = 0
    wrong = missing != right_missing
    wrong |= (actual == 0) & (exact == 0) & (np.signbit(actual) != np.signbit(exact))
    off[wrong] = np.inf
    return off


def _same(a, b):
    return (
        np.array_equal(a.view(np.int32), b.view(np.int32))
        or np.array_equal(a, b, equal_nan=True)
        and np.array_equal(np.signbit(a[a == 0]), np.signbit(b[b == 0]))
    )


def _answers(kernel, arrays, sizes, scalars, levels):
    """What each instruction set says."""
    answers = []
    for level in levels:
        with core.use_backend(f"simd:{level}"):
            out = core.empty((sizes[0],))
            kernel((*(core.from_numpy(x) for x in arrays), out), sizes, scalars)
            answers.append(core.as_numpy(out))
    return answers


def _worst_of(answer, exact, arrays, known=-1.0):
    """Largest error and where, unless it is no more than the one known. An answer k floats away from the rounded exact
    one is off by k - 1/2 to k + 1/2 ulp, so only those furthest away are measured; where signs or nans differ, all
    are."""
    rounded = exact.astype(np.float32)
    apart = answer.view(np.int32) - rounded.view(np.int32)
    most = max(int(apart.max()), -int(apart.min()))
    if most > 1000:  # perhaps nans of other bits
        apart[np.isnan(answer) & np.isnan(rounded)] = 0
        most = max(int(apart.max()), -int(apart.min()))
    if most + 0.5 <= known:
        return -1.0, (0.0,) * len(arrays)
    if most == 0 and np.array_equal(rounded, exact):
        return 0.0, tuple(float(x[0]) for x in arrays)
    chosen = slice(None) if most > 1000 else np.flatnonzero(np.abs(apart) == most)
    off = errors(answer[chosen], exact[chosen])
    i = int(off.argmax())
    return float(off[i]), tuple(float(x[chosen][i]) for x in arrays)


def _measure(answers, exact, most, arrays):
    """Carry (largest error, where, whether the bits were always the first one's) of each level on."""
    first = _worst_of(answers[0], exact, arrays, min(worst for worst, _, _ in most))
    for k, answer in enumerate(answers):
        worst, at, always = most[k]
        same = k == 0 or _same(answer, answers[0])
        here = first if same else _worst_of(answer, exact, arrays, worst)
        most[k] = (*(here if here[0] > worst else (worst, at)), always and same)


def _run(job):
    name, levels, task, full = job
    kernel, exact, scalars = core.kernel(f"{name}_forward"), definition(name), SCALARS.get(name, ())
    most = [(-1.0, (0.0,), True)] * len(levels)
    with np.errstate(all="ignore"):
        for x in inputs(task, full):
            answers = _answers(kernel, (x,), (x.size,), scalars, levels)
            _measure(answers, exact(x.astype(np.float64)), most, (x,))
    return most


def worst(name, levels, full=False, workers=1):
    """[(largest error in ulp, the input it happens at, whether all bits are those of levels[0])] of one function."""
    jobs = [(name, levels, task, full) for task in tasks(full)]
    if workers > 1:
        with multiprocessing.get_context("fork").Pool(workers) as pool:
            parts = pool.map(_run, jobs, chunksize=1)
    else:
        parts = [_run(job) for job in jobs]
    return _join(parts)


def _join(parts):
    joined = []
    for level in zip(*parts, strict=True):
        most, at, _ = max(level, key=lambda part: part[0])
        joined.append((most, at, all(part[2] for part in level)))
    return joined


SPECIAL = [
    0,
    1e-45,
    3e-45,
    1.1754942e-38,
    1.1754944e-38,
    1e-30,
    1 / 3,
    0.5,
    0.99999994,
    1,
    1.0000001,
    1.5,
    2,
    2.5,
    3,
    np.pi,
]
SPECIAL += [7, 100, 8388607.5, 8388608, 16777215, 16777216, 1e10, 1e30, 1.7014118e38, 3.4028235e38, np.inf, np.nan]


def pairs(count, seed=0):
    """Pairs of float32: all of the special values and their negatives, then `count` random ones of four kinds: any
    bits, sizes alike, whole numbers, near multiples."""
    special = np.array(SPECIAL, np.float32)
    special = np.concatenate([special, -special])
    yield tuple(np.ascontiguousarray(grid.ravel()) for grid in np.meshgrid(special, special))
    rng = np.random.default_rng(seed)
    for start in range(0, count, CHUNK):
        n = min(CHUNK, count - start) // 4 + 1
        any_bits = rng.integers(0, 1 << 32, (2, n), dtype=np.uint32).view(np.float32)
        alike = rng.standard_normal((2, n), dtype=np.float32) * np.float32([[10], [1]])
        whole = rng.integers(-1000, 1000, (2, n)).astype(np.float32)
        divisor = rng.standard_normal(n, dtype=np.float32)
        near = np.stack([divisor * rng.integers(0, 1 << 24, n).astype(np.float32), divisor])
        yield tuple(np.concatenate(parts) for parts in zip(any_bits, alike, whole, near, strict=True))


def worst_pair(name, levels, count, seed=0):
    """The same as `worst`, of a function of two operands."""
    kernel, most = core.kernel(f"{name}_forward"), [(-1.0, (0.0, 0.0), True)] * len(levels)
    exact = {"pow": np.power, "atan2": np.arctan2}.get(name) or getattr(np, name)
    with np.errstate(all="ignore"):
        for a, b in pairs(count, seed):
            answers = _answers(kernel, (a, b), (a.size, 1, 1), (), levels)
            if PAIRS[name]:
                a64, b64 = a.astype(np.float64), b.astype(np.float64)
                _measure(answers, exact(a64, b64), most, (a, b))
            else:  # exact by definition, also where float64 would round
                right = exact(a, b)
                wrong = np.where(np.isnan(right), np.float32(0), np.float32(np.nan))
                answers = [np.where(_equal(x, right), right, wrong) for x in answers]
                _measure(answers, right.astype(np.float64), most, (a, b))
    return most


def _equal(x, y):
    return (x.view(np.int32) == y.view(np.int32)) | (np.isnan(x) & np.isnan(y))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="functions; all by default")
    parser.add_argument("--full", action="store_true", help="all 2^32 floats: minutes for each function")
    parser.add_argument("--pairs", type=int, metavar="N", help="functions of two operands, N random pairs")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; one for each core by default")
    parser.add_argument(
        "--isa", action="append", choices=core.available_levels(), help="instruction sets; all by default"
    )
    options = parser.parse_args()
    levels = options.isa or core.available_levels()[::-1]
    print("| function | " + " | ".join(f"{level} | at" for level in levels) + " |")
    print("|---" * (1 + 2 * len(levels)) + "|")
    for name in options.names or (PAIRS if options.pairs else BARS):
        if options.pairs:
            results = worst_pair(name, levels, options.pairs)
        else:
            results = worst(name, levels, options.full, options.workers)
        cells = [
            "the same bits |" if k and same else f"{most:.3f} | {' '.join(f'{x:.9g}' for x in at)}"
            for k, (most, at, same) in enumerate(results)
        ]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
