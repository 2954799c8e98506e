"""A task that contenders race at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness import Contender


@dataclass
class Cost:
    """What one call must do at least."""

    flops: float | None = None
    nbytes: float | None = None  # read and written
    elements: float | None = (
        None  # of the largest array; stands in for flops in the roofline where those are not counted
    )


@dataclass
class Task:
    """`contenders` are names, known at collection. `make` builds them, with their data, and `cost` counts, when the
    race begins: collecting a thousand benchmarks must not take a minute."""

    suite: str
    name: str
    shape: str
    contenders: tuple[str, ...]
    make: Callable[[], Sequence[Contender]]
    cost: Callable[[], Cost] = Cost
    round_seconds: float = 0.0  # how long a round lasts at least, where the race would make it shorter


def by_size(shape: object) -> str:
    """A shape as a word for a test's name: (256, 1024) is 256x1024."""
    if isinstance(shape, tuple | list):
        return (
            "_".join(by_size(part) for part in shape)
            if any(isinstance(p, tuple | list) for p in shape)
            else "x".join(map(str, shape))
        )
    return str(shape)
