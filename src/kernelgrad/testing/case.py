"""OpCase: one description of an op that drives its tests, its gradient check and its benchmark."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class OpCase:
    """What is needed to call an op on random input, and to know what it should answer.

    Attributes
    ----------
    name : unique, the op's name (with a suffix where an op has several cases)
    op : function of tensors and keyword arguments
    torch : dotted name of PyTorch's function below ``torch``, called with the same arguments; None where it has none
    shapes : what `make` gets, one test each; the default `make` draws one normal array of that shape
    make : function (rng, shape) -> tuple of NumPy arrays (floats in float64) or other positional arguments
    kwargs : keyword arguments, one test each
    grad : positions of the arguments that get gradients; () for ops without
    kernels : names in the dispatch table whose twins this case exercises
    bench : shapes for the benchmark; `arrays_moved` and `flops(shape)` give its GB/s and GF/s
    touched : of shape, how many numbers forward reads and writes, for ops that look at a part of their largest array
    bench_kwargs : keyword arguments there; None: the first of `kwargs`
    errors : (function without arguments, exception type, regular expression of its message)
    tolerance : factor on the dtype's tolerance, for ops that amplify rounding
    exact_torch_dtype : PyTorch runs in float64 for comparison unless False
    """

    name: str
    op: Callable
    torch: str | None = None
    shapes: list = field(default_factory=lambda: [(0,), (1,), (7,), (17,), (3, 129)])
    make: Callable | None = None
    kwargs: list[dict[str, Any]] = field(default_factory=lambda: [{}])
    grad: tuple[int, ...] = (0,)
    kernels: tuple[str, ...] = ()
    bench: list = field(default_factory=list)
    bench_kwargs: dict[str, Any] | None = None
    arrays_moved: int = 2
    flops: Callable | None = None
    touched: Callable | None = None
    errors: list = field(default_factory=list)
    tolerance: float = 1.0
    dtypes: tuple[str, ...] = ("float32", "float64")
    torch_kwargs: Callable | None = None

    def arguments(self, shape, dtype, seed=0):
        """Positional arguments for one shape: NumPy arrays in `dtype`, other values as they are."""
        rng = np.random.default_rng([seed, *self.name.encode()])
        made = self.make(rng, shape) if self.make else (rng.standard_normal(shape) * 2,)
        made = [np.asarray(a) if isinstance(a, np.generic) else a for a in made]
        return tuple(a.astype(dtype) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in made)

    def samples(self):
        """Every (shape, keyword arguments) pair."""
        return [(shape, kwargs) for kwargs in self.kwargs for shape in self.shapes]

    def torch_function(self):
        import torch

        function = torch
        for part in self.torch.split("."):
            function = getattr(function, part)
        return function


def all_cases():
    """Every case of every family, in `testing/cases`."""
    from kernelgrad.testing import cases

    found = []
    for module in sorted(m.name for m in pkgutil.iter_modules(cases.__path__)):
        found += importlib.import_module(f"kernelgrad.testing.cases.{module}").CASES
    names = [case.name for case in found]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise RuntimeError(f"testing/cases: names used twice: {sorted(repeated)}")
    return found
