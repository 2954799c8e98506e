"""Functions that users hang on a module, and the call that runs them.

All hooks of a module that a call must look at share one dict, so that a call without hooks asks a single question.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from kernelgrad.core import Function
from kernelgrad.tensor import Tensor

if TYPE_CHECKING:
    from kernelgrad.nn.module import Module

_ids = itertools.count()


class Hook(NamedTuple):
    kind: str
    function: Callable
    with_kwargs: bool = False
    always_call: bool = False


class RemovableHandle:
    """What registering a hook returns: `remove` takes the hook off again; also a context manager."""

    def __init__(self, hooks: dict[int, Any]):
        self.id = next(_ids)
        self._hooks = hooks

    def remove(self) -> None:
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()


def add_hook(hooks: dict[int, Hook], hook: Hook, prepend: bool = False) -> RemovableHandle:
    """Adds `hook` behind those already there, or before them."""
    handle = RemovableHandle(hooks)
    later = dict(hooks) if prepend else {}
    for key in later:
        del hooks[key]
    hooks[handle.id] = hook
    hooks.update(later)
    return handle


def call_with_hooks(module: Module, args: tuple, kwargs: dict[str, Any]) -> Any:
    """``module.forward(*args, **kwargs)`` between the hooks of `module`."""
    hooks = list(module._hooks.values())
    forward_hooks = [hook for hook in hooks if hook.kind == "forward"]
    pending = [hook for hook in forward_hooks if hook.always_call]
    output = None
    try:
        for hook in hooks:
            if hook.kind == "forward_pre":
                args, kwargs = _run_pre_hook(module, hook, args, kwargs)
        backward = None
        if any(hook.kind in ("backward_pre", "backward") for hook in hooks):
            backward = BackwardHooks(module, hooks)
            args = backward.watch_inputs(args)
        output = module.forward(*args, **kwargs)
        for hook in forward_hooks:
            if hook.always_call:
                pending.remove(hook)
            output = _run_forward_hook(module, hook, args, kwargs, output)
        return output if backward is None else backward.watch_output(output)
    except Exception:
        for hook in pending:
            try:
                output = _run_forward_hook(module, hook, args, kwargs, output)
            except Exception as error:
                warnings.warn(
                    f"a forward hook with always_call=True of {module._get_name()} raised, and was silenced because "
                    f"forward had raised before: {error}",
                    stacklevel=3,
                )
        raise


def _run_pre_hook(module: Module, hook: Hook, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    if hook.with_kwargs:
        changed = hook.function(module, args, kwargs)
        if changed is None:
            return args, kwargs
        if isinstance(changed, tuple) and len(changed) == 2:
            return changed
        raise RuntimeError(
            f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {changed}."
        )
    changed = hook.function(module, args)
    if changed is None:
        return args, kwargs
    return (changed if isinstance(changed, tuple) else (changed,)), kwargs


def _run_forward_hook(module: Module, hook: Hook, args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
    if hook.with_kwargs:
        changed = hook.function(module, args, kwargs, output)
    else:
        changed = hook.function(module, args, output)
    return output if changed is None else changed


class BackwardHooks:
    """One call's backward hooks: an identity on the inputs and one on the outputs see the gradients pass.

    The node behind the outputs runs first in backward: it keeps `grad_output` and runs the pre-hooks. The node behind
    the inputs, which waits for everything between, runs the hooks themselves. Inputs that need no gradient have no
    node; then the hooks run with the outputs' node, with `grad_input` of None.
    """

    def __init__(self, module: Module, hooks: list[Hook]):
        self.module = module
        self.pre_hooks = [hook.function for hook in hooks if hook.kind == "backward_pre"]
        self.hooks = [hook.function for hook in hooks if hook.kind == "backward"]
        self.inputs = 0
        self.places: list[int] = []
        self.grad_output: tuple = ()

    def watch_inputs(self, args: tuple) -> tuple:
        self.inputs = len(args)
        self.places = [i for i, arg in enumerate(args) if isinstance(arg, Tensor) and arg.requires_grad]
        if not self.places:
            return args
        passed = list(args)
        for i, tensor in zip(self.places, _as_tuple(_Inputs.apply(self, *(args[i] for i in self.places))), strict=True):
            passed[i] = tensor
        return tuple(passed)

    def watch_output(self, output: Any) -> Any:
        outputs = _as_tuple(output)
        places = [i for i, out in enumerate(outputs) if isinstance(out, Tensor) and out.requires_grad]
        if not all(isinstance(out, Tensor) for out in outputs):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors "
                f"but received {type(output)}",
                stacklevel=4,
            )
        if not places:
            return output
        watched = list(outputs)
        self.outputs, self.output_places = len(outputs), places
        for i, tensor in zip(places, _as_tuple(_Outputs.apply(self, *(outputs[i] for i in places))), strict=True):
            watched[i] = tensor
        return tuple(watched) if isinstance(output, tuple) else watched[0]

    def outputs_reached(self, grads: tuple) -> tuple:
        grad_output = _spread(grads, self.output_places, self.outputs)
        for function in self.pre_hooks:
            changed = function(self.module, grad_output)
            if changed is not None:
                grad_output = _same_length(changed, grad_output, "backward pre-hook")
        self.grad_output = grad_output
        if not self.places:
            self.run_hooks((None,) * self.inputs)
        return tuple(grad_output[i] for i in self.output_places)

    def inputs_reached(self, grads: tuple) -> tuple:
        grad_input = self.run_hooks(_spread(grads, self.places, self.inputs))
        return tuple(grad_input[i] for i in self.places)

    def run_hooks(self, grad_input: tuple) -> tuple:
        for function in self.hooks:
            changed = function(self.module, grad_input, self.grad_output)
            if changed is not None:
                grad_input = _same_length(changed, grad_input, "backward hook")
        return grad_input


class _Inputs(Function):
    """Identity; its backward is the moment at which the gradients of all inputs are known."""

    @staticmethod
    def forward(ctx, record, *tensors):
        ctx.record = record
        return tensors

    @staticmethod
    def backward(ctx, *grads):
        return None, *ctx.record.inputs_reached(grads)


class _Outputs(Function):
    """Identity; its backward is the moment at which the gradients of all outputs are known."""

    @staticmethod
    def forward(ctx, record, *tensors):
        ctx.record = record
        return tensors

    @staticmethod
    def backward(ctx, *grads):
        return None, *ctx.record.outputs_reached(grads)


def _as_tuple(value: Any) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def _spread(values: tuple, places: list[int], length: int) -> tuple:
    spread = [None] * length
    for i, value in zip(places, values, strict=True):
        spread[i] = value
    return tuple(spread)


def _same_length(changed: Any, given: tuple, what: str) -> tuple:
    changed = _as_tuple(changed)
    if len(changed) != len(given):
        raise RuntimeError(f"{what} returned {len(changed)} gradients, but the module has {len(given)}")
    return changed
