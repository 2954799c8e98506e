"""`Module`: the base of every layer and model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from kernelgrad.core import dtype as DType
from kernelgrad.core import no_grad
from kernelgrad.nn.error_path import prefix_path
from kernelgrad.nn.hooks import Hook, RemovableHandle, add_hook, call_with_hooks
from kernelgrad.nn.parameter import Buffer, Parameter
from kernelgrad.nn.registry import REGISTRIES, Registry
from kernelgrad.nn.state_dict import StateDict
from kernelgrad.tensor import Tensor

if TYPE_CHECKING:
    from typing_extensions import Self


class Module(StateDict):
    """Base class of all layers and models: PyTorch's `nn.Module`.

    Assigning a `Parameter`, a `Buffer` or another `Module` to an attribute registers it. Subclasses call
    ``super().__init__()`` before the first such assignment and write ``forward``; users call the module itself.
    An error raised inside `forward` keeps its type and gets the path of the layer in front of its message,
    ``model.2 (Linear 30 -> 5): ...``.
    """

    _version: int = 1
    call_super_init: bool = False
    training: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init:
            name = type(self).__name__
            if kwargs:
                raise TypeError(f"{name}.__init__() got an unexpected keyword argument '{next(iter(kwargs))}'")
            if args:
                raise TypeError(f"{name}.__init__() takes 1 positional argument but {len(args) + 1} were given")
        own = self.__dict__
        own["training"] = True
        for registry in REGISTRIES:
            own[registry] = Registry(self)
        own["_non_persistent_buffers_set"] = set()
        own["_hooks"] = {}  # what a call has to look at
        own["_state_hooks"] = {}  # what state_dict and load_state_dict have to look at
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    # ---- Calling ----

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass defines it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            if self._hooks:
                return call_with_hooks(self, args, kwargs)
            return self.forward(*args, **kwargs)
        except Exception as error:
            prefix_path(error, self)
            raise

    # ---- Registration ----

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter under `name`; None holds the place of one that is absent."""
        self._check_name("parameter", name, "_parameters")
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{_typename(param)}' object to parameter '{name}' (nn.Parameter or None required)"
                )
            if param.grad_fn is not None:
                raise ValueError(
                    f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created "
                    f"explicitly. To express '{name}' as a function of another Tensor, compute the value in the "
                    "forward() method."
                )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Adds a tensor that is state but not trained; one that is not `persistent` stays out of `state_dict`."""
        self._check_name("buffer", name, "_buffers")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"cannot assign '{_typename(tensor)}' object to buffer '{name}' (Tensor or None required)")
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a child under `name`."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{_typename(module)} is not a Module subclass")
        self._check_name("module", name, "_modules")
        self._modules[name] = module

    register_module = add_module

    def _check_name(self, kind: str, name: str, registry: str) -> None:
        if registry not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {_typename(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if name not in self.__dict__[registry] and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists")

    def __getattr__(self, name: str) -> Any:
        # Reached only when plain lookup failed: the members of the registries stand in __dict__.
        kind = type(self).__name__
        hint = "" if "_modules" in self.__dict__ else f"; {kind}.__init__ has to call super().__init__() first"
        raise AttributeError(f"'{kind}' object has no attribute '{name}'{hint}")

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if isinstance(value, Parameter):
            self._clear_for("parameters", name, "_parameters")
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._clear_for("module", name, "_modules")
            own["_modules"][name] = value
        elif name in own.get("_parameters", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_typename(value)}' as parameter '{name}' (nn.Parameter or None expected)"
                )
            self.register_parameter(name, value)
        elif name in own.get("_modules", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_typename(value)}' as child module '{name}' (Module or None expected)"
                )
            own["_modules"][name] = value
        elif isinstance(value, Buffer) or name in own.get("_buffers", ()):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign '{_typename(value)}' as buffer '{name}' (nn.Buffer, Tensor or None expected)"
                )
            if isinstance(value, Buffer):
                self._clear_for("buffers", name, "_buffers")
                self.register_buffer(name, value, value.persistent)
            else:
                self.register_buffer(name, value, name not in self._non_persistent_buffers_set)
        elif name in REGISTRIES and name in own:
            members = dict(value)
            own[name].clear()
            own[name].update(members)
        else:
            super().__setattr__(name, value)

    def _clear_for(self, kind: str, name: str, keep: str) -> None:
        """Frees `name` from whatever it stood for, so that it can move into the registry `keep`."""
        own = self.__dict__
        if keep not in own:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        if name in own[keep]:
            return
        own.pop(name, None)
        for registry in REGISTRIES:
            own[registry].pop(name, None)
        own["_non_persistent_buffers_set"].discard(name)

    def __delattr__(self, name: str) -> None:
        for registry in REGISTRIES:
            if name in self.__dict__.get(registry, ()):
                del self.__dict__[registry][name]
                self._non_persistent_buffers_set.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self):
        return sorted(name for name in {*super().__dir__()} if not name[:1].isdigit())

    # ---- Walking the tree ----

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Every module of the tree, this one first, with its dotted path."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, path, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """Every module of the tree, each once."""
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct children with their names, each once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The direct children, each once."""
        for _, module in self.named_children():
            yield module

    def _named_members(
        self, members_of: Callable[[Module], Any], prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        seen = set()  # of ids: == between tensors is elementwise
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, member in members_of(module):
                if member is None or id(member) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(member))
                yield f"{path}.{name}" if path else name, member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their dotted paths: of the whole tree, or of this module alone."""
        yield from self._named_members(lambda module: module._parameters.items(), prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once."""
        for _, param in self.named_parameters(recurse=recurse):
            yield param

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their dotted paths: of the whole tree, or of this module alone."""
        yield from self._named_members(lambda module: module._buffers.items(), prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path; the empty path is this module."""
        module: Any = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Puts `module` at a dotted path; with `strict` something must stand there already."""
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{parent._get_name()} has no attribute `{name}`")
        if hasattr(parent, name) and not isinstance(getattr(parent, name), Module):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path."""
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        if not hasattr(owner, name):
            raise AttributeError(f"{owner._get_name()} has no attribute `{name}`")
        param = getattr(owner, name)
        if not isinstance(param, Parameter):
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        return param

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path."""
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        if not hasattr(owner, name):
            raise AttributeError(f"{owner._get_name()} has no attribute `{name}`")
        buffer = getattr(owner, name)
        if buffer is None or name not in owner._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return buffer

    # ---- Modes and moves ----

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Calls `fn` on every module of the tree, children first: how weights are usually initialised."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Sets training mode (dropout drops, batch norm uses batch statistics) or, with False, evaluation mode."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """Sets evaluation mode."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freezes (False) or unfreezes all parameters."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops all gradients, or fills them with zero."""
        for param in self.parameters():
            if param.grad is not None:
                if set_to_none:
                    param.grad = None
                else:
                    param.grad = param.grad.detach()
                    param.grad.zero_()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replaces the data of every parameter, gradient and buffer by what `fn` makes of it.

        A parameter stays the same object, so an optimizer made before the move still holds it.
        """
        if recurse:
            for module in self.children():
                module._apply(fn)
        with no_grad():
            for param in self._parameters.values():
                if param is not None:
                    grad = param.grad
                    param.grad = None  # a gradient of the old dtype or device would not fit the new data
                    param.data = fn(param.data)
                    if grad is not None:
                        param.grad = fn(grad)
            for name, buffer in self._buffers.items():
                if buffer is not None:
                    self._buffers[name] = fn(buffer)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Moves to a device and / or casts floating-point state: ``to(device)``, ``to(dtype)``, ``to(device, dtype)``
        or ``to(tensor)``, which follows the tensor. Integer buffers keep their dtype."""
        device, dtype = _parse_to(*args, **kwargs)
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(f"nn.Module.to only accepts floating point dtypes, but got desired dtype={dtype}")

        def convert(tensor: Tensor) -> Tensor:
            if device is not None:
                tensor = tensor.to(device)
            return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor

        return self._apply(convert)

    def float(self) -> Self:
        """Casts floating-point parameters and buffers to float32."""
        return self._apply(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)

    def double(self) -> Self:
        """Casts floating-point parameters and buffers to float64."""
        return self._apply(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)

    def bfloat16(self) -> Self:
        """Casts floating-point parameters and buffers to bfloat16."""
        return self._apply(lambda tensor: tensor.bfloat16() if tensor.is_floating_point() else tensor)

    def half(self) -> Self:
        """Not available: kernelgrad has no float16."""
        raise NotImplementedError("Module.half: float16 is not supported; use bfloat16() to halve the memory")

    def cpu(self) -> Self:
        """Moves parameters and buffers to the CPU."""
        return self._apply(lambda tensor: tensor.cpu())

    def cuda(self, device: Any = None) -> Self:
        """Moves parameters and buffers to the GPU."""
        return self._apply(lambda tensor: tensor.cuda() if device is None else tensor.cuda(device))

    # ---- Hooks ----

    def register_forward_pre_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """``hook(module, args)`` before each forward; what it returns, if not None, replaces the arguments.
        With `with_kwargs`: ``hook(module, args, kwargs) -> None | (args, kwargs)``."""
        return add_hook(self._hooks, Hook("forward_pre", hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """``hook(module, args, output)`` after each forward; what it returns, if not None, replaces the output.
        With `with_kwargs`: ``hook(module, args, kwargs, output)``. With `always_call` also when forward raised."""
        return add_hook(self._hooks, Hook("forward", hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(module, grad_output)`` before the module's backward; what it returns replaces `grad_output`."""
        return add_hook(self._hooks, Hook("backward_pre", hook), prepend)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(module, grad_input, grad_output)`` after the module's backward; what it returns replaces
        `grad_input`."""
        return add_hook(self._hooks, Hook("backward", hook), prepend)

    def register_backward_hook(self, hook: Callable) -> RemovableHandle:
        """Not available: PyTorch's deprecated form, whose `grad_input` depends on the last operation alone."""
        raise NotImplementedError("Module.register_backward_hook: use register_full_backward_hook")

    # ---- Copies and text ----

    def __getstate__(self) -> dict[str, Any]:
        own = self.__dict__
        members = {name for registry in REGISTRIES for name in own.get(registry, ())}
        state = {name: value for name, value in own.items() if name not in members}
        for registry in REGISTRIES:
            if registry in own:
                state[registry] = dict(own[registry])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        own = self.__dict__
        own.update(state)
        for registry in REGISTRIES:
            members = state.get(registry, {})
            own[registry] = Registry(self)
            own[registry].update(members)

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What stands between the parentheses of the module's `repr`, before its children."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        extra_lines = extra.split("\n") if extra else []
        child_lines = [f"({name}): {indent(repr(module))}" for name, module in self._modules.items()]
        if len(extra_lines) == 1 and not child_lines:
            return f"{self._get_name()}({extra_lines[0]})"
        lines = extra_lines + child_lines
        body = "\n  " + "\n  ".join(lines) + "\n" if lines else ""
        return f"{self._get_name()}({body})"


def indent(text: str, spaces: int = 2) -> str:
    """Shifts all lines but the first to the right; empty ones stay empty."""
    first, *rest = text.split("\n")
    return "\n".join([first, *((" " * spaces + line if line.strip() else "") for line in rest)])


def _parse_to(*args: Any, **kwargs: Any) -> tuple[Any, DType | None]:
    device, dtype = kwargs.get("device"), kwargs.get("dtype")
    for argument in args:
        if isinstance(argument, Tensor):
            device, dtype = argument.device, argument.dtype
        elif isinstance(argument, DType):
            dtype = argument
        elif argument is not None and not isinstance(argument, bool):  # a bool is non_blocking
            device = argument
    unknown = kwargs.keys() - {"device", "dtype", "non_blocking", "memory_format"}
    if unknown:
        raise TypeError(f"Module.to: unexpected keyword argument '{unknown.pop()}'")
    return device, dtype


def _typename(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
