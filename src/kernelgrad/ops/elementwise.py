"""Arithmetic, comparison and logic on tensors, with broadcasting and PyTorch's promotion of dtypes."""

from kernelgrad import core
from kernelgrad.core import INPUT, Array, Binary, Function, Unary

_RETURNS = """

    Parameters
    ----------
    input, other : Tensor or Python number (one at least a Tensor), shapes that broadcast, on one device

    Returns
    -------
    Tensor of the broadcast shape; {dtype}

    Raises
    ------
    RuntimeError
        If the shapes do not broadcast or the devices differ.
    """
_PROMOTED = "the dtype follows PyTorch's promotion: dimensioned tensors first, then 0-d ones, then numbers."


def _doc(formula, dtype=_PROMOTED, note=""):
    return formula + ", elementwise." + note + _RETURNS.format(dtype=dtype)


_add = Binary("add", "add", doc=_doc("``input + other``"))
_sub = Binary("sub", "sub", doc=_doc("``input - other``"))
mul = Binary("mul", "mul", doc=_doc("``input * other``"))
_div = Binary("div", "div", "float", doc=_doc("``input / other``", "integers become the default float dtype."))
_floor_divide = Binary("floor_divide", doc=_doc("``floor(input / other)``"))
_pow = Binary("pow", "kernels", doc=_doc("``input ** other``"))
maximum = Binary(
    "maximum", "kernels", doc=_doc("The larger of two, nan if either is", note=" Ties share the gradient.")
)
minimum = Binary(
    "minimum", "kernels", doc=_doc("The smaller of two, nan if either is", note=" Ties share the gradient.")
)
atan2 = Binary("atan2", "kernels", "float", doc=_doc("The angle of the point (other, input), in radians"))
_BOOL = "bool."
eq = Binary("eq", result="bool", doc=_doc("``input == other``", _BOOL))
ne = Binary("ne", result="bool", doc=_doc("``input != other``", _BOOL))
lt = Binary("lt", result="bool", doc=_doc("``input < other``", _BOOL))
le = Binary("le", result="bool", doc=_doc("``input <= other``", _BOOL))
gt = Binary("gt", result="bool", doc=_doc("``input > other``", _BOOL))
ge = Binary("ge", result="bool", doc=_doc("``input >= other``", _BOOL))
logical_and = Binary("logical_and", result="bool", doc=_doc("Both are not zero", _BOOL))
logical_or = Binary("logical_or", result="bool", doc=_doc("At least one is not zero", _BOOL))
logical_xor = Binary("logical_xor", result="bool", doc=_doc("Exactly one is not zero", _BOOL))
_bitwise_and = Binary("bitwise_and", doc=_doc("``input & other`` of integers or bools"))
_bitwise_or = Binary("bitwise_or", doc=_doc("``input | other`` of integers or bools"))
_bitwise_xor = Binary("bitwise_xor", doc=_doc("``input ^ other`` of integers or bools"))
_fmod = Binary("fmod")
_remainder = Binary("remainder")
multiply = mul
greater, greater_equal, less, less_equal, not_equal = gt, ge, lt, le, ne


def add(input, other, *, alpha=1):
    return _add(input, other) if alpha == 1 else _add(input, mul(other, alpha))


def sub(input, other, *, alpha=1):
    if getattr(input, "dtype", None) is core.bool_ or getattr(other, "dtype", None) is core.bool_:
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. "
            "If you are trying to invert a mask, use the `~` or `logical_not()` operator instead."
        )
    return _sub(input, other) if alpha == 1 else _sub(input, mul(other, alpha))


def div(input, other, *, rounding_mode=None):
    if rounding_mode is None:
        return _div(input, other)
    if rounding_mode == "floor":
        return constant_in_steps(floor_divide, input, other)
    if rounding_mode != "trunc":
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
        )
    from kernelgrad.ops.math import trunc

    dtype = core.result_type(input, other)
    quotient = trunc(_div(input, other))
    return quotient if dtype.is_floating_point else core.to_dtype(quotient, dtype)


class Steps(Function):
    """out = function(*args), constant between its steps: the gradient is 0."""

    @staticmethod
    def forward(ctx, function, *args):
        ctx.inputs = [(a.shape, a.dtype, a.device) if isinstance(a, Array) else None for a in args]
        return function(*args)

    @staticmethod
    def backward(ctx, grad_out):
        needed = zip(ctx.inputs, ctx.needs_input_grad[1:])
        return None, *(core.zeros(*kind) if wanted else None for kind, wanted in needed)


def constant_in_steps(function, *args):
    """`function(*args)`, part of the graph with gradients of 0."""
    return Steps.apply(function, *args)


def floor_divide(input, other):
    _refuse_zero("floor_divide", other, input)
    return _floor_divide(input, other)


def pow(input, exponent):
    if isinstance(exponent, (int, float)) and not isinstance(exponent, bool) and isinstance(input, Array):
        if exponent == 2:
            return mul(input, input)
        if exponent == 1 and input.dtype.is_floating_point:
            return mul(input, 1.0)
        if exponent < 0 and isinstance(exponent, int) and not input.dtype.is_floating_point:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
    return _pow(input, exponent)


for _function, _op in ((add, _add), (sub, _sub), (div, _div), (floor_divide, _floor_divide), (pow, _pow)):
    _function.__doc__ = _op.__doc__
subtract, divide, true_divide = sub, div, _div


class Mod(Function):
    """Remainder by floor (sign of the divisor) or by truncation (sign of the dividend): slope 1 and -quotient."""

    @staticmethod
    def forward(ctx, x, y, op, rounding):
        ctx.save_for_backward(*(v for v in (x, y) if isinstance(v, Array)))
        ctx.numbers = [None if isinstance(v, Array) else v for v in (x, y)]
        ctx.rounding = rounding
        return op(x, y)

    @staticmethod
    def backward(ctx, grad_out):
        saved = iter(ctx.saved_tensors)
        x, y = (next(saved) if v is None else v for v in ctx.numbers)
        grad_x = grad_y = None
        if ctx.needs_input_grad[0]:
            grad_x = core.sum_to_shape(grad_out, x.shape)
        if ctx.needs_input_grad[1]:
            grad_y = core.sum_to_shape(mul(mul(grad_out, div(x, y, rounding_mode=ctx.rounding)), -1.0), y.shape)
        return grad_x, grad_y, None, None


def remainder(input, other):
    """``input - other * floor(input / other)``: the remainder with the sign of `other`, as Python's ``%``."""
    _refuse_zero("remainder", other, input)
    return Mod.apply(input, other, _remainder, "floor")


def fmod(input, other):
    """The remainder with the sign of `input`, as C's ``fmod``."""
    _refuse_zero("fmod", other, input)
    return Mod.apply(input, other, _fmod, "trunc")


def _refuse_zero(name, other, input):
    """Integer division by zero has no answer; PyTorch raises, and so do we."""
    dtype = core.result_type(input, other)
    if not dtype.is_floating_point and (
        other == 0 if not isinstance(other, Array) else (core.as_numpy(other) == 0).any()
    ):
        raise RuntimeError(f"{name}: ZeroDivisionError, integer division by zero")


def _bitwise(op):
    def function(input, other):
        for x in (input, other):
            if isinstance(x, float) or (isinstance(x, Array) and x.dtype.is_floating_point):
                raise RuntimeError(
                    f"{op.__name__}: expected integer or bool tensors, got {getattr(x, 'dtype', 'a float')}"
                )
        return op(input, other)

    function.__name__ = op.__name__
    function.__doc__ = op.__doc__
    return function


bitwise_and, bitwise_or, bitwise_xor = _bitwise(_bitwise_and), _bitwise(_bitwise_or), _bitwise(_bitwise_xor)


def logical_not(input):
    """True where `input` is zero."""
    return eq(input, 0)


def bitwise_not(input):
    """``~input`` of integers or bools."""
    if input.dtype is core.bool_:
        return logical_not(input)
    if input.dtype.is_floating_point:
        raise RuntimeError(f"bitwise_not: expected an integer or bool tensor, got {input.dtype}")
    return _bitwise_xor(input, 255 if input.dtype is core.uint8 else -1)


class Where(Function):
    """out = condition ? x : y; each operand gets the gradient where it was chosen."""

    @staticmethod
    def forward(ctx, condition, x, y):
        ctx.save_for_backward(condition)
        ctx.shapes = x.shape, y.shape
        return core.broadcast(core.kernel("where_forward"), condition, x, y, dtype=x.dtype)

    @staticmethod
    def backward(ctx, grad_out):
        (condition,) = ctx.saved_tensors
        where, zero = core.kernel("where_forward"), core.zeros((), grad_out.dtype, grad_out.device)
        grad_x = grad_y = None
        if ctx.needs_input_grad[1]:
            grad_x = core.sum_to_shape(
                core.broadcast(where, condition, grad_out, zero, dtype=grad_out.dtype), ctx.shapes[0]
            )
        if ctx.needs_input_grad[2]:
            grad_y = core.sum_to_shape(
                core.broadcast(where, condition, zero, grad_out, dtype=grad_out.dtype), ctx.shapes[1]
            )
        return None, grad_x, grad_y


def where(condition, input=None, other=None):
    """``input`` where `condition` is true, else ``other``, broadcast. Of one argument: indices of true elements.

    Parameters
    ----------
    condition : Tensor of bool (or uint8)
    input, other : Tensor or number

    Returns
    -------
    Tensor of the broadcast shape and promoted dtype, or a tuple of int64 index tensors.
    """
    if input is None and other is None:
        from kernelgrad.ops.masks import nonzero

        return nonzero(condition, as_tuple=True)
    if not isinstance(condition, Array):
        raise TypeError(f"where(): argument 'condition' must be Tensor, not {type(condition).__name__}")
    if condition.dtype not in (core.bool_, core.uint8):
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}"
        )
    dtype, device = core.result_type(input, other), _common_device("where", condition, input, other)
    x, y = (_as_array(v, dtype, device) for v in (input, other))
    if condition.device is not device:
        condition = _as_array(condition, condition.dtype, device)
    return Where.apply(condition, x, y)


def _common_device(name, *operands):
    """The device of an op's tensors: the GPU where one of them is there, for single numbers may come from the CPU."""
    device = None
    for x in operands:
        if isinstance(x, Array):
            device = x.device
            if device.type != "cpu":
                return device
    if device is None:
        kinds = ", ".join(type(x).__name__ for x in operands)
        raise TypeError(f"{name}(): at least one argument must be a Tensor, got {kinds}")
    return device


def _as_array(value, dtype, device):
    """`value` in a dtype; numbers, and tensors of one that want no gradient, on a device."""
    if isinstance(value, Array):
        if value.ndim or value.requires_grad or value.device is device:
            return core.to_dtype(value, dtype)
        value = value.item()
    return core.full((), value, dtype, device)


_clamp = Unary("clamp", saves=INPUT, scalars=(("lo", float("-inf")), ("hi", float("inf"))))


def _clamp_integers(x, lo, hi):
    if lo is not None:
        x = maximum(x, lo)
    return x if hi is None else minimum(x, hi)


def clamp(input, min=None, max=None):
    """Limit to [min, max]; either may be absent, a number or a tensor. nan stays nan.

    Raises
    ------
    RuntimeError
        If both bounds are absent.
    """
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None".replace("torch.", ""))
    if isinstance(min, Array) or isinstance(max, Array):
        out = input if min is None else maximum(input, min)
        return out if max is None else minimum(out, max)
    dtype = core.result_type(input, *[b for b in (min, max) if b is not None])
    x = core.to_dtype(input, dtype)
    if not dtype.is_floating_point:
        return _clamp_integers(x, min, max)
    return _clamp(x, float("-inf") if min is None else min, float("inf") if max is None else max)


clip = clamp


def isnan(input):
    """True where the element is nan."""
    return ne(input, input)


def isinf(input):
    """True where the element is plus or minus infinity."""
    if not input.dtype.is_floating_point:
        return core.full(input.shape, False, core.bool_, input.device)
    return logical_or(eq(input, float("inf")), eq(input, float("-inf")))


def isfinite(input):
    """True where the element is neither nan nor infinite."""
    return logical_not(logical_or(isnan(input), isinf(input)))


def nan_to_num(input, nan=0.0, posinf=None, neginf=None):
    """Replace nan and the infinities by numbers (the largest and smallest finite ones unless given)."""
    if not input.dtype.is_floating_point:
        return input.clone()
    import numpy as np

    limits = np.finfo(input.dtype.numpy)
    out = where(isnan(input), float(nan), input)
    out = where(eq(input, float("inf")), float(limits.max if posinf is None else posinf), out)
    return where(eq(input, float("-inf")), float(limits.min if neginf is None else neginf), out)


# ---- Three operands in one pass ----


def _alike(name, *operands):
    """The operands as arrays of one floating dtype that has kernels, or None."""
    x, y, z = operands
    if (
        (isinstance(x, Array) and isinstance(y, Array) and isinstance(z, Array))
        and (x.device is y.device is z.device and x.dtype is y.dtype is z.dtype)
        and (x.dtype is core.float32 or x.dtype is core.float64)
    ):
        return operands
    device, dtype = _common_device(name, *operands), core.result_type(*operands)
    if dtype not in (core.float32, core.float64):
        return None
    return [_as_array(x, dtype, device) for x in operands]


def _in_one_pass(kernel, function, operands, *scalars):
    """By the kernel itself where nobody wants a gradient: `function` takes as long as some ten thousand numbers."""
    if core.is_grad_enabled() and any(x.requires_grad for x in operands):
        return function.apply(*operands, *scalars)
    return core.broadcast(core.kernel(kernel), *operands, scalars=scalars)


def _reduced(ctx, *gradients):
    """The gradients wanted, each summed to its operand's shape. `gradients` are functions that make them."""
    wanted = ctx.needs_input_grad[: len(gradients)]
    return [
        core.sum_to_shape(make(), shape) if want else None
        for make, shape, want in zip(gradients, ctx.shapes, wanted, strict=True)
    ]


class Lerp(Function):
    """out = x + weight (end - x); slopes 1 - weight, weight and end - x."""

    @staticmethod
    def forward(ctx, x, end, weight):
        grad_x, grad_end, grad_weight = ctx.needs_input_grad
        ctx.save_for_backward(*(x, end) if grad_weight else (None, None), weight if grad_x or grad_end else None)
        ctx.shapes = x.shape, end.shape, weight.shape
        return core.broadcast(core.kernel("lerp_forward"), x, end, weight)

    @staticmethod
    def backward(ctx, g):
        x, end, weight = ctx.saved_tensors
        return tuple(_reduced(ctx, lambda: mul(g, sub(1, weight)), lambda: mul(g, weight), lambda: mul(g, sub(end, x))))


class Addcmul(Function):
    """out = x + value y z."""

    @staticmethod
    def forward(ctx, x, y, z, value):
        _, grad_y, grad_z, _ = ctx.needs_input_grad
        ctx.save_for_backward(y if grad_z else None, z if grad_y else None)
        ctx.shapes, ctx.value = (x.shape, y.shape, z.shape), value
        return core.broadcast(core.kernel("addcmul_forward"), x, y, z, scalars=(value,))

    @staticmethod
    def backward(ctx, g):
        y, z = ctx.saved_tensors
        return *_reduced(ctx, lambda: g, lambda: mul(mul(g, z), ctx.value), lambda: mul(mul(g, y), ctx.value)), None


class Addcdiv(Function):
    """out = x + value y / z; slopes 1, value / z and -value y / z^2."""

    @staticmethod
    def forward(ctx, x, y, z, value):
        _, grad_y, grad_z, _ = ctx.needs_input_grad
        ctx.save_for_backward(y if grad_z else None, z if grad_y or grad_z else None)
        ctx.shapes, ctx.value = (x.shape, y.shape, z.shape), value
        return core.broadcast(core.kernel("addcdiv_forward"), x, y, z, scalars=(value,))

    @staticmethod
    def backward(ctx, g):
        y, z = ctx.saved_tensors
        slope = None if z is None else mul(div(g, z), ctx.value)
        return *_reduced(ctx, lambda: g, lambda: slope, lambda: mul(slope, div(y, mul(z, -1.0)))), None


def lerp(input, end, weight):
    """``input + weight * (end - input)``, broadcast; with a weight of 1 exactly `end`. `weight` may be a number."""
    arrays = _alike("lerp", input, end, weight)
    return add(input, mul(sub(end, input), weight)) if arrays is None else _in_one_pass("lerp_forward", Lerp, arrays)


def addcmul(input, tensor1, tensor2, *, value=1):
    """``input + value * tensor1 * tensor2``, broadcast."""
    arrays = _alike("addcmul", input, tensor1, tensor2)
    if arrays is None:
        return add(input, mul(tensor1, tensor2), alpha=value)
    return _in_one_pass("addcmul_forward", Addcmul, arrays, float(value))


def addcdiv(input, tensor1, tensor2, *, value=1):
    """``input + value * tensor1 / tensor2``, broadcast."""
    arrays = _alike("addcdiv", input, tensor1, tensor2)
    if arrays is None:
        return add(input, div(tensor1, tensor2), alpha=value)
    return _in_one_pass("addcdiv_forward", Addcdiv, arrays, float(value))


def isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """True where ``|input - other| <= atol + rtol * |other|``."""
    import numpy as np

    a, b = (core.as_numpy(core.move(x, "cpu")) for x in (input, other))
    return core.move(core.from_numpy(np.asarray(np.isclose(a, b, rtol, atol, equal_nan))), input.device)


def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether all elements are close: a Python bool."""
    return bool(core.as_numpy(core.move(isclose(input, other, rtol, atol, equal_nan), "cpu")).all())


def equal(input, other):
    """Whether two tensors have the same shape and the same elements: a Python bool."""
    return input.shape == other.shape and bool(core.as_numpy(core.move(eq(input, other), "cpu")).all())
