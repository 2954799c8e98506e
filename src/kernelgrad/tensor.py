"""Tensor: what users hold. Operators and methods, each one line into ops; data and graph state live in core.Array."""

import builtins
import copy as _copy

import numpy as np

from kernelgrad import core, ops
from kernelgrad.core import Array

_add, _mul, _sub, _div = ops.elementwise._add, ops.elementwise.mul, ops.elementwise._sub, ops.elementwise._div


class Tensor(Array):
    """A multi-dimensional array of one dtype on one device, with a place in the autograd graph.

    Make one with ``kernelgrad.tensor``, ``zeros``, ``randn``, ``from_numpy`` ... Methods bear PyTorch's names.
    """

    __slots__ = ()
    __array_priority__ = 1000
    __hash__ = object.__hash__

    # ---- arithmetic ----
    def __add__(self, other):
        return _add(self, other)

    def __radd__(self, other):
        return _add(other, self)

    def __sub__(self, other):
        return ops.sub(self, other)

    def __rsub__(self, other):
        return ops.sub(other, self)

    def __mul__(self, other):
        return _mul(self, other)

    def __rmul__(self, other):
        return _mul(other, self)

    def __truediv__(self, other):
        return _div(self, other)

    def __rtruediv__(self, other):
        return _div(other, self)

    def __floordiv__(self, other):
        return ops.floor_divide(self, other)

    def __rfloordiv__(self, other):
        return ops.floor_divide(other, self)

    def __mod__(self, other):
        return ops.remainder(self, other)

    def __rmod__(self, other):
        return ops.remainder(other, self)

    def __pow__(self, other):
        return ops.pow(self, other)

    def __rpow__(self, other):
        return ops.pow(other, self)

    def __matmul__(self, other):
        return ops.matmul(self, other)

    def __rmatmul__(self, other):
        return ops.matmul(other, self)

    def __neg__(self):
        return ops.neg(self)

    def __pos__(self):
        return self

    def __abs__(self):
        return ops.abs(self)

    def __invert__(self):
        return ops.bitwise_not(self)

    def __and__(self, other):
        return ops.bitwise_and(self, other)

    def __rand__(self, other):
        return ops.bitwise_and(other, self)

    def __or__(self, other):
        return ops.bitwise_or(self, other)

    def __ror__(self, other):
        return ops.bitwise_or(other, self)

    def __xor__(self, other):
        return ops.bitwise_xor(self, other)

    def __rxor__(self, other):
        return ops.bitwise_xor(other, self)

    def __iadd__(self, other):
        return _add.into(self, other)

    def __isub__(self, other):
        return _sub.into(self, other)

    def __imul__(self, other):
        return _mul.into(self, other)

    def __itruediv__(self, other):
        return _div.into(self, other)

    # ---- comparison ----
    def __eq__(self, other):
        return ops.eq(self, other)

    def __ne__(self, other):
        return ops.ne(self, other)

    def __lt__(self, other):
        return ops.lt(self, other)

    def __le__(self, other):
        return ops.le(self, other)

    def __gt__(self, other):
        return ops.gt(self, other)

    def __ge__(self, other):
        return ops.ge(self, other)

    # ---- Python's view of a tensor ----
    def __getitem__(self, index):
        return ops.getitem(self, index)

    def __setitem__(self, index, value):
        ops.setitem(self, index, value)

    def __iter__(self):
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(ops.unbind(self, 0))

    def __contains__(self, value):
        return bool(core.as_numpy(core.move(self, "cpu") == value).any())

    def __bool__(self):
        if self.numel() != 1:
            raise RuntimeError(
                "Boolean value of Tensor with "
                + ("more than one value" if self.numel() else "no values")
                + " is ambiguous"
            )
        return bool(self.item())

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __index__(self):
        if self.dtype.is_floating_point:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __array__(self, dtype=None, copy=None):
        a = self.numpy()
        return a.astype(dtype) if dtype is not None and a.dtype != dtype else a.copy() if copy else a

    def __repr__(self):
        return _describe(self)

    def __format__(self, spec):
        return format(self.item(), spec) if self.ndim == 0 and spec else repr(self)

    def __deepcopy__(self, memo):
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol "
                "at the moment; detach() it first"
            )
        if id(self) not in memo:
            new = core.new_of_class(type(self), core.copy(self))
            core.set_requires_grad(new, self.requires_grad)
            new.grad = _copy.deepcopy(self.grad, memo)
            memo[id(self)] = new
        return memo[id(self)]

    def __reduce_ex__(self, protocol):
        bits = core.as_numpy(core.contiguous(core.move(core.detach(self), "cpu")))
        return _rebuild, (type(self), bits, self.dtype, self.requires_grad and self.is_leaf)

    # ---- the graph ----
    def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None):
        """Accumulate the gradients of this tensor into ``.grad`` of the leaves it was computed from.

        Parameters
        ----------
        gradient : Tensor of this tensor's shape and dtype; may be left out for one element (then 1)
        retain_graph : keep the saved tensors so that backward can run again
        create_graph : not supported (NotImplementedError)
        inputs : accumulate into these leaves only
        """
        core.backward(self, gradient, retain_graph, create_graph, inputs)

    def requires_grad_(self, requires_grad=True):
        """Set whether operations on this leaf are recorded; returns the tensor."""
        return core.set_requires_grad(self, requires_grad)

    def detach(self):
        """The same memory outside the graph."""
        return core.detach(self)

    def detach_(self):
        """Take this tensor out of its graph."""
        return core.detach_(self)

    def register_hook(self, hook):
        """Call ``hook(grad)`` when this tensor's gradient is computed; a tensor it returns replaces the gradient."""
        return core.register_hook(self, hook)

    def retain_grad(self):
        """Let a tensor that is not a leaf keep its gradient in ``.grad``."""
        if self.is_leaf:
            return
        import weakref

        held = weakref.ref(self)

        def keep(grad):
            x = held()
            if x is not None:
                x.grad = grad.clone() if x.grad is None else x.grad + grad

        core.register_hook(self, keep)

    @property
    def data(self):
        return core.detach(self)

    @data.setter
    def data(self, value):
        core.rebind(self, value)

    # ---- shape, dtype, device ----
    def size(self, dim=None):
        """The shape, or the size of one dimension."""
        return self.shape if dim is None else self.shape[dim]

    def nelement(self):
        return self.numel()

    @property
    def T(self):
        return ops.transpose(self, 0, 1) if self.ndim == 2 else ops.permute(self, tuple(reversed(range(self.ndim))))

    @property
    def mT(self):
        return ops.transpose(self, -2, -1)

    def is_floating_point(self):
        return self.dtype.is_floating_point

    def numpy(self, *, force=False):
        """A NumPy array that shares this tensor's memory.

        Raises
        ------
        RuntimeError
            If the tensor requires grad: use ``t.detach().numpy()``.
        TypeError
            If it is on a GPU (use ``.cpu()`` first) or bfloat16 (use ``.float()`` first).
        """
        if force:
            return core.shared_with_numpy(core.move(core.detach(self), "cpu"))
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        if self.dtype is core.bfloat16:
            raise TypeError("Got unsupported ScalarType BFloat16: convert with .float() first")
        return core.shared_with_numpy(self)

    def tolist(self):
        """Nested Python lists of numbers, or one number for a 0-d tensor."""
        x = core.move(core.detach(self), "cpu")
        return core.as_numpy(core.cast(x, core.float32) if x.dtype is core.bfloat16 else x).tolist()

    def type(self, dtype=None):
        """The dtype, or this tensor in another."""
        return self.dtype if dtype is None else ops.to(self, dtype=dtype)

    def type_as(self, other):
        return ops.to(self, other)

    def float(self):
        return core.to_dtype(self, core.float32)

    def double(self):
        return core.to_dtype(self, core.float64)

    def bfloat16(self):
        return core.to_dtype(self, core.bfloat16)

    def long(self):
        return core.to_dtype(self, core.int64)

    def int(self):
        return core.to_dtype(self, core.int32)

    def bool(self):
        return core.to_dtype(self, core.bool_)

    def cpu(self):
        return ops.to(self, device="cpu")

    def cuda(self, device=None):
        return ops.to(self, device="cuda")

    def new_tensor(self, data, *, dtype=None, device=None, requires_grad=False):
        return ops.tensor(data, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)

    def new_zeros(self, *size, dtype=None, device=None):
        return ops.zeros(*size, dtype=dtype or self.dtype, device=device or self.device)

    def new_ones(self, *size, dtype=None, device=None):
        return ops.ones(*size, dtype=dtype or self.dtype, device=device or self.device)

    def new_empty(self, *size, dtype=None, device=None):
        return ops.empty(*size, dtype=dtype or self.dtype, device=device or self.device)

    def new_full(self, size, fill_value, *, dtype=None, device=None):
        return ops.full(size, fill_value, dtype=dtype or self.dtype, device=device or self.device)

    def unfold(self, dimension, size, step):
        return ops.grids.unfold(self, dimension, size, step)

    unfold.__doc__ = ops.grids.unfold.__doc__

    # ---- in place ----
    def zero_(self):
        """Fill with zeros."""
        core.check_writable(self, "zero")
        return self.fill_(0)

    def fill_(self, value):
        """Fill with one value."""
        core.check_writable(self, "fill")
        core.detach_(self) if not self.is_leaf and core.is_grad_enabled() else None
        return core.fill_(self, value.item() if isinstance(value, Array) else value)

    def copy_(self, src, non_blocking=False):
        """Overwrite with the elements of `src`, broadcast and converted to this tensor's dtype and device."""
        core.check_writable(self, "copy")
        if core.is_grad_enabled() and (self.requires_grad or src.requires_grad):
            ops.setitem(self, (), src)
            return self
        src = core.move(core.cast(src, self.dtype), self.device)
        return core.copy_(self, src if src.shape == self.shape else core.detach(ops.expand(src, self.shape)))

    def add_(self, other, *, alpha=1):
        return _add.into(
            self, other if alpha == 1 else _mul(other, alpha) if isinstance(other, Array) else other * alpha
        )

    def sub_(self, other, *, alpha=1):
        return _sub.into(
            self, other if alpha == 1 else _mul(other, alpha) if isinstance(other, Array) else other * alpha
        )

    def mul_(self, other):
        return _mul.into(self, other)

    def div_(self, other):
        return _div.into(self, other)

    def pow_(self, exponent):
        return ops.elementwise._pow.into(self, exponent)

    def round_(self, *, decimals=0):
        return self.copy_(ops.round(self, decimals=decimals)) if decimals else ops.math._round.into(self)

    def clamp_(self, min=None, max=None):
        return self.copy_(ops.clamp(self, min, max))

    def lerp_(self, end, weight):
        return self.copy_(ops.lerp(self, end, weight))

    def addcmul_(self, tensor1, tensor2, *, value=1):
        return self.copy_(ops.addcmul(self, tensor1, tensor2, value=value))

    def addcdiv_(self, tensor1, tensor2, *, value=1):
        return self.copy_(ops.addcdiv(self, tensor1, tensor2, value=value))

    def masked_fill_(self, mask, value):
        return self.copy_(ops.masked_fill(self, mask, value))


def _method(name, function):
    def method(self, *args, **kwargs):
        return function(self, *args, **kwargs)

    method.__name__, method.__qualname__, method.__doc__ = name, f"Tensor.{name}", function.__doc__
    return method


def _in_place(name, op):
    def method(self, *args):
        return op.into(self, *args)

    method.__name__, method.__qualname__, method.__doc__ = (
        name,
        f"Tensor.{name}",
        f"`{op.__name__}` in place; returns the tensor.",
    )
    return method


# Functions of ops that take the tensor first are its methods of the same name.
METHODS = """
abs acos add addcdiv addcmul all allclose amax amin any argmax argmin argsort asin atan atan2 baddbmm bernoulli
bitwise_and bitwise_not bitwise_or bitwise_xor bmm ceil chunk clamp clip clone contiguous cos cosh count_nonzero
cumprod cumsum diag diagonal diff div dot eq equal erf erfc exp exp2 expand expand_as expm1 flatten flip floor
floor_divide fmod frac gather ge greater gt index_add index_select isclose isfinite isinf isnan kthvalue le lerp
less log log10 log1p log2 log_softmax logical_and logical_not logical_or logical_xor logsumexp lt masked_fill
masked_select matmul max maximum mean median min minimum mm movedim mul multinomial mv nan_to_num narrow ne neg
nonzero norm outer permute pow prod reciprocal relu remainder repeat repeat_interleave reshape reshape_as roll
round rsqrt scatter scatter_add select sigmoid sign sin sinh softmax sort split sqrt square squeeze std sub sum
swapaxes t take take_along_dim tan tanh tensor_split tile to topk transpose tril triu trunc unbind unflatten
unique unsqueeze var view view_as where
addbmm addmm addmv addr clamp_max clamp_min copysign cross cummax cummin deg2rad digamma dist erfinv float_power fmax
fmin heaviside hypot histc index_copy index_fill index_put isin kron lgamma logaddexp logaddexp2 logcumsumexp logit
masked_scatter nanmean nanmedian nanquantile nansum positive quantile rad2deg rot90 scatter_reduce select_scatter sgn
signbit slice_scatter trace vdot xlogy
""".split()
IN_PLACE = """
abs ceil cos elu exp expm1 floor frac hardtanh leaky_relu log log10 log1p log2 neg reciprocal relu rsqrt
selu sigmoid sign sin sqrt square tan tanh trunc
""".split()
RANDOM_IN_PLACE = "uniform_ normal_ bernoulli_ exponential_ random_".split()
INDEX_IN_PLACE = "scatter_ scatter_add_ index_add_ index_fill_ index_copy_ index_put_".split()

for _name in METHODS + RANDOM_IN_PLACE + INDEX_IN_PLACE:
    if hasattr(ops, _name) and _name not in vars(Tensor):
        setattr(Tensor, _name, _method(_name, getattr(ops, _name)))
for _name in IN_PLACE:
    if hasattr(ops, _name) and hasattr(getattr(ops, _name), "into"):
        setattr(Tensor, _name + "_", _in_place(_name + "_", getattr(ops, _name)))
core.set_tensor_class(Tensor)


def _rebuild(cls, bits, dtype, requires_grad):
    if dtype is core.bfloat16:  # widened exactly, narrowed exactly
        bits = (bits.astype(np.uint32) << 16).view(np.float32)
    x = core.cast(core.copy(core.from_numpy(bits)), dtype)
    return core.set_requires_grad(core.new_of_class(cls, x), requires_grad)


_print_options = {"precision": 4, "threshold": 1000, "edgeitems": 3, "max_line_width": 80}


def set_printoptions(**options):
    """How tensors print: precision, threshold, edgeitems, linewidth, as in NumPy."""
    if "linewidth" in options:
        options["max_line_width"] = options.pop("linewidth")
    unknown = set(options) - set(_print_options)
    if unknown:
        raise TypeError(f"set_printoptions: unknown option {sorted(unknown)[0]!r}; known: {', '.join(_print_options)}")
    _print_options.update(options)


def _describe(x):
    values = core.move(core.detach(x), "cpu")
    values = core.as_numpy(core.cast(values, core.float32) if values.dtype is core.bfloat16 else values)
    body = np.array2string(
        values,
        separator=", ",
        prefix="tensor(",
        floatmode="maxprec_equal" if builtins.bool(values.size) else "fixed",
        **_print_options,
    )
    notes = []
    if x.numel() == 0 and x.shape != (0,):
        notes.append(f"size={tuple(x.shape)}")
    if x.device.type != "cpu":
        notes.append(f"device='{x.device}'")
    if x.dtype not in (core.get_default_dtype(), core.int64, core.bool_) or (
        x.numel() == 0 and x.dtype is not core.get_default_dtype()
    ):
        notes.append(f"dtype={x.dtype!r}")
    if x.grad_fn is not None:
        notes.append(f"grad_fn={x.grad_fn!r}")
    elif x.requires_grad:
        notes.append("requires_grad=True")
    return f"tensor({', '.join([body, *notes])})"
