"""Checkpoints: one safetensors file with everything that decides how training goes on.

Model, optimizer, schedulers and other callbacks, the random generators, the position in the epoch with what loss and
metrics have gathered in it, and the history. Tensors are stored as safetensors, all else as JSON in the header: no
pickle. The file is written under another name and renamed, so a crash leaves the previous checkpoint whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kernelgrad import serialization
from kernelgrad.ops.random import default_generator

FORMAT = 1
COUNTERS = ("epoch", "step_count", "steps_in_epoch", "first_epoch", "loss_sum", "sample_count", "should_stop")


def save(trainer: Any, path: str | Path) -> None:
    loader = trainer.loader
    state = {
        "format": FORMAT,
        "model": dict(trainer.model.state_dict()),
        "optimizer": trainer.optimizer.state_dict(),
        "counters": {name: getattr(trainer, name) for name in COUNTERS},
        "history": dict(trainer.history),
        "metrics": {metric.name: metric.state_dict() for metric in trainer.metrics},
        "callbacks": [[type(callback).__name__, callback.state_dict()] for callback in trainer.callbacks],
        "generator": default_generator.get_state(),
        "loader": loader.state_dict() if hasattr(loader, "state_dict") else None,
        "loader_generator": own_generator(loader).get_state() if own_generator(loader) is not None else None,
    }
    serialization.save(state, path)


def load(trainer: Any, path: str | Path) -> dict[str, Any]:
    """Restore all but the position of the loader, which `fit` brings; returns what that needs.

    Raises
    ------
    ValueError
        If the file is no checkpoint, or was written by a trainer with other callbacks or metrics.
    """
    state = serialization.load(path)
    if not isinstance(state, dict) or "counters" not in state:
        raise ValueError(f"load_checkpoint: {path} is not a checkpoint of a Trainer")
    if state["format"] != FORMAT:
        raise ValueError(f"load_checkpoint: {path} has format {state['format']}; this version reads format {FORMAT}")
    names = [name for name, _ in state["callbacks"]]
    here = [type(callback).__name__ for callback in trainer.callbacks]
    if names != here:
        raise ValueError(f"load_checkpoint: {path} was written with callbacks {names}, this Trainer has {here}")
    metrics = [metric.name for metric in trainer.metrics]
    if set(state["metrics"]) != set(metrics):
        raise ValueError(
            f"load_checkpoint: {path} was written with metrics {sorted(state['metrics'])}, not {sorted(metrics)}"
        )
    trainer.model.load_state_dict(state["model"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    for name in COUNTERS:
        setattr(trainer, name, state["counters"][name])
    trainer.history.clear()
    trainer.history.update(state["history"])
    for metric in trainer.metrics:
        metric.load_state_dict(state["metrics"][metric.name])
    for callback, (_, saved) in zip(trainer.callbacks, state["callbacks"], strict=True):
        callback.load_state_dict(saved)
    return {key: state[key] for key in ("generator", "loader", "loader_generator")}


def restore_position(trainer: Any, loader: Any, state: dict[str, Any]) -> None:
    """Put the loader and the generators where they stood: last, just before the next batch is asked for."""
    if state["loader"] is not None and hasattr(loader, "load_state_dict"):
        loader.load_state_dict(state["loader"])
    elif trainer.steps_in_epoch:
        raise ValueError(
            f"Trainer.fit: the checkpoint stands after {trainer.steps_in_epoch} batches of an epoch, and "
            f"{type(loader).__name__} has no load_state_dict to go there; "
            "use a kernelgrad DataLoader, or checkpoint between epochs"
        )
    if state["loader_generator"] is not None and own_generator(loader) is not None:
        own_generator(loader).set_state(state["loader_generator"])
    default_generator.set_state(state["generator"])


def own_generator(loader: Any) -> Any:
    return getattr(loader, "generator", None)
