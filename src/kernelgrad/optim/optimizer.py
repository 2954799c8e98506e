"""Optimizer: parameter groups, state and its dictionary in PyTorch's format; and the step of the built-in
optimizers."""

import copy
from collections import OrderedDict, defaultdict
from itertools import chain

from kernelgrad.core import Array, empty_like, enable_grad, full, kernel, move, to_dtype, zero_
from kernelgrad.core.stepper import clear_grads, step_group


class Required:
    def __repr__(self):
        return "<required parameter>"


required = Required()
"""Default of a group option that every group must give."""


class HookHandle:
    """Returned when a hook is registered; ``remove()`` takes it away."""

    def __init__(self, hooks):
        self.hooks = hooks
        self.key = max(hooks, default=-1) + 1

    def remove(self):
        self.hooks.pop(self.key, None)


class Optimizer:
    """Base of all optimizers.

    Parameters
    ----------
    params : iterable of tensors, of (name, tensor) pairs, or of dicts with a key "params" and options of that group
    defaults : options of groups that do not give their own

    Attributes
    ----------
    param_groups : list of dicts: "params" and the options, read at every step
    state : {parameter: {name: tensor}}
    """

    def __init__(self, params, defaults):
        self.defaults = defaults
        self.state = defaultdict(dict)
        self.param_groups = []
        self._hooks = {
            name: OrderedDict() for name in ("step_pre", "step_post", "save_pre", "save_post", "load_pre", "load_post")
        }
        self._steps = 0  # taken by this object; the schedulers look at it
        if isinstance(params, Array):
            raise TypeError(
                "params argument given to the optimizer should be an iterable "
                "of "
                "Tensors "
                "or "
                "dicts, "
                f"but got {type(params).__name__}"
            )
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def __repr__(self):
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines += [f"Parameter Group {i}"] + [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])

    def add_param_group(self, param_group):
        """Add a group of parameters, a dict with "params" and any options, to those that are optimized."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        group = dict(param_group)
        params = group["params"]
        if isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
                "will change between runs. Please use a list instead."
            )
        params = [params] if isinstance(params, Array) else list(params)
        if params and all(isinstance(p, tuple) for p in params):
            group["param_names"] = [name for name, _ in params]
            params = [p for _, p in params]
        group["params"] = params
        for p in params:
            if not isinstance(p, Array):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            group.setdefault(name, default)
        if len({id(p) for p in params}) != len(params):
            raise ValueError("optimizer contains a parameter group with duplicate parameters")
        if not {id(p) for p in params}.isdisjoint(id(p) for g in self.param_groups for p in g["params"]):
            raise ValueError("some parameters appear in more than one parameter group")
        if self.param_groups and ("param_names" in group) != ("param_names" in self.param_groups[0]):
            raise ValueError("all optimizer param groups should be with/without names.")
        self.param_groups.append(group)

    def zero_grad(self, set_to_none=True):
        """Forget the gradients of all parameters; ``set_to_none=False`` fills them with zeros instead."""
        for group in self.param_groups:
            if set_to_none:
                clear_grads(group["params"])
            else:
                for p in group["params"]:
                    if p.grad is not None:
                        p.grad = p.grad.detach()
                        zero_(p.grad)

    def step(self, closure=None):
        """Take one step; `closure`, where given, computes the loss anew and returns it."""
        raise NotImplementedError(f"{type(self).__name__} has no step()")

    # ---- State as a dictionary ----

    def state_dict(self):
        """{"state": {number of a parameter: its state}, "param_groups": [options, with numbers in place of
        parameters]}."""
        for hook in self._hooks["save_pre"].values():
            hook(self)
        numbers = {id(p): i for i, p in enumerate(p for group in self.param_groups for p in group["params"])}
        groups = [
            {**{k: v for k, v in group.items() if k != "params"}, "params": [numbers[id(p)] for p in group["params"]]}
            for group in self.param_groups
        ]
        state = {numbers[id(p)] if isinstance(p, Array) else p: s for p, s in self.state.items()}
        result = {"state": state, "param_groups": groups}
        for hook in self._hooks["save_post"].values():
            changed = hook(self, result)
            result = result if changed is None else changed
        return result

    def load_state_dict(self, state_dict):
        """Restore what `state_dict` gave, for the same parameters in the same order; state is copied to their dtype
        and device."""
        state_dict = dict(state_dict)
        for hook in self._hooks["load_pre"].values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        groups, saved = self.param_groups, copy.deepcopy(state_dict["param_groups"])
        if len(groups) != len(saved):
            raise ValueError(
                "loaded state dict has a different number of parameter "
                "groups: "
                f"{len(saved)}, "
                "the "
                f"optimizer has {len(groups)}"
            )
        if [len(g["params"]) for g in groups] != [len(g["params"]) for g in saved]:
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        numbers = chain.from_iterable(g["params"] for g in saved)
        params = dict(zip(numbers, chain.from_iterable(g["params"] for g in groups), strict=True))
        state = defaultdict(dict)
        for key, value in state_dict["state"].items():
            if key in params or (isinstance(key, str) and key.isdigit() and int(key) in params):
                p = params[key if key in params else int(key)]
                state[p] = {name: self._fitted(p, name, entry) for name, entry in value.items()}
            else:
                state[key] = value
        for group, new in zip(groups, saved, strict=True):
            names = group.get("param_names", new.get("param_names"))
            new["params"] = group["params"]
            if names is not None:
                new["param_names"] = names
            for name, value in self.defaults.items():
                new.setdefault(name, value)
        self.__setstate__({"state": state, "param_groups": saved})
        for hook in self._hooks["load_post"].values():
            hook(self)

    @staticmethod
    def _fitted(param, name, value):
        """A copy of a state entry; arrays of the parameter's kind get its dtype and device, counters stay as they
        are."""
        if not isinstance(value, Array):
            return copy.deepcopy(value)
        value = copy.deepcopy(value)
        if name == "step" or not param.dtype.is_floating_point:
            return value
        return move(to_dtype(value, param.dtype), param.device)

    def __getstate__(self):
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.__dict__.setdefault("_steps", 0)
        if "_hooks" not in self.__dict__:
            self._hooks = {
                name: OrderedDict()
                for name in ("step_pre", "step_post", "save_pre", "save_post", "load_pre", "load_post")
            }

    # ---- Hooks ----

    def _register(self, kind, hook):
        handle = HookHandle(self._hooks[kind])
        self._hooks[kind][handle.key] = hook
        return handle

    def register_step_pre_hook(self, hook):
        """Call ``hook(optimizer, args, kwargs)`` before every step; a pair it returns replaces args and kwargs."""
        return self._register("step_pre", hook)

    def register_step_post_hook(self, hook):
        """Call ``hook(optimizer, args, kwargs)`` after every step."""
        return self._register("step_post", hook)

    def register_state_dict_pre_hook(self, hook, prepend=False):
        """Call ``hook(optimizer)`` before `state_dict`."""
        return self._register("save_pre", hook)

    def register_state_dict_post_hook(self, hook, prepend=False):
        """Call ``hook(optimizer, state_dict)`` after `state_dict`; a dict it returns replaces the result."""
        return self._register("save_post", hook)

    def register_load_state_dict_pre_hook(self, hook, prepend=False):
        """Call ``hook(optimizer, state_dict)`` before `load_state_dict`; a dict it returns is loaded instead."""
        return self._register("load_pre", hook)

    def register_load_state_dict_post_hook(self, hook, prepend=False):
        """Call ``hook(optimizer)`` after `load_state_dict`."""
        return self._register("load_post", hook)


class FusedOptimizer(Optimizer):
    """An optimizer whose whole step is one kernel (kernels/optim) per tensor, run over all tensors of a group in one
    loop.

    A subclass names its `kernel`, the `names` of its state arrays in the kernel's order, whether it is `counted`
    (state has "step"), the `number` of its state on which the constants depend besides, and computes the kernel's
    constants.
    """

    kernel: str | None = None
    names: tuple[str, ...] = ()
    counted = True
    number: str | None = None  # a state entry of one number, which `_constants` moves on

    def __init__(self, params, defaults):
        if defaults.get("capturable") or defaults.get("differentiable"):
            raise NotImplementedError(f"{type(self).__name__}: capturable and differentiable are not supported")
        self._kernel = kernel(self.kernel)
        super().__init__(params, defaults)

    def __setstate__(self, state):
        super().__setstate__(state)
        self._kernel = kernel(self.kernel)

    def step(self, closure=None, *, grad_scale=1.0):
        """One step from the gradients in ``.grad``; parameters without one are left alone.

        Parameters
        ----------
        closure : computes the loss (and gradients) anew and returns it
        grad_scale : a factor that gradients are taken with, such as a clip factor; ``.grad`` itself is not changed

        Returns
        -------
        What `closure` returned, or None.
        """
        if self._hooks["step_pre"]:
            for hook in list(self._hooks["step_pre"].values()):
                changed = hook(self, (closure,), {})
                if changed is not None:
                    (closure, *_), _ = changed
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            step_group(self._kernel, self, group, self.state, self._names(group), self.counted, self.number, grad_scale)
        self._steps += 1
        if self._hooks["step_post"]:
            for hook in list(self._hooks["step_post"].values()):
                hook(self, (closure,), {})
        return loss

    def _names(self, group):
        return self.names

    def _init_state(self, param, group):
        """State before the first step: zeros like the parameter, and the counter."""
        state = {"step": full((), 0.0)} if self.counted else {}
        for name in self._needed(group):
            state[name] = zero_(empty_like(param))
        return state

    def _needed(self, group):
        """The names of state arrays that this group's options ask for."""
        return self.names

    def _constants(self, group, step, state):
        """(flags, scalars) of the kernel for this step."""
        raise NotImplementedError


def check(name, value, good, what=None):
    """ValueError in PyTorch's words unless `good`."""
    if not good:
        raise ValueError(f"Invalid {what or name} value: {value}" if what is None else f"Invalid {what}: {value}")
