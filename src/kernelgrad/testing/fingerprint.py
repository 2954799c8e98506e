"""A fingerprint of what every op answers, by which two machines can be compared bit for bit.

    python -m kernelgrad.testing.fingerprint > here.txt                on one machine
    python -m kernelgrad.testing.fingerprint --against here.txt        on another: names what differs

A line for each op case of `kernelgrad.testing.cases`: digests of its inputs, and of the float32 results and gradients
at all its shapes. Inputs come from NumPy, whose own functions need not have the same bits everywhere: a case is
compared where its inputs are equal.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

import kernelgrad as kg
from kernelgrad import core
from kernelgrad.testing.case import OpCase, all_cases


def digest(arrays: Iterable[np.ndarray]) -> str:
    """Of shapes, dtypes and values; a nan is a nan, whatever its bits."""
    found = hashlib.sha256()
    for array in arrays:
        if array.dtype.kind == "f":
            array = np.where(np.isnan(array), np.full((), np.nan, array.dtype), array)
        found.update(f"{array.shape} {array.dtype.str} ".encode() + array.tobytes())
    return found.hexdigest()[:16]


def results(case: OpCase, arguments: tuple[Any, ...], kwargs: dict[str, Any]) -> list[np.ndarray]:
    """Outputs, and the gradients for normal upstream gradients, of float32 arguments."""
    kg.manual_seed(0)
    tensors = [kg.from_numpy(a.copy()) if isinstance(a, np.ndarray) else a for a in arguments]
    leaves = [tensors[i].requires_grad_() for i in case.grad if i < len(tensors) and isinstance(tensors[i], kg.Tensor)]
    found = case.op(*tensors, **kwargs)
    outputs = [o for o in (found if isinstance(found, tuple | list) else (found,)) if isinstance(o, core.Array)]
    recorded = [o for o in outputs if o.requires_grad and o.grad_fn is not None]
    if recorded:
        kg.autograd.backward(recorded, [kg.randn_like(o) for o in recorded])
    return [x.detach().numpy() for x in [*outputs, *(leaf.grad for leaf in leaves if leaf.grad is not None)]]


def fingerprint(case: OpCase) -> tuple[str, str]:
    """Digests of a case's inputs and of what it answers."""
    inputs, answers = [], []
    with np.errstate(all="ignore"):
        for shape, kwargs in case.samples():
            arguments = case.arguments(shape, "float32")
            inputs += [a for a in arguments if isinstance(a, np.ndarray)]
            answers += results(case, arguments, kwargs)
    return digest(inputs), digest(answers)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with what another machine printed")
    parser.add_argument("--isa", choices=core.available_levels(), help="instruction set; the best by default")
    arguments = parser.parse_args()
    cases = [case for case in all_cases() if "float32" in case.dtypes]
    with core.use_backend(f"auto:{arguments.isa or kg.isa()}"):
        found = {case.name: fingerprint(case) for case in cases}
    if arguments.against is None:
        for name, digests in found.items():
            print(name, *digests)
        return 0
    lines = [line.split() for line in arguments.against.read_text().splitlines()]
    known = {name: (inputs, answers) for name, inputs, answers in lines if name in found}
    alike = {name for name in known if known[name][0] == found[name][0]}
    differing = sorted(name for name in alike if known[name] != found[name])
    print(f"{len(alike)} of {len(known)} cases have equal inputs; {len(differing)} of those differ in their results")
    print(*differing, sep="\n", end="\n" if differing else "")
    return 1 if differing or 2 * len(alike) < len(known) else 0  # with few equal inputs little would be compared


if __name__ == "__main__":
    raise SystemExit(main())
