"""Saving the state of a module tree into a flat dict and loading it back: the half of `Module` that does this.

Keys, messages and the `_metadata` versions are PyTorch's, so that checkpoints pass in both directions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kernelgrad.core import no_grad
from kernelgrad.nn.hooks import Hook, RemovableHandle, add_hook
from kernelgrad.nn.parameter import Parameter
from kernelgrad.ops.creation import tensor
from kernelgrad.tensor import Tensor

EXTRA_STATE = "_extra_state"


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` returns."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class StateDict:
    """`state_dict` and `load_state_dict`, mixed into `Module`."""

    _version: int
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    _hooks: dict[int, Hook]
    _state_hooks: dict[int, Hook]

    # ---- Saving ----

    def state_dict(
        self, *, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """All parameters and persistent buffers of the tree by dotted path.

        The values share memory with the module. They are detached, or with `keep_vars` the parameters themselves.
        """
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()  # type: ignore[attr-defined]
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._state_hooks_of("save_pre"):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_hooks_of("save_post"):
            if hook(self, destination, prefix, metadata) is not None:
                raise RuntimeError("state_dict post-hook must return None")
        return destination

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Writes this module's own state, without its children's; layers with other state override it."""
        for name, member in self._own_state().items():
            destination[prefix + name] = member if keep_vars else member.detach()
        if self._has("get_extra_state"):
            destination[prefix + EXTRA_STATE] = self.get_extra_state()

    def get_extra_state(self) -> Any:
        """State that is no tensor, for `state_dict` to carry; define it together with `set_extra_state`."""
        raise RuntimeError(f"{type(self).__name__} defines no get_extra_state")

    def set_extra_state(self, state: Any) -> None:
        """Takes back what `get_extra_state` gave."""
        raise RuntimeError(f"{type(self).__name__} defines no set_extra_state")

    def _has(self, method: str) -> bool:
        return getattr(type(self), method) is not getattr(StateDict, method)

    def _own_state(self) -> dict[str, Tensor]:
        state = {name: param for name, param in self._parameters.items() if param is not None}
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                state[name] = buffer
        return state

    # ---- Loading ----

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copies the values of `state_dict` into the parameters and buffers of the tree.

        Parameters
        ----------
        state_dict : tensors by dotted path; NumPy arrays, and whatever NumPy can read without a copy, will do
        strict : raise if keys are missing or unexpected
        assign : take the tensors of `state_dict` themselves instead of copying their values

        Returns
        -------
        The missing and the unexpected keys.

        Raises
        ------
        RuntimeError
            Listing every missing key, unexpected key and wrong shape at once.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        versions = getattr(state_dict, "_metadata", None)
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []

        def load(module: StateDict, state: dict[str, Any], prefix: str) -> None:
            metadata = {} if versions is None else dict(versions.get(prefix[:-1], {}))
            if assign:
                metadata["assign_to_params_buffers"] = True
            module._load_from_state_dict(state, prefix, metadata, True, missing, unexpected, errors)
            for name, child in module._modules.items():
                if child is not None:
                    below = f"{prefix}{name}."
                    load(child, {key: value for key, value in state.items() if key.startswith(below)}, below)
            for hook in module._state_hooks_of("load_post"):
                if hook(module, IncompatibleKeys(missing, unexpected)) is not None:
                    raise AssertionError(
                        "Hooks registered with register_load_state_dict_post_hook change incompatible_keys in place "
                        "and return None"
                    )

        load(self, dict(state_dict), "")
        if strict:
            if unexpected:
                errors.insert(0, f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
            if missing:
                errors.insert(0, f"Missing key(s) in state_dict: {_quoted(missing)}. ")
        if errors:
            listed = "\n\t".join(errors)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{listed}")
        return IncompatibleKeys(missing, unexpected)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Reads this module's own state; layers whose state changed between versions override it."""
        for hook in self._state_hooks_of("load_pre"):
            hook(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        assign = local_metadata.get("assign_to_params_buffers", False)
        own = self._own_state()
        for name, member in own.items():
            key = prefix + name
            if key in state_dict:
                problem = self._load_member(name, member, key, state_dict[key], assign)
                if problem is not None:
                    error_msgs.append(problem)
            elif strict:
                missing_keys.append(key)
        extra_key = prefix + EXTRA_STATE
        if self._has("set_extra_state"):
            if extra_key in state_dict:
                self.set_extra_state(state_dict[extra_key])
            elif strict:
                missing_keys.append(extra_key)
        elif strict and extra_key in state_dict:
            unexpected_keys.append(extra_key)
        if strict:
            for key in state_dict:
                if key.startswith(prefix) and key != extra_key:
                    name, dot, _ = key[len(prefix) :].partition(".")
                    if name not in (self._modules if dot else own):
                        unexpected_keys.append(key)

    def _load_member(self, name: str, member: Tensor, key: str, value: Any, assign: bool) -> str | None:
        """Copies or assigns one value; returns what is wrong with it, if anything."""
        if not isinstance(value, Tensor):
            if not hasattr(value, "__array__"):
                return (
                    f'While copying the parameter named "{key}", expected Tensor or array from checkpoint '
                    f"but received {type(value)}"
                )
            value = tensor(value.__array__())
        if member.dim() == 0 and tuple(value.shape) == (1,):  # PyTorch wrote scalars so before 0.4
            value = value[0]
        if tuple(value.shape) != tuple(member.shape):
            return (
                f"size mismatch for {key}: copying a param with shape {value.shape} from checkpoint, "
                f"the shape in current model is {member.shape}."
            )
        with no_grad():
            if not assign:
                member.copy_(value)
            elif isinstance(member, Parameter):
                if not isinstance(value, Parameter):
                    value = Parameter(value, requires_grad=member.requires_grad)
                setattr(self, name, value.requires_grad_(member.requires_grad))
            else:
                setattr(self, name, value)
        return None

    # ---- Hooks ----

    def _state_hooks_of(self, kind: str) -> list[Callable]:
        return [hook.function for hook in self._state_hooks.values() if hook.kind == kind]

    def register_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, prefix, keep_vars)`` before this module's state is written."""
        return add_hook(self._state_hooks, Hook("save_pre", hook))

    def register_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, state_dict, prefix, local_metadata)`` after it is written; changes `state_dict` in place."""
        return add_hook(self._state_hooks, Hook("save_post", hook))

    def register_load_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)``
        before this module's state is read."""
        return add_hook(self._state_hooks, Hook("load_pre", hook))

    def register_load_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, incompatible_keys)`` after this module's tree is read; may change the keys in place."""
        return add_hook(self._state_hooks, Hook("load_post", hook))


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{key}"' for key in keys)
