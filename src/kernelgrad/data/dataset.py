"""Datasets: anything with `__len__` and `__getitem__`, or an iterable of samples. PyTorch's classes under PyTorch's
names."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from kernelgrad.data.sampler import permutation, seed_from
from kernelgrad.tensor import Tensor


class Dataset:
    """A map from 0 .. len - 1 to samples. Subclasses write `__getitem__`, and `__len__` where samplers need it."""

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__: write one that returns sample `index`")

    def __add__(self, other: Dataset) -> Dataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset):
    """A stream of samples: subclasses write `__iter__`. It cannot be shuffled or indexed."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} has no __iter__: write one that yields samples")

    def __add__(self, other: Dataset) -> Dataset:
        return ChainDataset([self, other])


class TensorDataset(Dataset):
    """Tensors with one first size: sample `i` is `(t[i] for t in tensors)`.

    A `DataLoader` batches it (and any `Subset` of it) by one gather per tensor, never sample by sample.

    Raises
    ------
    ValueError
        If the first sizes differ, or a tensor is 0-d. (AssertionError in PyTorch.)
    """

    tensors: tuple[Tensor, ...]

    def __init__(self, *tensors: Tensor) -> None:
        for position, tensor in enumerate(tensors):
            if not isinstance(tensor, Tensor):
                raise TypeError(
                    f"TensorDataset: argument {position} is {type(tensor).__name__}, not a Tensor; "
                    "wrap it in kernelgrad.tensor(...) or kernelgrad.from_numpy(...)"
                )
            if tensor.ndim == 0:
                raise ValueError(f"TensorDataset: tensor {position} is 0-d; its first axis must count the samples")
        sizes = [tensor.shape[0] for tensor in tensors]
        if len(set(sizes)) > 1:
            raise ValueError(f"TensorDataset: first sizes differ, {sizes}; every tensor needs one row per sample")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].shape[0] if self.tensors else 0


class ConcatDataset(Dataset):
    """Datasets one after the other under one index."""

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        self.datasets: list[Any] = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: needs at least one dataset, got none")
        for dataset in self.datasets:
            if isinstance(dataset, IterableDataset):
                raise TypeError("ConcatDataset: an IterableDataset has no index; use ChainDataset")
        self.cumulative_sizes = list(itertools.accumulate(len(dataset) for dataset in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"ConcatDataset: index {index} is out of range for {size} samples")
        index %= size
        which = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]


class ChainDataset(IterableDataset):
    """Iterable datasets one after the other."""

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        self.datasets: list[Any] = list(datasets)

    def __iter__(self) -> Iterator[Any]:
        for dataset in self.datasets:
            yield from dataset

    def __len__(self) -> int:
        return sum(len(dataset) for dataset in self.datasets)


class Subset(Dataset):
    """The samples of `dataset` at `indices`, in that order."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.dataset: Any = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        chosen = [self.indices[i] for i in indices]
        if callable(getattr(self.dataset, "__getitems__", None)):
            return self.dataset.__getitems__(chosen)
        return [self.dataset[i] for i in chosen]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(dataset: Any, lengths: Sequence[int | float], generator: Any = None) -> list[Subset]:
    """Cut `dataset` at random into disjoint subsets.

    `lengths` are counts that add up to `len(dataset)`, or fractions that add up to 1: then each part gets the floor of
    its share, and the samples left over go one each to the first parts, as in PyTorch.

    Raises
    ------
    ValueError
        If the lengths do not add up, or a fraction lies outside 0 to 1.
    """
    size = len(dataset)
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1 and not (size == 1 and 1 in lengths):
        for position, fraction in enumerate(lengths):
            if not 0 <= fraction <= 1:
                raise ValueError(f"random_split: fraction {fraction} at position {position} is not between 0 and 1")
        counts = [math.floor(size * fraction) for fraction in lengths]
        for i in range(size - sum(counts)):
            counts[i % len(counts)] += 1
    else:
        counts = [int(length) for length in lengths]
        if any(count != length for count, length in zip(counts, lengths, strict=True)) or sum(counts) != size:
            raise ValueError(
                f"random_split: lengths {list(lengths)} add up to {sum(lengths)}, the dataset has {size} samples; "
                "give counts that add up to it, or fractions that add up to 1"
            )
    order = permutation(size, seed_from(generator))
    ends = np.cumsum(counts)
    return [Subset(dataset, order[end - count : end].tolist()) for end, count in zip(ends, counts, strict=True)]
