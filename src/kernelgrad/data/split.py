"""`DataSplit`, what every reader returns, and the fixed stratified split behind it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kernelgrad.data.dataset import TensorDataset
from kernelgrad.data.transforms import Normalize
from kernelgrad.ops.creation import from_numpy


@dataclass(frozen=True)
class DataSplit:
    """Training and test data of one task; `train, test = split` works too.

    `classes` holds the names of the classes and is empty for regression. `normalize` is fitted on the training inputs
    alone and not yet applied to images; tabular sets come standardised. `target_scale` is the (mean, standard
    deviation) by which regression targets were standardised: `prediction * scale + mean` gives the original unit.
    """

    name: str
    train: TensorDataset
    test: TensorDataset
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    normalize: Normalize | None = None
    target_scale: tuple[float, float] = (0.0, 1.0)
    notes: str = field(default="", repr=False)

    def __iter__(self):
        return iter((self.train, self.test))

    @property
    def task(self) -> str:
        return "classification" if self.classes else "regression"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input, without the batch axis."""
        return tuple(self.train.tensors[0].shape[1:])


def stratified_split(labels: np.ndarray, fraction: float = 0.2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of a kept and a held-out part, both ascending; each class gives the same share to both.

    `ceil(fraction * n)` rows are held out. Each class gives the floor of its share, and the rows still missing come one
    each from the classes with the largest remainders. The draw uses `numpy.random.RandomState(seed)`, whose stream
    NumPy has frozen, so a split is the same on every machine and version, for ever.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise ValueError(f"stratified_split: labels have shape {labels.shape}; they must be one-dimensional")
    if not 0 < fraction < 1:
        raise ValueError(f"stratified_split: fraction is {fraction}; it must lie between 0 and 1")
    draw = np.random.RandomState(seed)
    classes, counts = np.unique(labels, return_counts=True)
    total = int(np.ceil(fraction * len(labels) - 1e-9))
    share = counts * total / len(labels)
    take = np.floor(share).astype(int)
    largest = np.argsort(take - share, kind="stable")
    take[largest[: total - take.sum()]] += 1
    held = np.zeros(len(labels), bool)
    for label, count in zip(classes, take, strict=True):
        held[draw.permutation(np.flatnonzero(labels == label))[:count]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def quantile_bins(targets: np.ndarray, bins: int = 5) -> np.ndarray:
    """The number of the quantile of each target, the classes by which regression data is stratified."""
    ranks = np.argsort(np.argsort(targets, kind="stable"), kind="stable")
    return ranks * bins // len(targets)


def dataset_of(inputs: np.ndarray, targets: np.ndarray) -> TensorDataset:
    return TensorDataset(from_numpy(np.ascontiguousarray(inputs)), from_numpy(np.ascontiguousarray(targets)))
