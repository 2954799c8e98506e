"""Losses with the reduction in the same pass: pointwise ones, and those of classes (cross_entropy, nll_loss)."""

from kernelgrad.core import (
    Function,
    as_strided,
    bfloat16,
    contiguous,
    empty,
    empty_like,
    float32,
    int64,
    kernel,
    no_grad,
    result_type,
    to_dtype,
    uint8,
)
from kernelgrad.core import cast as convert
from kernelgrad.core.losses import REDUCTIONS, CrossEntropy, NLLLoss, PointwiseLoss
from kernelgrad.core.views import expand
from kernelgrad.ops.layouts import as_block, check_tensor, like, viewed

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "huber_loss", "kl_div", "l1_loss",
    "mse_loss",    "nll_loss", "smooth_l1_loss",
]  # fmt: skip

NONE = 0


def read_reduction(reduction, size_average=None, reduce=None):
    """0, 1 or 2. PyTorch's old flags win over `reduction` where given."""
    if size_average is not None or reduce is not None:
        reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
    if reduction not in REDUCTIONS:
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return REDUCTIONS[reduction]


def common_dtype(name, input, target):
    """Both in float32 or float64 (the wider of the two); bfloat16 is computed in float32."""
    for label, x in (("input", input), ("target", target)):
        check_tensor(name, x, label)
    if input.dtype is target.dtype and input.dtype.is_floating_point and input.dtype is not bfloat16:
        return input, target
    dtype = result_type(input, target)
    if not dtype.is_floating_point:
        raise RuntimeError(
            f"{name}: expected floating-point tensors, got {input.dtype} and {target.dtype}; convert with .float()"
        )
    dtype = float32 if dtype is bfloat16 else dtype
    return to_dtype(input, dtype), to_dtype(target, dtype)


def broadcast_pair(name, input, target):
    if input.shape == target.shape:
        return input, target
    shape = broadcast_shape(name, input, target)
    return (x if x.shape == shape else expand(x, shape) for x in (input, target))


def broadcast_shape(name, *arrays):
    shape = []
    for x in arrays:
        sizes = [1] * (len(shape) - x.ndim) + list(x.shape)
        shape = [1] * (len(sizes) - len(shape)) + shape
        for d, size in enumerate(sizes):
            if size != 1 and shape[d] not in (1, size):
                shapes = " and ".join(str(tuple(a.shape)) for a in arrays)
                raise RuntimeError(
                    f"{name}: shapes {shapes} do not broadcast: sizes {shape[d]} and {size} differ in dimension {d}"
                )
            shape[d] = size if shape[d] == 1 else shape[d]
    return tuple(shape)


def same_shape(name, input, target):
    if input.shape != target.shape:
        raise ValueError(
            f"Using a target size ({tuple(target.shape)}) that is different to the input size ({tuple(input.shape)}) "
            "is deprecated. Please ensure they have the same size."
            if name == "binary_cross_entropy"
            else f"Target size ({tuple(target.shape)}) must be the same as input size ({tuple(input.shape)})"
        )


def spread_weight(name, weight, model, label="weight"):
    """A weight that broadcasts to the losses, as large as they are; it gets no gradient."""
    if weight is None:
        return None
    check_tensor(name, weight, label)
    if weight.requires_grad:
        raise NotImplementedError(f"{name}: gradients by {label} are not supported; detach() it")
    if broadcast_shape(name, model, weight) != tuple(model.shape):
        raise RuntimeError(f"{name}: {label} of shape {tuple(weight.shape)} does not broadcast to {tuple(model.shape)}")
    return expand(convert(weight, model.dtype), model.shape)


def _mse_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """``(input - target)^2``, its mean or its sum.

    Parameters
    ----------
    input, target : Tensor of floating dtypes, shapes that broadcast
    reduction : "mean", "sum" or "none"
    weight : Tensor that broadcasts to the losses; the mean then divides by its sum

    Returns
    -------
    A 0-d Tensor, or one of the broadcast shape for "none". Backward keeps both arguments; both may get gradients.

    Raises
    ------
    RuntimeError
        If shapes do not broadcast.
    ValueError
        For another `reduction`.
    """
    return _regression("mse_loss", input, target, size_average, reduce, reduction, weight)


def _l1_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """``|input - target|``, its mean or its sum; otherwise as `mse_loss`. The slope at 0 is 0."""
    return _regression("l1_loss", input, target, size_average, reduce, reduction, weight)


mse_loss, l1_loss = PointwiseLoss("mse_loss", general=_mse_loss), PointwiseLoss("l1_loss", general=_l1_loss)


def smooth_l1_loss(input, target, size_average=None, reduce=None, reduction="mean", beta=1.0):
    """``d^2 / (2 beta)`` where ``|d| < beta``, else ``|d| - beta / 2``; d = input - target. Otherwise as `mse_loss`."""
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta, got {beta}.")
    if beta == 0:
        return l1_loss(input, target, size_average, reduce, reduction)
    return _regression("smooth_l1_loss", input, target, size_average, reduce, reduction, None, (float(beta),))


def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """``d^2 / 2`` where ``|d| < delta``, else ``delta (|d| - delta / 2)``; d = input - target.

    Otherwise as `mse_loss`.
    """
    if delta <= 0:
        raise RuntimeError(f"huber_loss does not support non-positive values for delta, got {delta}.")
    return _regression("huber_loss", input, target, None, None, reduction, weight, (float(delta),))


def _regression(name, input, target, size_average, reduce, reduction, weight, scalars=()):
    mode = read_reduction(reduction, size_average, reduce)
    input, target = broadcast_pair(name, *common_dtype(name, input, target))
    if weight is None:
        return LOSSES[name].run(input, target, mode, (), (), scalars)
    from kernelgrad.ops.elementwise import div, mul
    from kernelgrad.ops.reduction import sum

    weight = expand(weight, input.shape)
    losses = mul(LOSSES[name].run(input, target, NONE, (), (), scalars), weight)
    if mode == NONE:
        return losses
    return sum(losses) if mode == REDUCTIONS["sum"] else div(sum(losses), sum(weight))


def binary_cross_entropy(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    """``-(target log(input) + (1 - target) log(1 - input))``; the logarithms are not below -100.

    Parameters
    ----------
    input : Tensor of probabilities in [0, 1]
    target : Tensor of the same shape
    weight : Tensor that broadcasts to them: a factor of each loss

    Raises
    ------
    RuntimeError
        If an input lies outside [0, 1].
    ValueError
        If shapes differ.
    """
    mode = read_reduction(reduction, size_average, reduce)
    input, target = common_dtype("binary_cross_entropy", input, target)
    same_shape("binary_cross_entropy", input, target)
    check_probabilities(input=input, target=target)
    weight = spread_weight("binary_cross_entropy", weight, input)
    return LOSSES["binary_cross_entropy"].run(input, target, mode, (weight,), (weight is not None,))


def check_probabilities(**arrays):
    from kernelgrad.ops.reduction import amax, amin

    for label, x in arrays.items():
        if x.numel() == 0:
            continue
        with no_grad():
            least, most = amin(x).item(), amax(x).item()
        if least < 0 or most > 1:
            raise RuntimeError(
                f"binary_cross_entropy: all elements of {label} should be between 0 and 1, got {least:g} to {most:g}; "
                "apply sigmoid, or use binary_cross_entropy_with_logits"
            )


def binary_cross_entropy_with_logits(
    input, target, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None
):
    """Binary cross entropy of ``sigmoid(input)``, without overflow:
    ``(1 - target) input + (1 + (pos_weight - 1) target) log(1 + exp(-input))``.

    Parameters
    ----------
    input, target : Tensor of the same shape
    weight : Tensor that broadcasts to them: a factor of each loss
    pos_weight : Tensor that broadcasts to them: a factor of the positive part

    Raises
    ------
    ValueError
        If shapes differ.
    """
    name = "binary_cross_entropy_with_logits"
    mode = read_reduction(reduction, size_average, reduce)
    input, target = common_dtype(name, input, target)
    same_shape(name, input, target)
    weight, positive = spread_weight(name, weight, input), spread_weight(name, pos_weight, input, "pos_weight")
    return LOSSES[name].run(input, target, mode, (weight, positive), (weight is not None, positive is not None))


def kl_div(input, target, size_average=None, reduce=None, reduction="mean", log_target=False):
    """Kullback-Leibler divergence of log-probabilities `input` from `target`: ``target (log target - input)``.

    It is 0 where the target is 0. With log_target the target is given by its logarithm. The reduction "batchmean" is
    the sum over the batch size.
    """
    batch = reduction == "batchmean"
    mode = REDUCTIONS["sum"] if batch else read_reduction(reduction, size_average, reduce)
    input, target = broadcast_pair("kl_div", *common_dtype("kl_div", input, target))
    out = LOSSES["kl_div"].run(input, target, mode, (), (bool(log_target),))
    if batch and input.ndim:
        from kernelgrad.ops.elementwise import div

        return div(out, float(input.shape[0]))
    return out


LOSSES = {"mse_loss": mse_loss, "l1_loss": l1_loss}
for _general in (smooth_l1_loss, huber_loss):
    LOSSES[_general.__name__] = PointwiseLoss(_general.__name__, general=_general)
for _signed in (binary_cross_entropy, binary_cross_entropy_with_logits, kl_div):
    LOSSES[_signed.__name__] = PointwiseLoss(_signed.__name__, symmetric=False, general=_signed)


# ---- Classes ----

cross_entropy_soft_forward = kernel("cross_entropy_soft_forward")
cross_entropy_soft_backward = kernel("cross_entropy_soft_backward")


def class_block(x):
    """(x without gaps, its memory as (outer, classes, inner), whether that is NHWC), for (N, C, d...) or (C,)."""
    if x.ndim == 1:
        return contiguous(x), (1, x.shape[0], 1), False
    n, classes = x.shape[:2]
    rest = x.numel() // (n * classes) if x.numel() else 0
    if x.is_channels_last() and not x.is_contiguous():
        return x, (n * rest, classes, 1), True
    return contiguous(x), (n, classes, rest), False


def by_row(x, nhwc, block):
    """Targets, or gradients of single losses, (N, d...), as (outer, inner) in the order of the logits' memory."""
    x = contiguous(x)  # (N, d...) in C order is the order of rows in both layouts: classes alone change their place
    return as_strided(x, (block[0], block[2]), (block[2], 1))


def loss_output(shape, reduction, x, block):
    """(losses for the caller, the same memory as the kernel takes it)"""
    if reduction == NONE:
        out = empty(shape, x.dtype, x.device)
        return out, as_strided(out, (block[0], block[2]), (block[2], 1))
    out = empty((), x.dtype, x.device)
    return out, out


class CrossEntropySoft(Function):
    """Cross entropy against probabilities; keeps logits, targets and the log-sum-exp of each row."""

    @staticmethod
    def forward(ctx, x, target, weight, reduction, smoothing):
        x, block, nhwc = class_block(x)
        target = like(target, x)
        outer, classes, inner = block
        lse = empty((outer, inner), x.dtype, x.device)
        out, kernel_out = loss_output(x.shape[:1] + x.shape[2:] if x.ndim > 1 else (), reduction, x, block)
        ctx.sizes = (outer * inner, classes, inner, reduction, weight is not None)
        cross_entropy_soft_forward(
            (as_block(x, *block), as_block(target, *block), weight, lse, kernel_out), ctx.sizes, (smoothing,)
        )
        ctx.save_for_backward(x, target, weight, lse)
        ctx.block, ctx.nhwc, ctx.smoothing = block, nhwc, smoothing
        return out

    @staticmethod
    def backward(ctx, grad_out):
        x, target, weight, lse = ctx.saved_tensors
        block, grad_x = ctx.block, empty_like(x)
        grad_out = by_row(grad_out, ctx.nhwc, block) if ctx.sizes[3] == NONE else grad_out
        arrays = (as_block(x, *block), as_block(target, *block), weight, lse, grad_out, as_block(grad_x, *block))
        cross_entropy_soft_backward(arrays, ctx.sizes, (ctx.smoothing,))
        return grad_x, None, None, None, None


def check_classes(name, input, target, weight):
    """Shapes (N, C, d...) with (N, d...), or (C,) with (); class weights of shape (C,). Returns the class weights."""
    check_tensor(name, input)
    check_tensor(name, target, "target")
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"{name}: expected a floating-point input, got {input.dtype}; convert with .float()")
    if input.ndim == 0:
        raise ValueError(f"{name}: expected an input of shape (C,), (N, C) or (N, C, d1, ...), got a 0-d tensor")
    classes = input.shape[0 if input.ndim == 1 else 1]
    if weight is not None:
        check_tensor(name, weight, "weight")
        if weight.shape != (classes,):
            raise RuntimeError(
                f"{name}: weight tensor should be defined either for all {classes} classes or no classes but got "
                f"weight tensor of shape: {list(weight.shape)}"
            )
        if weight.requires_grad:
            raise NotImplementedError(f"{name}: gradients by weight are not supported; detach() it")
        weight = contiguous(convert(weight, input.dtype))
    return weight


def check_indices(name, input, target):
    expected = () if input.ndim == 1 else tuple(input.shape[:1] + input.shape[2:])
    if tuple(target.shape) != expected:
        if input.ndim == target.ndim + 1 and input.ndim > 1 and input.shape[0] != target.shape[0]:
            raise ValueError(
                f"Expected input batch_size ({input.shape[0]}) to match target batch_size ({target.shape[0]})."
            )
        raise RuntimeError(
            f"{name}: expected target of shape {expected} for input of shape {tuple(input.shape)}, "
            f"got {tuple(target.shape)}"
        )
    if target.dtype is uint8:
        return convert(target, int64)
    if target.dtype is not int64:
        raise RuntimeError(
            f"{name}: expected target of dtype int64 (class indices), got {target.dtype}; convert with .long()"
        )
    return target


def _cross_entropy(
    input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean", label_smoothing=0.0
):
    """Cross entropy of ``softmax(input)`` against classes or probabilities.

    For classes ``-w[t] log softmax(input)[t]``; "mean" divides by the sum of the weights of the targets.
    For probabilities ``-sum_c w[c] target[c] log softmax(input)[c]``; "mean" divides by the number of rows.

    Parameters
    ----------
    input : logits of shape (C,), (N, C) or (N, C, d1, ...), any layout
    target : int64 classes of shape (), (N,) or (N, d1, ...), or probabilities of input's shape
    weight : class weights of shape (C,), or None
    ignore_index : a class whose rows count for nothing
    label_smoothing : in [0, 1]; share of the target that is spread evenly over the classes

    Returns
    -------
    A 0-d Tensor, or one of the shape of the classes for "none". Backward keeps the logits and one number for each row.

    Raises
    ------
    IndexError
        If a target is no class (and not ignore_index).
    RuntimeError, ValueError
        If shapes or dtypes do not match, or label_smoothing is outside [0, 1].
    """
    mode = read_reduction(reduction, size_average, reduce)
    weight = check_classes("cross_entropy", input, target, weight)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if input.dtype is bfloat16:
        input = to_dtype(input, float32)
        weight = None if weight is None else convert(weight, float32)
    if target.dtype.is_floating_point:
        if target.shape != input.shape:
            raise RuntimeError(
                "cross_entropy: expected a target of class probabilities (floating-point) to have the input's shape "
                f"{tuple(input.shape)}, got {tuple(target.shape)}; class indices are int64"
            )
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        if target.requires_grad:
            return soft_by_composition(input, target, weight, mode, label_smoothing)
        return CrossEntropySoft.apply(input, convert(target, input.dtype), weight, mode, float(label_smoothing))
    target = check_indices("cross_entropy", input, target)
    x, block, nhwc = class_block(input)
    if x is not input and input.requires_grad:
        from kernelgrad.core.views import contiguous as recorded

        x = recorded(input)
    return cross_entropy.run(x, contiguous(target), weight, *block, mode, ignore_index, label_smoothing)


cross_entropy = CrossEntropy(_cross_entropy)


def soft_by_composition(input, target, weight, mode, smoothing):
    """Cross entropy against probabilities that want a gradient of their own."""
    from kernelgrad.ops.elementwise import add, div, mul
    from kernelgrad.ops.reduction import sum
    from kernelgrad.ops.softmax import log_softmax

    dim = 0 if input.ndim == 1 else 1
    classes = input.shape[dim]
    wanted = add(mul(to_dtype(target, input.dtype), 1.0 - smoothing), smoothing / classes)
    if weight is not None:
        wanted = mul(wanted, viewed(weight, (classes,) + (1,) * (input.ndim - dim - 1)))
    losses = mul(sum(mul(log_softmax(input, dim), wanted), dim), -1.0)
    if mode == NONE:
        return losses
    total = sum(losses)
    return total if mode == REDUCTIONS["sum"] else div(total, float(losses.numel()))


def _nll_loss(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
    """``-w[t] input[t]`` of log-probabilities; shapes, weights, reduction and errors as for `cross_entropy`."""
    mode = read_reduction(reduction, size_average, reduce)
    weight = check_classes("nll_loss", input, target, weight)
    if input.dtype is bfloat16:
        input = to_dtype(input, float32)
        weight = None if weight is None else convert(weight, float32)
    target = check_indices("nll_loss", input, target)
    x, block, nhwc = class_block(input)
    if x is not input and input.requires_grad:
        from kernelgrad.core.views import contiguous as recorded

        x = recorded(input)
    return nll_loss.run(x, contiguous(target), weight, *block, mode, ignore_index)


nll_loss = NLLLoss(_nll_loss)
