"""Callbacks: what else happens at the edges of steps and epochs."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

from kernelgrad.serialization import write_atomically
from kernelgrad.training.history import History, direction


class Callback:
    """Base class. Override what you need; a callback that remembers something saves it in `state_dict`."""

    runs_last = False  # True for callbacks that save what the others have done

    def on_fit_start(self, trainer: Any) -> None:
        """Before the first epoch of a `fit`."""

    def on_epoch_start(self, trainer: Any) -> None:
        """Before the first step of an epoch (or of the rest of one, after a checkpoint)."""

    def on_step_end(self, trainer: Any) -> None:
        """After each optimizer step; `trainer.running()` tells loss and metrics so far."""

    def on_epoch_end(self, trainer: Any, logs: dict[str, Any]) -> None:
        """After an epoch and its validation; `logs` is what the history got."""

    def on_fit_end(self, trainer: Any) -> None:
        """After the last epoch, and also when an exception ends `fit`."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class EarlyStopping(Callback):
    """Stop when `monitor` has not improved by more than `min_delta` for `patience` epochs in a row.

    When training ends, by this or otherwise, the model gets the weights of its best epoch back (`restore_best`).
    `mode` is "min", "max", or "auto": told by the name of the quantity.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = True,
    ) -> None:
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.sign = sign_of(mode, monitor, "EarlyStopping")
        self.restore_best = restore_best
        self.forget()

    def forget(self) -> None:
        self.best: float | None = None
        self.best_epoch = 0
        self.waited = 0
        self.weights: dict[str, Any] | None = None

    def on_fit_start(self, trainer: Any) -> None:
        if trainer.epoch == trainer.first_epoch and trainer.steps_in_epoch == 0:  # not resumed from a checkpoint
            self.forget()

    def on_epoch_end(self, trainer: Any, logs: dict[str, Any]) -> None:
        value = monitored(logs, self.monitor, "EarlyStopping")
        if self.best is None or self.sign * (value - self.best) > self.min_delta:
            self.best, self.best_epoch, self.waited = value, trainer.epoch, 0
            if self.restore_best:
                self.weights = {name: w.detach().clone() for name, w in trainer.model.state_dict().items()}
        else:
            self.waited += 1
            if self.waited >= self.patience:
                trainer.should_stop = True

    def on_fit_end(self, trainer: Any) -> None:
        if self.weights is not None and self.best_epoch != trainer.epoch:
            trainer.model.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self.waited, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.waited, self.weights = state["waited"], state["weights"]


class ModelCheckpoint(Callback):
    """Write a checkpoint every `every_epochs` epochs, or every `every_steps` steps (then in mid-epoch too).

    `path` may hold `{epoch}`, `{step}` and any logged quantity, `"run-{epoch:03d}-{val_loss:.3f}.safetensors"`; without
    them one file is overwritten. With `monitor`, only epochs that improve it are written.
    """

    runs_last = True

    def __init__(
        self,
        path: str | Path,
        monitor: str | None = None,
        mode: str = "auto",
        every_epochs: int = 1,
        every_steps: int | None = None,
    ) -> None:
        if every_steps is not None and monitor is not None:
            raise ValueError("ModelCheckpoint: monitor is known only at the end of an epoch; leave out every_steps")
        self.path = str(path)
        self.monitor = monitor
        self.sign = sign_of(mode, monitor or "", "ModelCheckpoint")
        self.every_epochs = every_epochs
        self.every_steps = every_steps
        self.best: float | None = None

    def on_step_end(self, trainer: Any) -> None:
        if self.every_steps and trainer.step_count % self.every_steps == 0:
            self.write(trainer, trainer.running())

    def on_epoch_end(self, trainer: Any, logs: dict[str, Any]) -> None:
        if self.every_steps or trainer.epoch % self.every_epochs:
            return
        if self.monitor is not None:
            value = monitored(logs, self.monitor, "ModelCheckpoint")
            if self.best is not None and self.sign * (value - self.best) <= 0:
                return
            self.best = value
        self.write(trainer, logs)

    def write(self, trainer: Any, logs: dict[str, Any]) -> None:
        named = {**logs, "epoch": trainer.epoch, "step": trainer.step_count}
        path = Path(self.path.format(**named))
        path.parent.mkdir(parents=True, exist_ok=True)
        trainer.save_checkpoint(path)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = state["best"]


class LRScheduler(Callback):
    """Step a scheduler of `optim.lr_scheduler` after every epoch, or with `interval="step"` after every step.

    `monitor` names the quantity that a scheduler like ReduceLROnPlateau is given.
    """

    def __init__(self, scheduler: Any, interval: str = "epoch", monitor: str | None = None) -> None:
        if interval not in ("epoch", "step"):
            raise ValueError(f"LRScheduler: interval is {interval!r}; it must be 'epoch' or 'step'")
        if interval == "step" and monitor is not None:
            raise ValueError("LRScheduler: monitor is known only at the end of an epoch; use interval='epoch'")
        self.scheduler = scheduler
        self.interval = interval
        self.monitor = monitor

    def on_step_end(self, trainer: Any) -> None:
        if self.interval == "step":
            self.scheduler.step()

    def on_epoch_end(self, trainer: Any, logs: dict[str, Any]) -> None:
        if self.interval == "epoch":
            if self.monitor is None:
                self.scheduler.step()
            else:
                self.scheduler.step(monitored(logs, self.monitor, "LRScheduler"))

    def state_dict(self) -> dict[str, Any]:
        return {"scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scheduler.load_state_dict(state["scheduler"])


class CSVLogger(Callback):
    """Write the history's numbers to a CSV file, one row per epoch, anew after each: a resumed run leaves no gap and no
    double."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def on_epoch_end(self, trainer: Any, logs: dict[str, Any]) -> None:
        self.write(trainer.history)

    def write(self, history: History) -> None:
        """Write all of `history` now."""
        columns = history.scalars()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["epoch", *columns])
        for epoch, row in enumerate(zip(*columns.values(), strict=True)):
            writer.writerow([epoch + 1, *("" if value is None else value for value in row)])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, text.getvalue().encode())


def monitored(logs: dict[str, Any], name: str, who: str) -> float:
    if name not in logs:
        hint = "; pass validation data to fit" if name.startswith("val_") else ""
        raise KeyError(f"{who}: {name!r} is not logged, there are {', '.join(logs)}{hint}")
    value = float(logs[name])
    return value if not math.isnan(value) else -math.inf * sign_of("auto", name, who)


def sign_of(mode: str, name: str, who: str) -> int:
    """1 where larger is better, -1 where smaller is."""
    if mode not in ("auto", "min", "max"):
        raise ValueError(f"{who}: mode is {mode!r}; it must be 'auto', 'min' or 'max'")
    return {"min": -1, "max": 1}[direction(name) if mode == "auto" else mode]
