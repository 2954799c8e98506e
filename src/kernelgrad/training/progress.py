"""The progress bar of `Trainer.fit`: live with rich on a terminal, one line per epoch elsewhere."""

from __future__ import annotations

import numbers
import sys
import time
from typing import Any, TextIO

from kernelgrad.training.callbacks import Callback

REFRESH = 0.1  # seconds between updates of the numbers: metrics are computed only then


class ProgressBar(Callback):
    """Epochs and steps with loss, metrics and samples per second.

    Live if `stream` (standard output) is a terminal and rich is installed; otherwise one plain line per epoch.
    """

    def __init__(self, stream: TextIO | None = None, unit: str = "samples") -> None:
        self.stream = stream or sys.stdout
        self.unit = unit
        self.bar: Any = None

    def on_fit_start(self, trainer: Any) -> None:
        self.bar = live_bar(self.stream)
        if self.bar is not None:
            self.bar.start()
            total = trainer.last_epoch * trainer.steps_per_epoch if trainer.steps_per_epoch else None
            done = trainer.epoch * (trainer.steps_per_epoch or 0) + trainer.steps_in_epoch
            self.task = self.bar.add_task("", total=total, completed=done, epoch="", numbers="")
        self.began, self.refreshed, self.seen = time.perf_counter(), 0.0, 0
        self.validation = ""

    def on_epoch_start(self, trainer: Any) -> None:
        self.seen_before = trainer.sample_count

    def on_step_end(self, trainer: Any) -> None:
        now = time.perf_counter()
        if self.bar is None or now - self.refreshed < REFRESH:
            return
        self.refreshed = now
        rate = (self.seen + trainer.sample_count - self.seen_before) / max(now - self.began, 1e-9)
        self.show(
            trainer, f"{listed(trainer.running())}  {rate:,.0f} {self.unit}/s{self.validation}", trainer.epoch + 1
        )

    def on_epoch_end(self, trainer: Any, logs: dict[str, Any]) -> None:
        self.seen += trainer.sample_count - self.seen_before
        kept = {name: value for name, value in logs.items() if name not in ("lr", "seconds", "samples_per_second")}
        if self.bar is None:
            speed = f"{logs['samples_per_second']:,.0f} {self.unit}/s"
            print(f"epoch {trainer.epoch}/{trainer.last_epoch}  {listed(kept)}  {speed}", file=self.stream, flush=True)
            return
        held_out = {name: value for name, value in kept.items() if name.startswith("val_")}
        self.validation = f"  [dim]{listed(held_out)}[/]" if held_out else ""
        trained = {name: value for name, value in kept.items() if not name.startswith("val_")}
        rate = self.seen / max(time.perf_counter() - self.began, 1e-9)
        self.show(trainer, f"{listed(trained)}  {rate:,.0f} {self.unit}/s{self.validation}", trainer.epoch)

    def show(self, trainer: Any, text: str, epoch: int) -> None:
        done = trainer.epoch * (trainer.steps_per_epoch or 0) + trainer.steps_in_epoch
        self.bar.update(self.task, completed=done, epoch=f"epoch {epoch}/{trainer.last_epoch}", numbers=text)

    def on_fit_end(self, trainer: Any) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def live_bar(stream: TextIO) -> Any:
    """A rich progress display, or None where there is no terminal or no rich."""
    if not stream.isatty():
        return None
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        return None
    console = Console(file=stream)
    if not console.is_terminal:
        return None
    return Progress(
        TextColumn("{task.fields[epoch]}", style="bold"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(compact=True),
        console=console,
    )


def listed(logs: dict[str, Any]) -> str:
    return "  ".join(
        f"{name.replace('_', ' ')} {value:.4f}" for name, value in logs.items() if isinstance(value, numbers.Real)
    )
