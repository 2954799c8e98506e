"""Small real data sets that ship inside scikit-learn: nothing is downloaded.

Each is split once and for all: 20 % of the rows, rounded up, are the test set, drawn class by class with seed 0
(`stratified_split`; the targets of diabetes by fifths).

============= ======= ======= ====== ======= ======================================
name          train   test    inputs classes
============= ======= ======= ====== ======= ======================================
digits        1,437   360     1x8x8  10      handwritten digits, pixels 0 to 1
iris          120     30      4      3       standardised
wine          142     36      13     3       standardised
breast_cancer 455     114     30     2       standardised
diabetes      353     89      10     -       regression; inputs and target standardised
============= ======= ======= ====== ======= ======================================
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernelgrad.data.split import DataSplit, dataset_of, quantile_bins, stratified_split
from kernelgrad.data.transforms import Normalize

BUNDLED = ("digits", "iris", "wine", "breast_cancer", "diabetes")


def load_bundled(name: str) -> DataSplit:
    """One of `BUNDLED` as float32 inputs and int64 labels (diabetes: float32 targets of shape (n, 1)).

    Raises
    ------
    ValueError
        If there is no set of that name.
    ImportError
        If scikit-learn is not installed.
    """
    if name not in BUNDLED:
        raise ValueError(f"load_bundled: no data set {name!r}; there are {', '.join(BUNDLED)}")
    bunch = sklearn_bunch(name)
    if name == "digits":
        return digits(bunch)
    if name == "diabetes":
        return diabetes(bunch)
    labels = bunch.target.astype(np.int64)
    train, test = stratified_split(labels)
    normalize = Normalize.fit(bunch.data[train])
    inputs = normalize.apply(bunch.data)
    return DataSplit(
        name,
        dataset_of(inputs[train], labels[train]),
        dataset_of(inputs[test], labels[test]),
        classes=tuple(str(c) for c in bunch.target_names),
        features=tuple(str(f) for f in bunch.feature_names),
        normalize=normalize,
    )


def digits(bunch: Any) -> DataSplit:
    images = (bunch.images / 16.0).astype(np.float32)[:, None]
    labels = bunch.target.astype(np.int64)
    train, test = stratified_split(labels)
    return DataSplit(
        "digits",
        dataset_of(images[train], labels[train]),
        dataset_of(images[test], labels[test]),
        classes=tuple("0123456789"),
    )


def diabetes(bunch: Any) -> DataSplit:
    train, test = stratified_split(quantile_bins(bunch.target))
    normalize = Normalize.fit(bunch.data[train])
    inputs = normalize.apply(bunch.data)
    mean, deviation = float(bunch.target[train].mean()), float(bunch.target[train].std())
    targets = ((bunch.target - mean) / deviation).astype(np.float32)[:, None]
    return DataSplit(
        "diabetes",
        dataset_of(inputs[train], targets[train]),
        dataset_of(inputs[test], targets[test]),
        features=tuple(str(f) for f in bunch.feature_names),
        normalize=normalize,
        target_scale=(mean, deviation),
    )


def sklearn_bunch(name: str) -> Any:
    try:
        from sklearn import datasets
    except ImportError:
        raise ImportError(
            f"load_bundled: {name} ships inside scikit-learn, which is not installed: pip install 'kernelgrad[train]'"
        ) from None
    return getattr(datasets, f"load_{name}")()
