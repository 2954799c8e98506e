"""LRScheduler: counts steps, asks `get_lr`, writes the answer into the optimizer's groups."""

import types
import warnings

from kernelgrad.optim.optimizer import Optimizer


class LRScheduler:
    """Base of the schedules. Subclasses compute, in `get_lr`, the next rate of each group from its present one.

    Parameters
    ----------
    optimizer : its groups' "lr" is set at once (to the rate of epoch 0) and at every `step`
    last_epoch : -1 to start; else the epoch to go on from, whose "initial_lr" the groups must hold
    """

    _initial = False  # inside the step that construction takes
    _unsaved: tuple[str, ...] = ("optimizer",)

    def __init__(self, optimizer, last_epoch=-1):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    "param 'initial_lr' is not "
                    "specified "
                    "in "
                    f"param_groups[{i}] "
                    "when "
                    "resuming "
                    "scheduler with last_epoch >= 0"
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def _initial_step(self):
        self._step_count = 0
        self._initial = True
        try:
            self.step()
        finally:
            del self._initial

    def get_lr(self):
        """The rates for `last_epoch`, one for each group."""
        raise NotImplementedError

    def get_last_lr(self):
        """The rates set last, one for each group."""
        return self._last_lr

    def rates(self):
        """The groups' present rates."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def scaled(self, factor):
        """The groups' present rates times a factor."""
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def step(self, epoch=None):
        """Set the rates of the next epoch; call it after ``optimizer.step()``."""
        if self._step_count == 1 and self.optimizer._steps == 0:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before "
                "`optimizer.step()`. "
                "Call "
                "them "
                "in "
                "the "
                "opposite order: else the first "
                "rate of the schedule is skipped.",
                UserWarning,
                stacklevel=2,
            )
        self._step_count += 1
        self._update_lr(epoch)

    def _update_lr(self, epoch=None):
        if epoch is None:
            self.last_epoch += 1
            rates = self.get_lr()
        else:
            self.last_epoch = epoch
            rates = self._closed_form() if hasattr(self, "_closed_form") else self.get_lr()
        self._set(rates)

    def _set(self, rates):
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr
        self._last_lr = self.rates()

    def state_dict(self):
        """Everything but the optimizer, as a dict."""
        return {key: value for key, value in self.__dict__.items() if key not in self._unsaved}

    def load_state_dict(self, state_dict):
        """Restore what `state_dict` gave."""
        self.__dict__.update(state_dict)


def per_group(name, optimizer, value):
    """One value for each group, from one for all or a list."""
    if isinstance(value, (list, tuple)):
        if len(value) != len(optimizer.param_groups):
            raise ValueError(
                f"{name} must have the same length "
                "as "
                "optimizer.param_groups. "
                f"{name} "
                "has "
                f"{len(value)} "
                "values, param_groups has "
                f"{len(optimizer.param_groups)}."
            )
        return list(value)
    return [value] * len(optimizer.param_groups)


def function_state(function):
    """What of a user's function a checkpoint keeps: the attributes of a callable object; of a plain function
    nothing."""
    return (
        None
        if isinstance(function, types.FunctionType) or not hasattr(function, "__dict__")
        else function.__dict__.copy()
    )
