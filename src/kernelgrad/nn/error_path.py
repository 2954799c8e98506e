"""The path of the failing layer in front of the message of an error: ``model.2 (Linear 30 -> 5): ...``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernelgrad.nn.module import Module


def describe(module: Module) -> str:
    """The module in two or three words: ``Linear 30 -> 5``."""
    for pair in (("in_features", "out_features"), ("in_channels", "out_channels")):
        if all(isinstance(getattr(module, name, None), int) for name in pair):
            return f"{module._get_name()} {getattr(module, pair[0])} -> {getattr(module, pair[1])}"
    return module._get_name()


def prefix_path(error: Exception, module: Module) -> None:
    """Puts the path of the failing layer before the message of `error`.

    Called on the way out by every module between the failing one and the outermost call: each adds the name under which
    it knows the one below, and writes the message anew, so that the last to write is the outermost.
    """
    trail = getattr(error, "_module_trail", None)
    if trail is None:
        if len(error.args) != 1 or not isinstance(error.args[0], str):
            return  # nothing to put the path in front of
        message, failing, names = error.args[0], describe(module), ()
        path = failing
    else:
        message, failing, names, below = trail
        names = (_name_of(below, module), *names)
        path = f"{'.'.join(('model', *names))} ({failing})"
    error.args = (f"{path}: {message}",)
    error._module_trail = (message, failing, names, module)  # type: ignore[attr-defined]


def _name_of(child: Module, parent: Module) -> str:
    for path, module in parent.named_modules():
        if module is child and path:
            return path
    return f"<{child._get_name()}>"  # called by the parent, but registered nowhere below it
