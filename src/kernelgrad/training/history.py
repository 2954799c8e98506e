"""What happened in training, epoch by epoch."""

from __future__ import annotations

import numbers
from pathlib import Path
from typing import Any


class History(dict):
    """A dict from the name of a quantity ("loss", "val_accuracy", "lr", ...) to its values, one per epoch."""

    def append(self, logs: dict[str, Any]) -> None:
        """Add one epoch. A quantity that is new, or missing this time, is filled up with None."""
        epochs = self.epochs
        for name, value in logs.items():
            self.setdefault(name, [None] * epochs).append(value)
        for values in self.values():
            values.extend([None] * (epochs + 1 - len(values)))

    @property
    def epochs(self) -> int:
        return max((len(values) for values in self.values()), default=0)

    def best(self, name: str, mode: str | None = None) -> tuple[int, float]:
        """The epoch (from 0) with the best value of `name`, and that value; `mode` is "min" or "max", or told by the
        name."""
        if name not in self:
            raise KeyError(f"History has no {name!r}; it has {', '.join(self) or 'nothing yet'}")
        choose = {"min": min, "max": max}[mode or direction(name)]
        return choose(
            ((epoch, value) for epoch, value in enumerate(self[name]) if value is not None), key=lambda pair: pair[1]
        )

    def scalars(self) -> dict[str, list]:
        """The quantities that are single numbers (a confusion matrix is not)."""
        return {
            name: values
            for name, values in self.items()
            if all(value is None or isinstance(value, numbers.Real) for value in values)
        }

    def plot(self, path: str | Path | None = None, title: str = "") -> Any:
        """Curves of loss and metrics, training against validation, as a matplotlib Figure; also written to `path` if
        given.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
            from matplotlib.ticker import MaxNLocator
        except ImportError:
            raise ImportError(
                "History.plot draws with matplotlib, which is not installed: pip install 'kernelgrad[train]'"
            ) from None
        scalars = self.scalars()
        names = [name for name in scalars if not name.startswith("val_") and name not in NOT_DRAWN]
        names = names or ["loss"]
        figure = Figure(figsize=(5.2 * len(names), 3.8), layout="constrained")
        for position, name in enumerate(names):
            axes = figure.add_subplot(1, len(names), position + 1)
            for key, label, color in ((name, "training", "#4477aa"), (f"val_{name}", "validation", "#ee6677")):
                if scalars.get(key):
                    values = [float("nan") if value is None else value for value in scalars[key]]
                    marker = "o" if len(values) < 40 else None
                    axes.plot(
                        range(1, len(values) + 1), values, color=color, label=label, marker=marker, markersize=3.5
                    )
            if f"val_{name}" in scalars:
                epoch, value = self.best(f"val_{name}")
                label = f"best: {value:.4g} in epoch {epoch + 1}"
                axes.plot(epoch + 1, value, "*", color="#aa3344", markersize=11, linestyle="none", label=label)
            values = [value for key in (name, f"val_{name}") for value in scalars.get(key, ()) if value is not None]
            if direction(name) == "min" and min(values) > 0 and max(values) > LOG_FROM * min(values):
                axes.set_yscale("log")
            axes.set(xlabel="epoch", title=name.replace("_", " "))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            if axes.lines:
                axes.legend(frameon=False)
        if title:
            figure.suptitle(title)
        if path is not None:
            figure.savefig(path, dpi=130)
        return figure


LOG_FROM = 20  # a loss that falls by more than this factor is drawn on a logarithmic axis
NOT_DRAWN = ("lr", "seconds", "samples_per_second")
SMALLER_IS_BETTER = ("loss", "mae", "mse", "error", "perplexity")


def direction(name: str) -> str:
    """Whether a quantity of this name is better small ("min") or large ("max")."""
    return "min" if any(part in name.lower() for part in SMALLER_IS_BETTER) else "max"
