"""Samplers: in which order, and in which groups, a loader visits a dataset.

A sampler that draws at random takes one 62-bit seed from its generator when an epoch begins and derives the whole order
from that seed. So the state of an epoch is that one number: a loader saved in mid-epoch finds the same order again
(`state_dict`) without the generator being turned back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np

from kernelgrad.ops.random import Generator, rand, randint, randperm


def seed_from(generator: Generator | None) -> int:
    """Draw a seed (0 .. 2**62 - 1) from `generator`, or from the library's default one."""
    return int(randint(0, 1 << 62, (1,), generator=generator).item())


def permutation(n: int, seed: int) -> np.ndarray:
    """0 .. n - 1 in the random order that belongs to `seed`, int64."""
    return randperm(n, generator=Generator().manual_seed(seed)).numpy()


def uniforms(n: int, seed: int) -> np.ndarray:
    return rand(n, generator=Generator().manual_seed(seed)).numpy()


class Sampler:
    """An iterable of indices (or, for a batch sampler, of lists of indices)."""

    def __init__(self, data_source: Sized | None = None) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} has no __iter__: write one that yields indices")


class SequentialSampler(Sampler):
    """0, 1, 2, ... in order."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def epoch(self) -> np.ndarray:
        return np.arange(len(self.data_source))

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class SeededSampler(Sampler):
    """Base of the samplers that draw: one seed per epoch, the order is a function of it."""

    generator: Generator | None
    seed: int | None = None
    _resume: int | None = None

    def order(self, seed: int) -> np.ndarray:
        """The indices of the epoch that belongs to `seed`, int64."""
        raise NotImplementedError

    def epoch(self) -> np.ndarray:
        """Begin an epoch and return all of its indices, int64."""
        self.seed = seed_from(self.generator) if self._resume is None else self._resume
        self._resume = None
        return self.order(self.seed)

    def __iter__(self) -> Iterator[int]:
        return iter(self.epoch().tolist())

    def state_dict(self) -> dict[str, int | None]:
        return {"seed": self.seed}

    def load_state_dict(self, state: dict[str, int | None]) -> None:
        """The next epoch repeats the order of the saved one."""
        self._resume = state["seed"]


class RandomSampler(SeededSampler):
    """All indices in random order; with `replacement`, `num_samples` independent draws."""

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        if num_samples is not None and num_samples < 0:
            raise ValueError(f"RandomSampler: num_samples is {num_samples}; it must be 0 or more")
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator

    @property
    def num_samples(self) -> int:
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def order(self, seed: int) -> np.ndarray:
        size, count = len(self.data_source), self.num_samples
        if size == 0 and count > 0:
            raise ValueError(f"RandomSampler: cannot draw {count} samples from an empty dataset")
        if self.replacement:
            return draw_below(size, count, seed)
        rounds = max(1, math.ceil(count / size)) if size else 0
        orders = [permutation(size, seed + r) for r in range(rounds)]
        return np.concatenate(orders)[:count] if orders else np.arange(0)

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(SeededSampler):
    """The given indices in random order, none twice."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def order(self, seed: int) -> np.ndarray:
        return np.asarray(self.indices, np.int64)[permutation(len(self.indices), seed)]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(SeededSampler):
    """`num_samples` indices of 0 .. len(weights) - 1, each drawn with probability proportional to its weight.

    Without replacement this is the exponential race (Efraimidis & Spirakis 2006,
    https://doi.org/10.1016/j.ipl.2005.11.003): the smallest values of `-log(u) / weight` win.
    """

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        values = np.asarray(weights, np.float64)
        if values.ndim != 1:
            raise ValueError(f"WeightedRandomSampler: weights have shape {values.shape}; they must be one-dimensional")
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise ValueError("WeightedRandomSampler: weights must be finite and not negative")
        if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0:
            raise ValueError(f"WeightedRandomSampler: num_samples is {num_samples!r}; it must be a positive integer")
        if not values.any() or (not replacement and np.count_nonzero(values) < num_samples):
            raise ValueError(
                f"WeightedRandomSampler: {np.count_nonzero(values)} weights are above zero, "
                f"too few to draw {num_samples} samples{'' if replacement else ' without replacement'}"
            )
        self.weights = values
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def order(self, seed: int) -> np.ndarray:
        if self.replacement:
            ends = np.cumsum(self.weights)
            targets = uniforms(self.num_samples, seed).astype(np.float64) * ends[-1]
            return np.minimum(np.searchsorted(ends, targets, side="right"), np.flatnonzero(self.weights)[-1])
        with np.errstate(divide="ignore"):
            race = -np.log1p(-uniforms(len(self.weights), seed).astype(np.float64)) / self.weights
        race[self.weights == 0] = np.inf
        return np.argsort(race, kind="stable")[: self.num_samples]

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """Lists of `batch_size` indices of `sampler`; the last, shorter one is left out with `drop_last`."""

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool = False) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(f"BatchSampler: batch_size is {batch_size!r}; it must be a positive integer")
        if not isinstance(drop_last, bool):
            raise ValueError(f"BatchSampler: drop_last is {drop_last!r}; it must be True or False")
        self.sampler: Any = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def epoch(self) -> list[np.ndarray]:
        """Begin an epoch and return all of its batches as index arrays."""
        indices = self.sampler.epoch()
        stop = len(indices) - len(indices) % self.batch_size if self.drop_last else len(indices)
        return [indices[i : i + self.batch_size] for i in range(0, stop, self.batch_size)]

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        size = len(self.sampler)
        return size // self.batch_size if self.drop_last else math.ceil(size / self.batch_size)

    def state_dict(self) -> dict[str, Any]:
        return {"sampler": self.sampler.state_dict()} if hasattr(self.sampler, "state_dict") else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "sampler" in state:
            self.sampler.load_state_dict(state["sampler"])


def begin_epoch(sampler: Any) -> Iterable[Any]:
    """The entries of a new epoch: all at once, as arrays, where `sampler` iterates as the ones here do; else `sampler`
    itself, whose own `__iter__` may be endless and may yield anything."""
    iterate = getattr(type(sampler), "__iter__", None)
    plain = iterate in (SequentialSampler.__iter__, SeededSampler.__iter__)
    if iterate is BatchSampler.__iter__:
        inner = getattr(type(sampler.sampler), "__iter__", None)
        plain = inner in (SequentialSampler.__iter__, SeededSampler.__iter__)
    return sampler.epoch() if plain else sampler


def draw_below(size: int, count: int, seed: int) -> np.ndarray:
    """`count` independent indices below `size`. Two float32 draws each, so that sizes beyond 2**24 are reached
    evenly."""
    pairs = uniforms(2 * count, seed).astype(np.float64).reshape(count, 2)
    return np.minimum(((pairs[:, 0] + pairs[:, 1] * 2.0**-24) * size).astype(np.int64), size - 1)
