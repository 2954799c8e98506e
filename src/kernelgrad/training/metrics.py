"""Metrics that are fed batch by batch and are right whatever the sizes of the batches.

`update(output, target)` takes tensors or arrays, `compute()` returns the value over everything seen since `reset()`.
What has been seen is kept as counts, sums and NumPy arrays in float64, so a metric can be saved in mid-epoch
(`state_dict`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernelgrad.tensor import Tensor


class Metric:
    """Base: subclasses set `name`, list what they gather in `gathered`, and write `reset`, `update`, `compute`."""

    name: str = ""
    gathered: tuple[str, ...] = ()

    def reset(self) -> None:
        raise NotImplementedError

    def update(self, output: Any, target: Any) -> None:
        raise NotImplementedError

    def compute(self) -> Any:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {field: getattr(self, field) for field in self.gathered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for field in self.gathered:
            setattr(self, field, state[field])


class Accuracy(Metric):
    """Share of right answers. Outputs are scores (N, C, ...) against labels (N, ...), or one score per sample, which
    says yes above `threshold` (0 suits logits, 0.5 probabilities)."""

    gathered = ("right", "count")

    def __init__(self, threshold: float = 0.0, name: str = "accuracy") -> None:
        self.name = name
        self.threshold = threshold
        self.reset()

    def reset(self) -> None:
        self.right = self.count = 0

    def update(self, output: Any, target: Any) -> None:
        predicted, labels = labels_of(output, target, self.threshold, self.name)
        self.right += int(np.count_nonzero(predicted == labels))
        self.count += labels.size

    def compute(self) -> float:
        return self.right / self.count if self.count else float("nan")


class TopK(Metric):
    """Share of samples whose label is among the `k` highest scores. Equal scores count as if the label came first."""

    gathered = ("right", "count")

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        if k < 1:
            raise ValueError(f"TopK: k is {k}; it must be at least 1")
        self.k = k
        self.name = name or f"top{k}"
        self.reset()

    def reset(self) -> None:
        self.right = self.count = 0

    def update(self, output: Any, target: Any) -> None:
        scores, labels = as_numpy(output), as_numpy(target)
        if scores.ndim != 2 or labels.shape != scores.shape[:1]:
            raise ValueError(
                f"{self.name}: expected scores (N, C) and labels (N,), got {scores.shape} and {labels.shape}"
            )
        own = scores[np.arange(len(labels)), labels]
        self.right += int(np.count_nonzero((scores > own[:, None]).sum(1) < self.k))
        self.count += len(labels)

    def compute(self) -> float:
        return self.right / self.count if self.count else float("nan")


class ConfusionMatrix(Metric):
    """Counts[true label, predicted label], int64, as large as the largest label seen (or `classes`)."""

    gathered = ("counts",)

    def __init__(self, classes: int = 0, threshold: float = 0.0, name: str = "confusion_matrix") -> None:
        self.name = name
        self.classes = classes
        self.threshold = threshold
        self.reset()

    def reset(self) -> None:
        self.counts = np.zeros((self.classes, self.classes), np.int64)

    def update(self, output: Any, target: Any) -> None:
        predicted, labels = labels_of(output, target, self.threshold, self.name)
        predicted, labels = predicted.ravel(), labels.ravel()
        if labels.size == 0:
            return
        if labels.min() < 0:
            raise ValueError(f"{self.name}: label {labels.min()} is negative; labels count from 0")
        size = max(int(predicted.max()), int(labels.max())) + 1
        if size > len(self.counts):
            grown = np.zeros((size, size), np.int64)
            grown[: len(self.counts), : len(self.counts)] = self.counts
            self.counts = grown
        size = len(self.counts)
        self.counts = self.counts + np.bincount(labels * size + predicted, minlength=size * size).reshape(size, size)

    def compute(self) -> Any:
        return self.counts.copy()


class FromCounts(ConfusionMatrix):
    """Base of precision, recall and F1: per class from the confusion matrix, then averaged.

    `average` is "macro" (plain mean over the classes that occur, in labels or predictions), "micro" (over all samples),
    or None (one value per class). A class with nothing to divide by counts as 0, as in scikit-learn.
    """

    def __init__(self, average: str | None = "macro", classes: int = 0, threshold: float = 0.0, name: str = "") -> None:
        if average not in ("macro", "micro", None):
            raise ValueError(f"{type(self).__name__}: average is {average!r}; it must be 'macro', 'micro' or None")
        self.average = average
        super().__init__(classes, threshold, name or type(self).__name__.lower())

    def compute(self) -> Any:
        right = self.counts.diagonal().astype(np.float64)
        predicted, actual = self.counts.sum(0).astype(np.float64), self.counts.sum(1).astype(np.float64)
        if self.average == "micro":
            return float(
                self.ratio(right.sum(keepdims=True), predicted.sum(keepdims=True), actual.sum(keepdims=True))[0]
            )
        values = self.ratio(right, predicted, actual)
        if self.average is None:
            return values
        occurs = (predicted + actual) > 0
        return float(values[occurs].mean()) if occurs.any() else float("nan")

    def ratio(self, right: np.ndarray, predicted: np.ndarray, actual: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class Precision(FromCounts):
    """Of those predicted to be of a class, the share that are."""

    def ratio(self, right, predicted, actual):
        return divide(right, predicted)


class Recall(FromCounts):
    """Of those that are of a class, the share predicted to be."""

    def ratio(self, right, predicted, actual):
        return divide(right, actual)


class F1(FromCounts):
    """Harmonic mean of precision and recall."""

    def ratio(self, right, predicted, actual):
        return divide(2 * right, predicted + actual)


class AUC(Metric):
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting one half.

    Scores (N,) or (N, 1) against labels 0 and 1; scores (N, 2) use the second column minus the first; (N, C) gives the
    mean over the classes, each against the rest. Keeps every score, because the exact area needs their order.
    """

    gathered = ("scores", "labels")

    def __init__(self, name: str = "auc") -> None:
        self.name = name
        self.reset()

    def reset(self) -> None:
        self.scores: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []

    def update(self, output: Any, target: Any) -> None:
        scores, labels = as_numpy(output).astype(np.float64), as_numpy(target).ravel()
        if scores.ndim == 1:
            scores = scores[:, None]
        if scores.ndim != 2 or len(scores) != len(labels):
            raise ValueError(
                f"{self.name}: expected scores (N,) or (N, C) and labels (N,), got {scores.shape} and {labels.shape}"
            )
        self.scores.append(scores)
        self.labels.append(labels.astype(np.int64))

    def compute(self) -> float:
        if not self.scores:
            return float("nan")
        scores, labels = np.concatenate(self.scores), np.concatenate(self.labels)
        if scores.shape[1] == 2:
            scores = scores[:, 1:] - scores[:, :1]
        if scores.shape[1] == 1:
            return area(scores[:, 0], labels == 1)
        return float(np.mean([area(scores[:, c], labels == c) for c in range(scores.shape[1])]))


class MeanError(Metric):
    """Base of the means over all elements of a function of the error."""

    gathered = ("total", "count")

    def __init__(self, name: str = "") -> None:
        self.name = name or type(self).__name__.lower()
        self.reset()

    def reset(self) -> None:
        self.total, self.count = 0.0, 0

    def update(self, output: Any, target: Any) -> None:
        error = error_of(output, target, self.name)
        self.total += float(self.of(error).sum())
        self.count += error.size

    def of(self, error: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def compute(self) -> float:
        return self.total / self.count if self.count else float("nan")


class MAE(MeanError):
    """Mean absolute error."""

    def of(self, error):
        return np.abs(error)


class MSE(MeanError):
    """Mean squared error."""

    def of(self, error):
        return error * error


class R2(Metric):
    """Coefficient of determination, `1 - sum(error^2) / sum((target - mean)^2)`, averaged over the columns.

    The spread of the targets is merged batch by batch by the formula of Chan, Golub & LeVeque (1979). A column whose
    targets are all equal counts as 1 if predicted exactly and 0 otherwise, as in scikit-learn.
    """

    gathered = ("count", "mean", "spread", "squares")

    def __init__(self, name: str = "r2") -> None:
        self.name = name
        self.reset()

    def reset(self) -> None:
        self.count = 0
        self.mean = self.spread = self.squares = np.zeros(1)

    def update(self, output: Any, target: Any) -> None:
        error = error_of(output, target, self.name)
        if error.size == 0:
            return
        values = as_numpy(target).astype(np.float64).reshape(len(error), -1)
        mean, count = values.mean(0), len(values)
        total, shift = self.count + count, mean - self.mean
        self.spread = self.spread + ((values - mean) ** 2).sum(0) + shift**2 * (self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.squares = self.squares + (error.reshape(count, -1) ** 2).sum(0)
        self.count = total

    def compute(self) -> float:
        if self.count == 0:
            return float("nan")
        exact = (self.squares == 0).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.where(self.spread > 0, 1 - self.squares / self.spread, exact).mean())


METRICS = {
    "accuracy": Accuracy,
    "top5": TopK,
    "precision": Precision,
    "recall": Recall,
    "f1": F1,
    "auc": AUC,
    "mae": MAE,
    "mse": MSE,
    "r2": R2,
    "confusion_matrix": ConfusionMatrix,
}


def as_metric(metric: str | Metric) -> Metric:
    """A metric by name, or the metric itself."""
    if isinstance(metric, str):
        if metric not in METRICS:
            raise ValueError(f"no metric is called {metric!r}; there are {', '.join(METRICS)}")
        return METRICS[metric]()
    for need in ("name", "reset", "update", "compute"):
        if not hasattr(metric, need):
            raise TypeError(f"metric {metric!r} has no {need}; derive it from kernelgrad.training.Metric")
    return metric


def labels_of(output: Any, target: Any, threshold: float, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true labels, of one shape."""
    scores, labels = as_numpy(output), as_numpy(target)
    if scores.ndim == labels.ndim + 1 and scores.ndim > 1 and scores.shape[1] > 1:
        predicted = scores.argmax(1)
    elif scores.size == labels.size:  # one score per sample, (N,) or (N, 1)
        predicted, labels = (scores.reshape(labels.shape) > threshold).astype(np.int64), labels
    else:
        predicted = None
    if predicted is None or predicted.shape != labels.shape:
        raise ValueError(
            f"{name}: outputs {scores.shape} do not fit targets {labels.shape}; "
            "expected scores (N, C, ...) and labels (N, ...), or one score per label"
        )
    return predicted, labels.astype(np.int64)


def error_of(output: Any, target: Any, name: str) -> np.ndarray:
    predicted, actual = as_numpy(output), as_numpy(target)
    if predicted.shape != actual.shape:
        if predicted.size != actual.size or predicted.shape[:1] != actual.shape[:1]:
            raise ValueError(f"{name}: outputs {predicted.shape} and targets {actual.shape} must have one shape")
        predicted = predicted.reshape(actual.shape)  # (N, 1) against (N,)
    return predicted.astype(np.float64) - actual.astype(np.float64)


def area(scores: np.ndarray, positive: np.ndarray) -> float:
    """The rank form of Mann & Whitney (1947); ties share their mean rank."""
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if positives == 0 or negatives == 0:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[inverse]
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def as_numpy(value: Any) -> np.ndarray:
    return value.detach().to("cpu").numpy() if isinstance(value, Tensor) else np.asarray(value)
