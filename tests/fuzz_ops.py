"""Call every public function with arguments that make no sense, and see that the process survives.

`python fuzz_ops.py SEED CALLS [verbose]`.

Any Python exception is a fine answer; a crash is not. Prints the call before making it when a third argument is given.
"""

import faulthandler
import inspect
import random
import sys
import warnings

import numpy as np

import kernelgrad as kg
from kernelgrad import ops
from kernelgrad.nn import functional

faulthandler.enable()
if sys.platform == "linux":  # 2^40 elements should be refused, not end in the out-of-memory killer
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
SKIP = {
    "save",
    "load",
    "set_printoptions",
    "empty",
    "zeros",
    "ones",
    "full",
    "rand",
    "randn",
    "randint",
    "randperm",
    "arange",
    "linspace",
    "logspace",
    "eye",
    "tensor",
    "as_tensor",
}


def functions():
    found = {}
    for module in (ops, functional):
        for name in dir(module):
            function = getattr(module, name)
            if not name.startswith("_") and callable(function) and not inspect.isclass(function) and name not in SKIP:
                found[name] = function
    return sorted(found.items())


def a_shape(rng):
    return tuple(rng.choice([0, 1, 1, 2, 3, 4, 5, 7, 17]) for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 4, 4, 5])))


def a_tensor(rng):
    shape = a_shape(rng)
    kind = rng.choice(["f", "f", "f", "f", "d", "i", "b", "q"])
    values = np.random.default_rng(rng.randrange(1 << 30)).standard_normal(shape) * rng.choice([1, 1, 100])
    if rng.random() < 0.1 and values.size:
        values.flat[rng.randrange(values.size)] = rng.choice([np.nan, np.inf, -np.inf, 1e38])
    x = kg.tensor(
        np.asarray(values > 0 if kind == "b" else values).astype(
            {"f": "f4", "d": "f8", "i": "i8", "b": "?", "q": "u1"}[kind]
        )
    )
    if rng.random() < 0.2 and x.ndim >= 2:
        x = x.transpose(0, rng.randrange(1, x.ndim))
    if rng.random() < 0.15:
        x = x[..., None].expand(*x.shape, rng.choice([1, 3]))
    if rng.random() < 0.3 and x.dtype.is_floating_point:
        x.requires_grad_()
    return x


def an_argument(rng):
    return rng.choice(
        [
            a_tensor, a_tensor, a_tensor,
            lambda r: r.choice([0, 1, 2, 3, -1, -2, 5, 2**31, 2**63 - 1, -(2**62), 10**30]),
            lambda r: r.choice([0.0, 0.5, -1.5, 1e30, float("nan"), float("inf")]),
            lambda r: r.choice([None, True, False, "mean", "same", "constant", "nonsense", b"", {}, Ellipsis]),
            lambda r: tuple(r.choice([0, 1, 2, 3, -1, 2**40, None]) for _ in range(r.randrange(5))),
            lambda r: [a_tensor(r) for _ in range(r.randrange(4))],
        ]
    )(rng)  # fmt: skip


def main(seed, calls, verbose):
    rng = random.Random(seed)
    everything = functions()
    answered = 0
    warnings.simplefilter("ignore")
    for number in range(calls):
        name, function = everything[rng.randrange(len(everything))]
        arguments = [a_tensor(rng) if rng.random() < 0.8 else an_argument(rng)]
        arguments += [an_argument(rng) for _ in range(rng.choice([0, 0, 1, 1, 2, 2, 3, 5]))]
        if verbose:
            print(
                number,
                name,
                [(tuple(a.shape), a.dtype, a.stride()) if isinstance(a, kg.Tensor) else a for a in arguments],
                flush=True,
            )
        try:
            result = function(*arguments)
            for r in result if isinstance(result, (tuple, list)) else [result]:
                if isinstance(r, kg.Tensor) and r.requires_grad and r.numel():
                    r.backward(kg.ones_like(r))
            answered += 1
        except Exception:
            continue
    print(f"{calls} calls, {answered} answered")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), len(sys.argv) > 3)
