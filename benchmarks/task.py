"""A task that contenders race at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness import Contender


@dataclass
class Task:
    """`contenders` are names, known at collection; `make` builds them, with their data, when the race begins."""

    suite: str
    name: str
    shape: str
    contenders: tuple[str, ...]
    make: Callable[[], Sequence[Contender]]
    flops: float | None = None  # per call
    nbytes: float | None = None  # per call, that must at least be read and written


def by_size(shape: object) -> str:
    """A shape as a word for a test's name: (256, 1024) is 256x1024."""
    if isinstance(shape, tuple | list):
        return (
            "_".join(by_size(part) for part in shape)
            if any(isinstance(p, tuple | list) for p in shape)
            else "x".join(map(str, shape))
        )
    return str(shape)
