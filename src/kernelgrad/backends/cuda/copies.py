# ruff: noqa: F821 (cuda is put into the kernels by the compiler or the simulator)
"""Copies between arrays of any strides: dimensions are merged where possible, then one thread per element."""

from __future__ import annotations

from collections.abc import Sequence

from kernelgrad.backends.cuda.build import Signature

FEW, MANY = 3, 8  # dimensions that the two kernels take; most copies need no more than three after merging
_WORDS = {
    1: "uint8",
    2: "bfloat16",
    4: "int32",
    8: "int64",
}  # a copy moves bits: one kernel per width serves all dtypes


def plan(shape: Sequence[int], target: Sequence[int], source: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """Sizes, target steps and source steps of the fewest dimensions that do it, the target's smallest step last."""
    kept: list[tuple[int, int, int]] = []
    for size, to, fro in sorted(zip(shape, target, source, strict=True), key=lambda d: -d[1]):
        if size == 1:
            continue
        if kept and kept[-1][1] == to * size and kept[-1][2] == fro * size:
            kept[-1] = (kept[-1][0] * size, to, fro)
        else:
            kept.append((size, to, fro))
    count = FEW if len(kept) <= FEW else MANY
    kept = [(1, 0, 0)] * (count - len(kept)) + kept
    return [d[0] for d in kept], [d[1] for d in kept], [d[2] for d in kept]


def signature(itemsize: int, dims: int) -> Signature:
    return Signature("float32", (_WORDS[itemsize],) * 2, 1 + 3 * dims, 0)


def copy_few(x, out, n, d0, d1, d2, t0, t1, t2, s0, s1, s2):
    """out[i t] = x[i s], i running over d0 x d1 x d2 = n."""
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        i2 = i % d2
        i1 = i // d2 % d1
        i0 = i // d2 // d1
        out[i0 * t0 + i1 * t1 + i2 * t2] = x[i0 * s0 + i1 * s1 + i2 * s2]


def copy_many(
    x, out, n,
    d0, d1, d2, d3, d4, d5, d6, d7,
    t0, t1, t2, t3, t4, t5, t6, t7,
    s0, s1, s2, s3, s4, s5, s6, s7,
):  # fmt: skip
    """As copy_few, for eight dimensions."""
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        rest, a, b = _digit(i, d7, t7, s7, 0, 0)
        rest, a, b = _digit(rest, d6, t6, s6, a, b)
        rest, a, b = _digit(rest, d5, t5, s5, a, b)
        rest, a, b = _digit(rest, d4, t4, s4, a, b)
        rest, a, b = _digit(rest, d3, t3, s3, a, b)
        rest, a, b = _digit(rest, d2, t2, s2, a, b)
        rest, a, b = _digit(rest, d1, t1, s1, a, b)
        out[a + rest * t0] = x[b + rest * s0]


def _digit(rest, d, t, s, a, b):
    """Take the lowest digit, base d, off `rest` and move the two offsets by it."""
    return rest // d, a + rest % d * t, b + rest % d * s
