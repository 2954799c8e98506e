"""scikit-learn estimators: networks that fit into pipelines, grid searches and cross validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernelgrad import nn
from kernelgrad.data import DataLoader, TensorDataset
from kernelgrad.data.split import quantile_bins, stratified_split
from kernelgrad.ops.creation import from_numpy
from kernelgrad.ops.random import default_generator
from kernelgrad.training.callbacks import EarlyStopping
from kernelgrad.training.trainer import OPTIMIZERS, Trainer, chosen

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
except ImportError:
    raise ImportError(
        "kernelgrad's estimators build on scikit-learn (1.6 or later), which is not installed: "
        "pip install 'kernelgrad[train]'"
    ) from None

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU}


class Network(BaseEstimator):
    """What classifier and regressor share.

    Parameters
    ----------
    hidden : widths of the hidden layers
    activation : "relu", "tanh", "gelu" or "silu"
    model : instead of `hidden`, a function `(inputs, outputs) -> Module` over rows of that width
    epochs, batch_size, lr, optimizer, weight_decay : of the training
    standardize : scale inputs (and a regressor's targets) to mean 0 and deviation 1, as fitted on the training rows
    early_stopping : hold out `validation_fraction` of the rows and stop after `patience` epochs without improvement
    device : "cpu" or "cuda"
    random_state : seed of weights, order and dropout; None draws one
    verbose : show progress
    """

    def __init__(
        self,
        hidden: Sequence[int] = (100,),
        activation: str = "relu",
        model: Callable[[int, int], Any] | None = None,
        epochs: int = 100,
        batch_size: int = 32,
        lr: float = 1e-3,
        optimizer: str = "adam",
        weight_decay: float = 0.0,
        standardize: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        device: str = "cpu",
        random_state: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.model = model
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.standardize = standardize
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _train(self, x: np.ndarray, targets: np.ndarray, strata: np.ndarray, outputs: int, loss: str) -> None:
        # The library's generator is turned to random_state while fitting, and back afterwards.
        before = default_generator.get_state()
        try:
            if self.random_state is not None:
                default_generator.manual_seed(int(self.random_state))
            self._fit_network(x, targets, strata, outputs, loss)
        finally:
            if self.random_state is not None:
                default_generator.set_state(before)

    def _fit_network(self, x: np.ndarray, targets: np.ndarray, strata: np.ndarray, outputs: int, loss: str) -> None:
        rows, held = np.arange(len(x)), np.arange(0)
        if self.early_stopping:
            rows, held = stratified_split(strata, self.validation_fraction, seed=int(self.random_state or 0))
        self.mean_, self.scale_ = np.zeros(x.shape[1]), np.ones(x.shape[1])
        if self.standardize:
            deviation = x[rows].std(0)
            self.mean_, self.scale_ = x[rows].mean(0), np.where(deviation > 0, deviation, 1.0)
        inputs = self._scaled(x)
        self.network_ = self._build(x.shape[1], outputs)
        callbacks = [EarlyStopping("val_loss", self.patience)] if len(held) else []
        parameters = self.network_.to(self.device).parameters()
        maker = chosen(self.optimizer, OPTIMIZERS, "optimizer")
        trainer = Trainer(
            self.network_,
            loss,
            maker(parameters, lr=self.lr, weight_decay=self.weight_decay),
            callbacks=callbacks,
            device=self.device,
        )
        training = TensorDataset(from_numpy(inputs[rows]), from_numpy(targets[rows]))
        loader = DataLoader(training, min(self.batch_size, len(rows)), shuffle=True)
        validation = (from_numpy(inputs[held]), from_numpy(targets[held])) if len(held) else None
        self.history_ = trainer.fit(loader, epochs=self.epochs, validation=validation, progress=self.verbose)
        self.n_iter_ = self.history_.epochs

    def _build(self, inputs: int, outputs: int) -> Any:
        if self.model is not None:
            return self.model(inputs, outputs)
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"{type(self).__name__}: no activation {self.activation!r}; there are {', '.join(ACTIVATIONS)}"
            )
        layers: list[Any] = []
        width = inputs
        for size in self.hidden:
            layers += [nn.Linear(width, size), ACTIVATIONS[self.activation]()]
            width = size
        return nn.Sequential(*layers, nn.Linear(width, outputs))

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        return ((x - self.mean_) / self.scale_).astype(np.float32)

    def _outputs(self, x: Any) -> np.ndarray:
        check_is_fitted(self)
        x = validate_data(self, x, dtype=np.float64, reset=False)
        trainer = Trainer(self.network_, "mse", "sgd", device=self.device)
        return trainer.predict(from_numpy(self._scaled(x))).numpy().astype(np.float64)


class KernelgradClassifier(ClassifierMixin, Network):
    """A network for classification, trained on cross entropy: `fit`, `predict`, `predict_proba`, `score` (accuracy)."""

    def fit(self, X: Any, y: Any) -> KernelgradClassifier:
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"KernelgradClassifier: y has one class, {self.classes_[0]!r}; it needs at least two")
        self._train(X, labels.astype(np.int64), labels, len(self.classes_), "cross_entropy")
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, (n, classes), in the order of `classes_`."""
        scores = self._outputs(X)
        shares = np.exp(scores - scores.max(1, keepdims=True))
        return shares / shares.sum(1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        scores = self._outputs(X)
        return self.classes_[scores.argmax(1)]


class KernelgradRegressor(RegressorMixin, Network):
    """A network for regression on one or more targets, trained on the mean squared error: `fit`, `predict`, `score`
    (R2)."""

    def fit(self, X: Any, y: Any) -> KernelgradRegressor:
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._one_target = y.ndim == 1
        table = y.reshape(len(y), -1).astype(np.float64)
        self.target_mean_, self.target_scale_ = np.zeros(table.shape[1]), np.ones(table.shape[1])
        if self.standardize:
            deviation = table.std(0)
            self.target_mean_, self.target_scale_ = table.mean(0), np.where(deviation > 0, deviation, 1.0)
        targets = ((table - self.target_mean_) / self.target_scale_).astype(np.float32)
        self._train(X, targets, quantile_bins(table[:, 0]), table.shape[1], "mse")
        return self

    def predict(self, X: Any) -> np.ndarray:
        outputs = self._outputs(X) * self.target_scale_ + self.target_mean_
        return outputs[:, 0] if self._one_target else outputs
