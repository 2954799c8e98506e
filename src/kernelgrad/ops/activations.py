"""Activations, elementwise. `nn.functional` puts `inplace` on top; the layers are in `nn`."""

from kernelgrad.core import INPUT, OUTPUT, Unary

_DOC = """{formula}, elementwise.

    Parameters
    ----------
    input : Tensor of shape (*), float32 or float64, any layout, on any device{scalars}

    Returns
    -------
    Same shape, dtype, layout and device as `input`; a new array. Backward keeps {kept} alive, nothing else.

    Raises
    ------
    TypeError
        If `input` is of an integer or boolean dtype{but}.{reference}
    """


def _op(name, saves, formula, scalars=(), notes="", reference="", integers="raise"):
    """A declaration. `scalars` are (name, default); `notes` describe them, a line each."""
    described = "".join(f"\n    {line}" for line in notes.splitlines())
    source = f"\n\n    References\n    ----------\n    {reference}" if reference else ""
    doc = _DOC.format(
        formula=formula,
        scalars=described,
        kept="the result" if saves == OUTPUT else "`input`",
        but=""
        if integers == "raise"
        else ": never, " + {"keep": "they keep it", "float": "they become float"}[integers],
        reference=source,
    )
    return Unary(name, saves=saves, scalars=scalars, integers=integers, doc=doc)


relu = _op("relu", OUTPUT, "``max(x, 0)``; slope 0 at 0", integers="keep")
leaky_relu = _op(
    "leaky_relu",
    INPUT,
    "``x`` above 0, ``negative_slope * x`` elsewhere",
    (("negative_slope", 0.01),),
    "negative_slope : float",
)
threshold = _op(
    "threshold",
    INPUT,
    "``x`` above `threshold`, `value` elsewhere",
    (("threshold", 0.0), ("value", 0.0)),
    "threshold, value : float",
    integers="keep",
)
hardtanh = _op(
    "hardtanh",
    OUTPUT,
    "``min(max(x, min_val), max_val)``; slope 0 at the bounds",
    (("min_val", -1.0), ("max_val", 1.0)),
    "min_val, max_val : float",
    integers="keep",
)
relu6 = _op("relu6", OUTPUT, "``min(max(x, 0), 6)``; slope 0 at the bounds", integers="keep")
hardsigmoid = _op(
    "hardsigmoid",
    INPUT,
    "``min(max(x + 3, 0), 6) / 6``",
    reference="Howard et al. (2019), https://arxiv.org/abs/1905.02244",
)
hardswish = _op(
    "hardswish",
    INPUT,
    "``x * hardsigmoid(x)``; 0 at -inf",
    reference="Howard et al. (2019), https://arxiv.org/abs/1905.02244",
)
hardshrink = _op(
    "hardshrink", INPUT, "``x`` where ``|x| > lambd``, 0 elsewhere", (("lambd", 0.5),), "lambd : float, not negative"
)
softshrink = _op(
    "softshrink",
    INPUT,
    "``x`` drawn towards 0 by `lambd`, 0 where that would cross it",
    (("lambd", 0.5),),
    "lambd : float, not negative",
)
elu = _op(
    "elu",
    INPUT,
    "``x`` above 0, ``alpha * (exp(x) - 1)`` elsewhere",
    (("alpha", 1.0),),
    "alpha : float",
    "Clevert, Unterthiner & Hochreiter (2016), https://arxiv.org/abs/1511.07289",
)
celu = _op(
    "celu",
    INPUT,
    "``x`` above 0, ``alpha * (exp(x / alpha) - 1)`` elsewhere",
    (("alpha", 1.0),),
    "alpha : float, not 0",
    "Barron (2017), https://arxiv.org/abs/1704.07483",
)
selu = _op(
    "selu",
    INPUT,
    "``scale * x`` above 0, ``scale * alpha * (exp(x) - 1)`` elsewhere, scale 1.0507 and alpha 1.6733",
    reference="Klambauer et al. (2017), https://arxiv.org/abs/1706.02515",
)
sigmoid = _op("sigmoid", OUTPUT, "``1 / (1 + exp(-x))``", integers="float")
tanh = _op("tanh", OUTPUT, "The hyperbolic tangent", integers="float")
tanhshrink = _op("tanhshrink", INPUT, "``x - tanh(x)``, exact near 0", integers="float")
logsigmoid = _op("logsigmoid", INPUT, "``log(sigmoid(x))``, without underflow")
softplus = _op(
    "softplus",
    INPUT,
    "``log(1 + exp(beta * x)) / beta``, and ``x`` where ``beta * x > threshold``",
    (("beta", 1.0), ("threshold", 20.0)),
    "beta : float, not 0\nthreshold : float",
    "Dugas et al. (2001), Incorporating second-order functional knowledge for better option pricing, NIPS 13",
)
softsign = _op("softsign", INPUT, "``x / (1 + |x|)``; 1 and -1 at the infinities", integers="float")
silu = _op(
    "silu",
    INPUT,
    "Sigmoid linear unit, ``x * sigmoid(x)``; 0 at -inf",
    reference="Elfwing, Uchibe & Doya (2018), https://doi.org/10.1016/j.neunet.2017.12.012",
)
mish = _op(
    "mish",
    INPUT,
    "``x * tanh(log(1 + exp(x)))``; 0 at -inf",
    reference="Misra (2019), https://arxiv.org/abs/1908.08681",
)
_gelu = _op(
    "gelu",
    INPUT,
    "Gaussian error linear unit: x times the normal distribution function of x; 0 at -inf",
    notes="approximate : 'none', or 'tanh' for ``x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2``",
    reference="Hendrycks & Gimpel (2016), https://arxiv.org/abs/1606.08415",
)
_gelu_tanh = _op("gelu_tanh", INPUT, "``x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2``; 0 at -inf")


def gelu(input, approximate="none"):
    if approximate == "none":
        return _gelu(input)
    if approximate == "tanh":
        return _gelu_tanh(input)
    raise RuntimeError(f"gelu: approximate argument must be either none or tanh, got {approximate!r}")


gelu.__doc__ = _gelu.__doc__
