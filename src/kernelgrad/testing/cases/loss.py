"""Cases of losses: every reduction, weights, classes in rows and in images."""

import numpy as np

import kernelgrad as kg
from kernelgrad import ops
from kernelgrad.testing.case import OpCase

SHAPES = [(1,), (15,), (16,), (17,), (3, 129), (2, 3, 4, 5), (9000,)]
REDUCTIONS = [{"reduction": r} for r in ("mean", "sum", "none")]


def _pair(rng, shape):
    return rng.standard_normal(shape) * 2, rng.standard_normal(shape)


def _apart(rng, shape):
    """Differences away from 0 and from the knees at 1/2 and 1, where slopes jump."""
    y = rng.standard_normal(shape)
    return y + rng.choice([0.2, 0.75, 2.0], shape) * rng.choice([-1, 1], shape), y


def _probabilities(rng, shape):
    return rng.uniform(0.05, 0.95, shape), rng.uniform(0.05, 0.95, shape)


def _logits(rng, shape):
    return rng.standard_normal(shape) * 3, rng.uniform(0, 1, shape)


def _log_probabilities(rng, shape):
    return -np.abs(rng.standard_normal(shape)) - 0.1, rng.uniform(0.05, 0.95, shape)


def _pointwise(name, make, kwargs=REDUCTIONS, target=None, **options):
    slopes = (f"{name}_backward",) if target is None else (f"{name}_backward", f"{name}_backward_target")
    return OpCase(
        options.pop("label", name),
        getattr(ops, name),
        torch=options.pop("torch", f"nn.functional.{name}"),
        shapes=options.pop("shapes", SHAPES),
        make=make,
        kwargs=kwargs,
        grad=(0, 1),
        kernels=(f"{name}_forward", *slopes),
        bench=[(256, 1024), (4096, 4096)],
        **options,
    )


CLASSES = [(1, 3), (5, 10), (4, 17), (3, 2500), (2, 5, 7), (2, 6, 3, 4), (3, 20, 9, 9)]


def _classes(ignored):
    """Logits and classes; every third target is ignored where asked."""

    def make(rng, shape):
        rows = shape[:1] + shape[2:] if len(shape) > 1 else ()
        target = np.asarray(rng.integers(0, shape[0 if len(shape) == 1 else 1], rows))
        if ignored and target.size > 3:
            target.reshape(-1)[::3] = -100
        return rng.standard_normal(shape) * 3, target

    return make


def _weighted(op):
    """The op with class weights made of the number of classes; for either library."""

    def of(x, target, **kwargs):
        classes = x.shape[0 if x.ndim == 1 else 1]
        weight = np.linspace(0.5, 2, classes).astype("float64" if "64" in str(x.dtype) else "float32")
        return op(x, target, weight=kg.tensor(weight, device=x.device), **kwargs)

    of.__name__ = op.__name__
    return of


def _class_case(name, op, kernel, ignored=False, kwargs=REDUCTIONS, torch=None, errors=()):
    return OpCase(
        name,
        op,
        torch=torch,
        shapes=CLASSES,
        make=_classes(ignored),
        kwargs=kwargs,
        kernels=(f"{kernel}_forward", f"{kernel}_backward"),
        bench=[(128, 10), (512, 32000)],
        touched=(lambda s: 4 * s[0]) if kernel == "nll_loss" else None,  # a logit, a target of two words, a result
        errors=list(errors),
        tolerance=2,
    )


def _soft(rng, shape):
    x = rng.standard_normal(shape) * 3
    p = rng.uniform(0, 1, shape)
    return x, p / p.sum(0 if len(shape) == 1 else 1, keepdims=True)


BAD = [
    (lambda: ops.cross_entropy(kg.ones(2, 3), kg.tensor([0, 3])), IndexError, "Target 3 is out of bounds"),
    (lambda: ops.cross_entropy(kg.ones(2, 3), kg.tensor([0, 1, 2])), ValueError, "match target batch_size"),
    (lambda: ops.cross_entropy(kg.ones(2, 3), kg.tensor([0, 1]), label_smoothing=2.0), RuntimeError, "label_smoothing"),
]
SMOOTHED = [{"reduction": r, "label_smoothing": 0.1} for r in ("mean", "none")]

CASES = [
    _pointwise(
        "mse_loss",
        _pair,
        shapes=[*SHAPES, (70000,)],
        errors=[
            (lambda: ops.mse_loss(kg.ones(2), kg.ones(3)), RuntimeError, r"\(2,\) and \(3,\) do not broadcast"),
            (
                lambda: ops.mse_loss(kg.ones(2), kg.ones(2), reduction="median"),
                ValueError,
                "not a valid value for reduction",
            ),
        ],
    ),
    _pointwise("l1_loss", _apart),
    _pointwise("smooth_l1_loss", _apart, [{"reduction": "mean"}, {"reduction": "none", "beta": 0.5}]),
    _pointwise("huber_loss", _apart, [{"reduction": "mean"}, {"reduction": "none", "delta": 0.5}]),
    _pointwise(
        "binary_cross_entropy",
        _probabilities,
        target=True,
        errors=[
            (lambda: ops.binary_cross_entropy(kg.full((2,), 2.0), kg.ones(2)), RuntimeError, "between 0 and 1"),
        ],
    ),
    _pointwise("binary_cross_entropy_with_logits", _logits, target=True, tolerance=8),
    _pointwise("kl_div", _log_probabilities, [*REDUCTIONS[1:], {"reduction": "batchmean"}], target=True),
    _pointwise("kl_div", _pair, [{"log_target": True}], target=True, label="kl_div_of_logs", torch=None, tolerance=4),
    _class_case("cross_entropy", ops.cross_entropy, "cross_entropy", torch="nn.functional.cross_entropy", errors=BAD),
    _class_case(
        "cross_entropy_ignoring",
        ops.cross_entropy,
        "cross_entropy",
        True,
        [*REDUCTIONS, *SMOOTHED],
        "nn.functional.cross_entropy",
    ),
    _class_case(
        "cross_entropy_weighted", _weighted(ops.cross_entropy), "cross_entropy", True, [*REDUCTIONS, *SMOOTHED]
    ),
    _class_case("nll_loss", ops.nll_loss, "nll_loss", torch="nn.functional.nll_loss"),
    _class_case("nll_loss_weighted", _weighted(ops.nll_loss), "nll_loss", True),
    OpCase(
        "cross_entropy_of_probabilities",
        ops.cross_entropy,
        torch="nn.functional.cross_entropy",
        shapes=CLASSES,
        make=_soft,
        kwargs=[*REDUCTIONS, *SMOOTHED],
        kernels=("cross_entropy_soft_forward", "cross_entropy_soft_backward"),
        tolerance=4,
    ),
]
