"""Training: `Trainer`, callbacks, metrics, checkpoints, and estimators for scikit-learn."""

from typing import Any

from kernelgrad.training.callbacks import Callback, CSVLogger, EarlyStopping, LRScheduler, ModelCheckpoint
from kernelgrad.training.history import History
from kernelgrad.training.metrics import (
    AUC,
    F1,
    MAE,
    MSE,
    R2,
    Accuracy,
    ConfusionMatrix,
    Metric,
    Precision,
    Recall,
    TopK,
)
from kernelgrad.training.progress import ProgressBar
from kernelgrad.training.trainer import Trainer

__all__ = [
    "AUC",
    "F1",
    "MAE",
    "MSE",
    "R2",
    "Accuracy",
    "CSVLogger",
    "Callback",
    "ConfusionMatrix",
    "EarlyStopping",
    "History",
    "KernelgradClassifier",
    "KernelgradRegressor",
    "LRScheduler",
    "Metric",
    "ModelCheckpoint",
    "Precision",
    "ProgressBar",
    "Recall",
    "TopK",
    "Trainer",
]


def __getattr__(name: str) -> Any:  # the estimators need scikit-learn, which is slow to import
    if name in ("KernelgradClassifier", "KernelgradRegressor"):
        from kernelgrad.training import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
