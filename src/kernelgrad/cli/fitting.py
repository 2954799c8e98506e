"""One training run, for `demo` and `train`, with the figures both report."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import kernelgrad as kg
from kernelgrad import optim
from kernelgrad.data import DataLoader
from kernelgrad.training import Callback, History, LRScheduler, ProgressBar, Trainer
from kernelgrad.training.trainer import OPTIMIZERS

WARM_UP = 0.3  # share of the steps in which the learning rate of the schedule rises


@dataclass
class Fitted:
    trainer: Trainer
    history: History
    seconds: float  # of everything, validation too
    steps: int
    steps_per_second: float  # of the training steps alone
    samples_per_second: float
    machine: dict[str, Any]


def fit(
    model: Any,
    training: Any,
    validation: Any,
    *,
    loss: str,
    metrics: list[Any],
    epochs: int,
    batch_size: int,
    lr: float,
    weight_decay: float = 0.0,
    optimizer: str,
    schedule: bool = False,
    transform: Any = None,
    callbacks: tuple[Callback, ...] = (),
    device: str,
    progress: bool,
    unit: str = "samples",
) -> Fitted:
    """Train; with `schedule` the learning rate rises to `lr` and falls to almost nothing over the run (one cycle)."""
    loader = DataLoader(training, batch_size, shuffle=True, transform=transform)
    model.to(device)
    chosen = OPTIMIZERS[optimizer](model.parameters(), lr=lr, weight_decay=weight_decay)
    steps = epochs * len(loader)
    if schedule:
        cycle = optim.lr_scheduler.OneCycleLR(chosen, lr, total_steps=steps, pct_start=WARM_UP)
        callbacks = (LRScheduler(cycle, interval="step"), *callbacks)
    if progress:
        callbacks = (*callbacks, ProgressBar(unit=unit))
    trainer = Trainer(model, loss, chosen, metrics=metrics, callbacks=callbacks, device=device)
    begin = time.perf_counter()
    history = trainer.fit(loader, epochs=epochs, validation=validation, progress=False)
    seconds = time.perf_counter() - begin
    training_seconds = sum(history["seconds"])
    return Fitted(
        trainer,
        history,
        seconds,
        trainer.step_count,
        trainer.step_count / training_seconds,
        len(training) * history.epochs / training_seconds,
        {"device": device, "threads": kg.get_num_threads(), "isa": kg.isa(), "version": kg.__version__},
    )
