"""Convolutions. Axes: N batch, C channels in, K channels out, H W space; shapes are NCHW, memory is NHWC.

The first convolution of a network converts its input to NHWC memory ("channels_last" strides); what follows keeps it.
Weights keep PyTorch's layout (K, C / groups, kh, kw) and are packed or transformed inside the kernels.
"""

from functools import lru_cache

from kernelgrad.core import Array, float32, float64
from kernelgrad.core.convolutions import ConvPlan, KnownPlans, convolution
from kernelgrad.core.views import squeeze, unsqueeze

__all__ = [
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "get_conv_precision", "set_conv_precision",
]  # fmt: skip

AUTO, DIRECT = 0, 1
NONE, RELU = 0, 1
method = AUTO
latest = KnownPlans()


def set_conv_precision(precision):
    """Choose how 3x3 convolutions in float32 round.

    ``"default"``: Winograd F(4x4, 3x3) where it pays, 2-3 times as fast, with 2-6 times the rounding error of a plain
    sum (relative L2 error up to 2e-6). ``"high"``: every convolution is a plain sum of products.
    """
    global method
    if precision not in ("default", "high"):
        raise ValueError(f"set_conv_precision: expected 'default' or 'high', got {precision!r}")
    method = AUTO if precision == "default" else DIRECT


def get_conv_precision():
    """The precision in use: "default" or "high"."""
    return "default" if method == AUTO else "high"


def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """2-d cross-correlation, s = stride, p = padding, d = dilation::

        out[n, k, y, x] = bias[k] + sum over c, i, j of input[n, c, y s + i d - p, x s + j d - p] weight[k, c, i, j]

    Parameters
    ----------
    input : Tensor of shape (N, C, H, W) or (C, H, W), float32 or float64, any memory layout (NHWC is used as it is)
    weight : Tensor of shape (K, C / groups, kh, kw)
    bias : Tensor of shape (K,), optional
    stride, dilation : int or pair of ints
    padding : int, pair of ints, "valid" (none) or "same" (output as large as input; stride 1 only)
    groups : int; channels in and out are cut into this many independent convolutions

    Returns
    -------
    Tensor of shape (N, K, OH, OW) or (K, OH, OW) in NHWC memory, OH = (H + 2 p - d (kh - 1) - 1) // s + 1; a new array.
    Backward keeps `input` (in NHWC memory) if `weight` wants a gradient, and `weight` if `input` wants one.

    Raises
    ------
    RuntimeError
        If shapes, dtypes or devices do not fit together, or stride, dilation, padding or groups are out of range.

    References
    ----------
    Winograd for 3x3: Lavin & Gray (2015), https://arxiv.org/abs/1509.09308; see `set_conv_precision`.
    """
    return convolve("conv2d", input, weight, bias, stride, padding, dilation, groups)


def conv_activation(op, input, weight, bias, stride, padding, dilation, groups, activation):
    """`op` ("conv1d" or "conv2d") followed by "relu", or by nothing (None), in one pass."""
    code = RELU if activation == "relu" else NONE
    return convolve(op, input, weight, bias, stride, padding, dilation, groups, code)


def conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """1-d cross-correlation: `conv2d` with H = 1. input (N, C, L) or (C, L), weight (K, C / groups, k)."""
    return convolve("conv1d", input, weight, bias, stride, padding, dilation, groups)


def conv3d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Not supported: raises NotImplementedError."""
    raise NotImplementedError("conv3d: kernelgrad has convolutions in one and two dimensions only")


def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """2-d transposed convolution: the gradient of `conv2d` with respect to its input, as a function of its own.

    Parameters
    ----------
    input : Tensor of shape (N, C, H, W) or (C, H, W), float32 or float64
    weight : Tensor of shape (C, K / groups, kh, kw)
    bias : Tensor of shape (K,), optional
    stride, padding, dilation : int or pair of ints; those of the convolution that is transposed
    output_padding : int or pair of ints; added to the size of one side of the output, less than stride or dilation
    groups : int

    Returns
    -------
    Tensor of shape (N, K, OH, OW) or (K, OH, OW), OH = (H - 1) s - 2 p + d (kh - 1) + output_padding + 1, in NHWC
    memory. Backward keeps `input` if `weight` wants a gradient, and `weight` if `input` wants one.

    Raises
    ------
    RuntimeError
        As `conv2d`, and where output_padding is not smaller than stride or dilation.

    References
    ----------
    Zeiler et al. (2010), Deconvolutional networks, https://doi.org/10.1109/CVPR.2010.5539957
    """
    return transpose("conv_transpose2d", input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose1d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """1-d transposed convolution. input (N, C, L) or (C, L), weight (C, K / groups, k). See `conv_transpose2d`."""
    return transpose("conv_transpose1d", input, weight, bias, stride, padding, output_padding, groups, dilation)


# ---- Checks, and the way from one dimension to two. What depends on shapes alone is worked out once for each. ----


def convolve(op, x, weight, bias, stride, padding, dilation, groups, activation=NONE):
    plan = latest.find(op, x, weight, bias, stride, padding, dilation, groups)
    if plan is None:
        check_types(op, x, weight, bias)
        options = (hashable(stride), hashable(padding), hashable(dilation), groups)
        plan = plan_convolution(op, x.shape, weight.shape, None if bias is None else bias.shape, *options)
        latest.keep(op, x, weight, bias, *options, plan)
    return run(x, weight, bias, plan, activation)


def transpose(op, x, weight, bias, stride, padding, output_padding, groups, dilation):
    check_types(op, x, weight, bias)
    options = (hashable(stride), hashable(padding), hashable(output_padding), groups, hashable(dilation))
    plan = plan_transposed(op, x.shape, weight.shape, None if bias is None else bias.shape, *options)
    return run(x, weight, bias, plan, NONE)


def run(x, weight, bias, plan, activation):
    """The compiled caller is for batches in two dimensions: others pass through views."""
    dims, batched = plan.dims, plan.batched
    if dims == 2 and batched:
        return convolution(x, weight, bias, plan, activation, method)
    if not batched:
        x = unsqueeze(x, 0)
    if dims == 1:
        x, weight = unsqueeze(x, 2), unsqueeze(weight, 2)
    y = convolution(x, weight, bias, plan, activation, method)
    if dims == 1:
        y = squeeze(y, 2)
    return y if batched else squeeze(y, 0)


def check_types(op, input, weight, bias):
    for name, array in (("input", input), ("weight", weight), ("bias", bias)):
        if array is None and name == "bias":
            continue
        if not isinstance(array, Array):
            raise TypeError(f"{op}: expected {name} to be a Tensor, got {type(array).__name__}")
        if array.dtype is not input.dtype:
            raise RuntimeError(
                f"{op}: input type ({input.dtype}) and {name} type ({array.dtype}) should be the same; "
                "convert one with .to()"
            )
    if input.dtype is not float32 and input.dtype is not float64:
        raise NotImplementedError(f"{op}: only float32 and float64 are supported, got {input.dtype}; use .float()")


def hashable(value):
    return tuple(value) if isinstance(value, list) else value


def numbers(op, name, value, dims, least):
    """`value` as a list of `dims` ints of at least `least`."""
    values = list(value) if isinstance(value, tuple) else [value] * dims
    if len(values) == 1:
        values *= dims
    if len(values) != dims or not all(hasattr(v, "__index__") for v in values):
        kind = RuntimeError if len(values) != dims else TypeError
        raise kind(f"{op}: expected {name} to be {'an int' if dims == 1 else f'an int or {dims} ints'}, got {value!r}")
    values = [v.__index__() for v in values]
    if min(values) < least:
        kind = "negative" if least == 0 else "non-positive"
        raise RuntimeError(f"{op}: {kind} {name} is not supported, got {name}={value!r}; expected at least {least}")
    return values


def check_shapes(op, shape, size, bias, groups, dims, transposed):
    """What `conv2d` and its relatives ask of shapes (`size`: of the weight); returns whether the input is a batch."""
    batched = len(shape) == dims + 2
    if not batched and len(shape) != dims + 1:
        raise RuntimeError(
            f"Expected {dims + 1}D (unbatched) or {dims + 2}D (batched) input to {op}, "
            f"but got input of size: {list(shape)}"
        )
    if len(size) != dims + 2:
        layout = "in channels, out channels / groups" if transposed else "out channels, in channels / groups"
        raise RuntimeError(
            f"{op}: expected weight with {dims + 2} dimensions ({layout}, kernel), got weight of size {list(size)}"
        )
    if isinstance(groups, bool) or not hasattr(groups, "__index__") or groups.__index__() <= 0:
        raise RuntimeError(f"{op}: non-positive groups is not supported, got groups={groups!r}")
    given = f"Given {'transposed=1, ' if transposed else ''}groups={groups}, weight of size {list(size)}"
    channels, wanted = shape[-dims - 1], size[0] if transposed else size[1] * groups
    if channels != wanted:
        raise RuntimeError(
            f"{op}: {given}, expected input{list(shape)} to have {wanted} channels, but got {channels} channels instead"
        )
    if size[0] % groups or size[0] < groups:
        raise RuntimeError(
            f"{op}: Given groups={groups}, expected weight to be at least {groups} at dimension 0 and divisible by "
            f"groups there, but got weight of size {list(size)} instead"
        )
    outs = size[1] * groups if transposed else size[0]
    if bias is not None and bias != (outs,):
        raise RuntimeError(
            f"{op}: {given}, expected bias to be 1-dimensional with {outs} elements, "
            f"but got bias of size {list(bias)} instead"
        )
    if 0 in size:
        raise RuntimeError(f"{op}: weight of size {list(size)} is empty; expected at least one channel and one tap")
    return batched


def planned(dims, batched, transposed, shape, weight_size, out, stride, padding, dilation, groups):
    """The plan of a call. One dimension has a height of 1; a transposed convolution has the sizes of the one whose
    backward-data pass it is, so what it returns stands where that one has its input."""
    n, size, kernel_size = shape[0] if batched else 1, list(shape[-dims:]), list(weight_size[2:])
    if dims == 1:
        size, kernel_size, out = [1, *size], [1, *kernel_size], [1, *out]
        stride, padding, dilation = [1, *stride], [0, *padding], [1, *dilation]
    source, result = (out, size) if transposed else (size, out)
    sizes = (
        n,
        *source,
        weight_size[1] * groups,
        weight_size[0],
        *kernel_size,
        *result,
        *stride,
        *padding,
        *dilation,
        groups,
    )
    return ConvPlan(dims, batched, transposed, sizes)


@lru_cache(maxsize=1024, typed=True)
def plan_convolution(op, shape, weight_size, bias, stride, padding, dilation, groups):
    """What a call of conv1d or conv2d comes to, by its shapes and options."""
    dims = 1 if op == "conv1d" else 2
    batched = check_shapes(op, shape, weight_size, bias, groups, dims, False)
    stride, dilation = numbers(op, "stride", stride, dims, 1), numbers(op, "dilation", dilation, dims, 1)
    size, kernel_size = shape[-dims:], weight_size[2:]
    reach = [d * (k - 1) for d, k in zip(dilation, kernel_size, strict=True)]
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise RuntimeError(f"{op}: Invalid padding string: {padding!r}; expected 'same' or 'valid'")
        if padding == "same" and max(stride) > 1:
            raise RuntimeError(
                f"{op}: padding='same' is not supported for strided convolutions, got stride={tuple(stride)}"
            )
        both = reach if padding == "same" else [0] * dims  # the odd pixel of "same" goes to the end
        before = [r // 2 for r in both]
    else:
        before = numbers(op, "padding", padding, dims, 0)
        both = [2 * p for p in before]
    if any(n + p < r + 1 for n, p, r in zip(size, both, reach, strict=True)):
        padded = " x ".join(str(n + p) for n, p in zip(size, both, strict=True))
        taps = " x ".join(str(r + 1) for r in reach)
        raise RuntimeError(
            f"{op}: Calculated padded input size per channel: ({padded}). Kernel size: ({taps}). "
            "Kernel size can't be greater than actual input size"
        )
    out = [(n + p - r - 1) // s + 1 for n, p, r, s in zip(size, both, reach, stride, strict=True)]
    return planned(dims, batched, False, shape, weight_size, out, stride, before, dilation, groups)


@lru_cache(maxsize=1024, typed=True)
def plan_transposed(op, shape, weight_size, bias, stride, padding, output_padding, groups, dilation):
    """What a call of conv_transpose1d or conv_transpose2d comes to."""
    dims = 1 if op == "conv_transpose1d" else 2
    batched = check_shapes(op, shape, weight_size, bias, groups, dims, True)
    stride, dilation = numbers(op, "stride", stride, dims, 1), numbers(op, "dilation", dilation, dims, 1)
    padding, extra = numbers(op, "padding", padding, dims, 0), numbers(op, "output_padding", output_padding, dims, 0)
    if any(e >= s and e >= d for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise RuntimeError(
            f"{op}: output padding must be smaller than either stride or dilation, but got "
            f"output_padding={tuple(extra)}, stride={tuple(stride)}, dilation={tuple(dilation)}"
        )
    axes = zip(shape[-dims:], stride, padding, dilation, weight_size[2:], extra, strict=True)
    out = [(n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, s, p, d, k, e in axes]
    if min(out) < 1:
        raise RuntimeError(
            f"{op}: Given input size per channel: {list(shape[-dims:])}. Calculated output size per channel: {out}. "
            "Output size is too small; use less padding"
        )
    return planned(dims, batched, True, shape, weight_size, out, stride, padding, dilation, groups)
