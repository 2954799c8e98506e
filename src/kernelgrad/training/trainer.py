"""`Trainer`: fit, evaluate and predict over a model, a loss and an optimizer.

The loop is the one a user would write by hand; `step` is the place to override for anything special. Everything the
loop knows lives in plain attributes that `checkpoint.py` saves, so an interrupted run goes on bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from kernelgrad import optim
from kernelgrad.core import no_grad
from kernelgrad.nn import functional
from kernelgrad.nn.utils import clip_grad_norm_
from kernelgrad.ops.shape import cat
from kernelgrad.tensor import Tensor
from kernelgrad.training import checkpoint
from kernelgrad.training.batches import as_loader, split_batch
from kernelgrad.training.callbacks import Callback
from kernelgrad.training.history import History
from kernelgrad.training.metrics import Metric, as_metric
from kernelgrad.training.progress import ProgressBar

LOSSES = {
    "cross_entropy": functional.cross_entropy,
    "mse": functional.mse_loss,
    "l1": functional.l1_loss,
    "huber": functional.huber_loss,
    "bce_with_logits": functional.binary_cross_entropy_with_logits,
}
OPTIMIZERS = {
    "sgd": optim.SGD,
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad,
}


class Trainer:
    """Train a model.

    Parameters
    ----------
    model : Module loss : callable `(output, target) -> scalar Tensor`, or one of "cross_entropy", "mse", "l1", "huber",
    "bce_with_logits" optimizer : Optimizer, or one of "sgd", "adam", "adamw", "rmsprop", "adagrad" (with `lr`) metrics
    : metrics or their names ("accuracy", "f1", "auc", "r2", ...), measured in training and validation callbacks : run
    in this order, those that write checkpoints last device : where model and batches go; None leaves both where they
    are max_grad_norm : clip the gradients' total norm to this before each step lr : learning rate of an optimizer given
    by name

    Attributes
    ----------
    epoch, step_count : epochs and optimizer steps done so far
    history : `History` of all epochs
    should_stop : set it (in a callback) to end `fit` after the present epoch
    """

    def __init__(
        self,
        model: Any,
        loss: str | Callable[[Any, Any], Tensor],
        optimizer: Any = "adam",
        *,
        metrics: Sequence[str | Metric] = (),
        callbacks: Sequence[Callback] = (),
        device: str | None = None,
        max_grad_norm: float | None = None,
        lr: float = 1e-3,
    ) -> None:
        if device is not None:
            model.to(device)
        self.model = model
        self.loss = chosen(loss, LOSSES, "loss")
        self.optimizer = optimizer
        if isinstance(optimizer, str):
            self.optimizer = chosen(optimizer, OPTIMIZERS, "optimizer")(model.parameters(), lr=lr)
        self.metrics = [as_metric(metric) for metric in metrics]
        names = [metric.name for metric in self.metrics]
        if len(set(names)) < len(names):
            raise ValueError(f"Trainer: metrics are called {names}; give each its own name=")
        self.callbacks = sorted(callbacks, key=lambda callback: callback.runs_last)
        self.device = device
        self.max_grad_norm = max_grad_norm
        self.history = History()
        self.should_stop = False
        self.epoch = 0
        self.step_count = 0
        self.steps_in_epoch = 0
        self.steps_per_epoch: int | None = None
        self.first_epoch = 0  # of the present call of `fit`
        self.last_epoch = 0
        self.loss_sum = 0.0  # over the samples of the present epoch
        self.sample_count = 0
        self.loader: Any = None
        self.active_callbacks: list[Callback] = []
        self._resume: dict[str, Any] | None = None

    # ---- Training ----

    def fit(
        self,
        data: Any,
        targets: Any = None,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        shuffle: bool = True,
        validation: Any = None,
        progress: bool = True,
    ) -> History:
        """Train for `epochs` more epochs and return the history.

        `data` is a DataLoader, a Dataset, or tensors or NumPy arrays with their `targets`; `validation` the same or
        (inputs, targets). Arrays and datasets are shuffled and batched here. After `load_checkpoint`, `epochs` counts
        from where the interrupted call had begun, so the same call brings the same end.

        Raises
        ------
        FloatingPointError
            If the loss becomes nan or infinite.
        """
        loader: Any = as_loader(data, targets, batch_size, shuffle, self._dtype(), "Trainer.fit")
        checked = None
        if validation is not None:
            checked = as_loader(validation, None, max(batch_size, 256), False, self._dtype(), "Trainer.fit, validation")
        self.loader = loader
        self.steps_per_epoch = len(loader) if hasattr(loader, "__len__") else None
        self.active_callbacks = [*self.callbacks, *([ProgressBar()] if progress else [])]
        resumed = self._take_up(loader)
        if not resumed:
            self.first_epoch, self.steps_in_epoch, self.should_stop = self.epoch, 0, False
        self.last_epoch = self.first_epoch + epochs
        self._call("on_fit_start")
        try:
            while self.epoch < self.last_epoch and not self.should_stop:
                self._epoch(loader, checked, resumed and self.steps_in_epoch > 0)
                resumed = False
        finally:
            self._call("on_fit_end")
            self.active_callbacks = list(self.callbacks)
        return self.history

    def step(self, inputs: tuple[Any, ...], target: Any) -> tuple[Tensor, Any]:
        """One optimizer step; returns loss and output. Override it for another kind of step."""
        self.optimizer.zero_grad()
        output = self.model(*inputs)
        loss = self.loss(output, target)
        loss.backward()
        if self.max_grad_norm is not None:
            clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        self.optimizer.step()
        return loss, output

    def _epoch(self, loader: Iterable[Any], validation: Any, go_on: bool) -> None:
        if not go_on:
            self.steps_in_epoch, self.loss_sum, self.sample_count = 0, 0.0, 0
            for metric in self.metrics:
                metric.reset()
        began, seen_before = time.perf_counter(), self.sample_count
        self._call("on_epoch_start")
        self.model.train()
        for batch in loader:
            inputs, target = split_batch(batch, self.device, True, "Trainer.fit")
            loss, output = self.step(inputs, target)
            value, count = float(loss.item()), target.shape[0]
            self.step_count += 1
            self.steps_in_epoch += 1
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"Trainer.fit: the loss became {value} in step {self.steps_in_epoch} of epoch {self.epoch + 1}; "
                    "lower the learning rate, set max_grad_norm, or look for nan in the data"
                )
            self.loss_sum += value * count
            self.sample_count += count
            for metric in self.metrics:
                metric.update(output, target)
            self._call("on_step_end")
        if self.sample_count == 0:
            raise ValueError("Trainer.fit: the data holds no batch; nothing was trained")
        elapsed = time.perf_counter() - began
        logs = self.running()
        if validation is not None:
            logs.update({f"val_{name}": value for name, value in self._evaluate(validation).items()})
        logs["lr"] = float(self.optimizer.param_groups[0]["lr"])
        logs["seconds"] = elapsed
        logs["samples_per_second"] = (self.sample_count - seen_before) / max(elapsed, 1e-9)
        self.history.append(logs)
        self.epoch += 1
        self.steps_in_epoch = 0
        self._call("on_epoch_end", logs)

    def running(self) -> dict[str, Any]:
        """Loss and metrics of the present epoch so far."""
        logs: dict[str, Any] = {"loss": self.loss_sum / max(self.sample_count, 1)}
        logs.update({metric.name: metric.compute() for metric in self.metrics})
        return logs

    # ---- Evaluation ----

    def evaluate(self, data: Any, targets: Any = None, *, batch_size: int = 256) -> dict[str, Any]:
        """Loss and metrics on `data`, in evaluation mode and without gradients.

        The loss is the mean over samples, for a loss that is a mean over the batch. Metrics in the middle of an epoch
        of training keep what they had gathered.
        """
        return self._evaluate(as_loader(data, targets, batch_size, False, self._dtype(), "Trainer.evaluate"))

    def predict(self, data: Any, *, batch_size: int = 256) -> Tensor:
        """The model's outputs for all of `data`, one after the other, on the CPU, in evaluation mode and without
        gradients.

        Where batches hold more than one tensor, the last one is the target and is left out.
        """
        loader: Any = as_loader(data, None, batch_size, False, self._dtype(), "Trainer.predict")
        outputs = [output.to("cpu") for output, _ in self._outputs(loader, False, "Trainer.predict")]
        if not outputs:
            raise ValueError("Trainer.predict: the data holds no batch")
        return outputs[0] if len(outputs) == 1 else cat(outputs)

    def _evaluate(self, loader: Iterable[Any]) -> dict[str, Any]:
        gathered = [metric.state_dict() for metric in self.metrics]
        for metric in self.metrics:
            metric.reset()
        try:
            total, count = 0.0, 0
            for output, target in self._outputs(loader, True, "Trainer.evaluate"):
                with no_grad():
                    total += float(self.loss(output, target).item()) * target.shape[0]
                count += target.shape[0]
                for metric in self.metrics:
                    metric.update(output, target)
            if count == 0:
                raise ValueError("Trainer.evaluate: the data holds no batch")
            return {"loss": total / count} | {metric.name: metric.compute() for metric in self.metrics}
        finally:
            for metric, state in zip(self.metrics, gathered, strict=True):
                metric.load_state_dict(state)

    def _outputs(self, loader: Iterable[Any], needs_target: bool, what: str):
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            for batch in loader:
                inputs, target = split_batch(batch, self.device, needs_target, what)
                with no_grad():
                    output = self.model(*inputs)
                yield output, target
        finally:
            for module, mode in modes:
                module.training = mode

    # ---- Checkpoints ----

    def save_checkpoint(self, path: str | Path) -> None:
        """Write everything that decides how training goes on to one safetensors file (see `training.checkpoint`)."""
        checkpoint.save(self, path)

    def load_checkpoint(self, path: str | Path) -> None:
        """Take up the state that `save_checkpoint` wrote. The next `fit`, called with the same data, goes on from
        there."""
        self._resume = checkpoint.load(self, path)

    def _take_up(self, loader: Any) -> bool:
        if self._resume is None:
            return False
        state, self._resume = self._resume, None
        checkpoint.restore_position(self, loader, state)
        return True

    def _call(self, hook: str, *arguments: Any) -> None:
        for callback in self.active_callbacks:
            getattr(callback, hook)(self, *arguments)

    def _dtype(self) -> Any:
        from kernelgrad.core import float32

        for parameter in self.model.parameters():
            return parameter.dtype
        return float32


def chosen(value: Any, table: dict[str, Any], what: str) -> Any:
    if isinstance(value, str):
        if value not in table:
            raise ValueError(f"Trainer: no {what} is called {value!r}; there are {', '.join(table)}")
        return table[value]
    return value
