"""Arguments that are easily read otherwise than PyTorch reads them: one line a call, run on both libraries."""

import math

import numpy as np
import pytest

import kernelgrad as kg
from kernelgrad.nn import functional as F

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")


class Library:
    """One of the two libraries, and tensors in it that are the same in both."""

    def __init__(self, module, functional):
        self.module, self.F = module, functional
        self.leaves, self.rng = [], np.random.default_rng(5)

    def __getattr__(self, name):
        return getattr(self.module, name)

    def of(self, *shape):
        """A float64 leaf of normal numbers that wants a gradient."""
        leaf = self.module.tensor(np.asarray(self.rng.standard_normal(shape)), requires_grad=True)
        self.leaves.append(leaf)
        return leaf

    def int(self, *values):
        return self.module.tensor(np.array(values[0] if len(values) == 1 else values, np.int64))

    def counts(self, *shape):
        """0, 1, 2 .. as int64."""
        return self.module.tensor(np.arange(int(np.prod(shape))).reshape(shape))


def answers(module, functional, call):
    """Outputs and gradients of the leaves, for fixed upstream gradients, as NumPy arrays."""
    library = Library(module, functional)
    out = call(library)
    outs = list(out) if isinstance(out, (tuple, list)) else [out]
    rng, total = np.random.default_rng(6), None
    for o in outs:
        if o.requires_grad:
            part = (o * module.tensor(np.asarray(rng.standard_normal(tuple(o.shape)), o.detach().numpy().dtype))).sum()
            total = part if total is None else total + part
    grads = []
    if total is not None:
        total.backward()
        grads = [leaf.grad for leaf in library.leaves]
    return [o.detach().numpy() for o in outs], [None if g is None else g.numpy() for g in grads]


def assert_alike(call):
    (ours, our_grads), (theirs, their_grads) = answers(kg, F, call), answers(torch, torch.nn.functional, call)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
    assert len(our_grads) == len(their_grads)  # 0 where the result wants no gradient
    for a, b in zip(our_grads, their_grads, strict=True):  # None where a gradient is known to be 0
        np.testing.assert_allclose(0.0 if a is None else a, 0.0 if b is None else b, rtol=1e-9, atol=1e-11)


def after_nan(t, shape):
    """Ones, but for a first element that is nan."""
    first = np.ones(shape)
    first.flat[0] = np.nan
    return t.module.tensor(first)


CALLS = {
    # gradients
    "masked_fill by a tensor": lambda t: t.masked_fill(t.of(3, 4), t.counts(3, 4) > 5, t.of()),
    "masked_fill broadcast by a tensor": lambda t: t.masked_fill(t.of(4), t.counts(3, 4) > 5, t.of()),
    "masked_fill of a constant by a tensor": lambda t: t.masked_fill(t.of(4).detach(), t.counts(4) > 1, t.of()),
    "index_fill by a tensor": lambda t: t.index_fill(t.of(3, 4), 1, t.int(0, 2), t.of()),
    "div floor": lambda t: t.div(t.of(3, 4), t.of(4), rounding_mode="floor"),
    "div floor by a number": lambda t: t.div(t.of(3, 4), 0.3, rounding_mode="floor"),
    "div trunc": lambda t: t.div(t.of(3, 4), t.of(4), rounding_mode="trunc"),
    "norm 0": lambda t: t.norm(t.of(3, 4), 0, 1),
    # numbers read as integers
    "arange 0": lambda t: t.arange(0.1, 7.9, 2.5, dtype=t.int64),
    "arange 1": lambda t: t.arange(0.1, 7.9, 2.5, dtype=t.int32),
    "arange 2": lambda t: t.arange(7.9, -7.9, -2.5, dtype=t.int32),
    "arange 3": lambda t: t.arange(0.0, 5.5, 0.5, dtype=t.int32),
    "arange 4": lambda t: t.arange(-3.9, 3.9, 1.9, dtype=t.int64),
    "arange 5": lambda t: t.arange(0.0, -8.000001, -4.0, dtype=t.int64),
    "arange 6": lambda t: t.arange(0.1, 5, 0.7),
    "linspace 0": lambda t: t.linspace(4.3, -3, 50, dtype=t.int64),
    "linspace 1": lambda t: t.linspace(-3.7, 9.7, 4, dtype=t.int32),
    "linspace 2": lambda t: t.linspace(4.3, 9.7, 1, dtype=t.int64),
    "linspace 3": lambda t: t.linspace(4.3, 9.7, 0),
    "logspace 0": lambda t: t.logspace(0, 4.9, 6, dtype=t.int64),
    "logspace 1": lambda t: t.logspace(-2, 3, 6, 2.5, dtype=t.int32),
    "addmv of integers": lambda t: t.addmv(t.counts(2), t.counts(2, 3), t.counts(3), alpha=1.6, beta=2.7),
    "baddbmm of integers": lambda t: t.baddbmm(
        t.counts(2, 2, 2), t.counts(2, 2, 3), t.counts(2, 3, 2), alpha=1.6, beta=2.7
    ),
    "integers to negative powers": lambda t: t.int(2, -1, -1, 1, 3) ** t.int(-1, -3, -2, -1, 0),
    # shapes
    "circular, narrower": lambda t: t.F.pad(t.of(1, 2, 4, 5), (-1, 2, -2, 1), "circular"),
    "circular, narrower on the right": lambda t: t.F.pad(t.of(1, 2, 4, 5), (2, -1, 1, -2), "circular"),
    "unique of a number": lambda t: t.unique(t.int(5), return_inverse=True, return_counts=True),
    "unique_consecutive of a number": lambda t: t.unique_consecutive(t.int(5), return_inverse=True),
    "tensordot of sizes 1": lambda t: t.tensordot(t.of(1, 2, 1), t.of(2, 1, 4), ([0, 1], [2, 0])),
    "take_along_dim from the end": lambda t: t.take_along_dim(t.of(3, 4), t.int([[-1], [0], [-4]]), 1),
    "take_along_dim broadcast": lambda t: t.take_along_dim(t.of(3, 1), t.int([[0, -1, 2]]), 0),
    "pixel_shuffle of nothing": lambda t: t.F.pixel_shuffle(t.of(0, 4, 2, 3).detach(), 2),
    "pixel_unshuffle of nothing": lambda t: t.F.pixel_unshuffle(t.of(2, 0, 2, 2).detach(), 1),
    "bilinear of nothing": lambda t: t.F.bilinear(t.of(0, 3), t.of(0, 4), t.of(0, 3, 4), t.of(0)),
    "median of nothing": lambda t: (t.median(t.of(0).detach()), t.median(t.counts(0))),
    "multi_margin_loss of a number": lambda t: t.F.multi_margin_loss(t.of(), t.int(0)),
    # 0-d tensors
    "index_fill 0-d": lambda t: t.index_fill(t.of(), 0, t.int([0]), 2.5),
    "index_copy 0-d": lambda t: t.index_copy(t.of(), 0, t.int([0]), t.of()),
    "index_add 0-d": lambda t: t.index_add(t.of(), 0, t.int([0]), t.of(), alpha=-2),
    "scatter 0-d": lambda t: t.scatter(t.of(), 0, t.int(0), t.of()),
    "scatter_add 0-d": lambda t: t.scatter_add(t.of(), 0, t.int(0), t.of()),
    "gather 0-d": lambda t: t.gather(t.of(), 0, t.int(0)),
    # layouts and values
    "layer_norm, everything transposed": lambda t: t.F.layer_norm(
        t.of(4, 3, 2).permute(0, 2, 1), (2, 3), t.of(3, 2).T, t.of(3, 2).T
    ),
    "conv2d after nan": lambda t: t.F.conv2d(t.of(2, 3, 5, 5) * after_nan(t, (2, 1, 1, 1)), t.of(4, 3, 2, 2)),
    "avg_pool2d after nan": lambda t: t.F.avg_pool2d(t.of(2, 3, 4, 4) * after_nan(t, (2, 1, 1, 1)), 2),
    "max_pool2d after nan": lambda t: t.F.max_pool2d(t.of(2, 3, 4, 4) * after_nan(t, (2, 1, 1, 1)), 2),
    "lp_pool1d, largest": lambda t: t.F.lp_pool1d(t.of(2, 3, 6), math.inf, 2),
    "lp_pool2d, smallest": lambda t: t.F.lp_pool2d(t.of(2, 3, 6, 6), -math.inf, 2),
    "gaussian_nll_loss of one row": lambda t: t.F.gaussian_nll_loss(t.of(4, 3), t.of(4, 3), t.of(1, 3) ** 2),
    # spellings
    "flip dims": lambda t: (t.flip(t.of(2, 3), dims=(0, 1)), t.of(2, 3).flip(-1), t.flip(t.of(2, 3), [0])),
    "diag_embed 0": lambda t: t.diag_embed(t.of(2, 3), 1, 0, 2),
    "diag_embed 1": lambda t: t.diag_embed(t.of(2, 3), -1, 2, 0),
    "diag_embed 2": lambda t: t.diag_embed(t.of(2, 3), offset=1, dim1=1, dim2=2),
    "round 2": lambda t: t.round(t.of(20) * 100, decimals=2),
    "round -2": lambda t: (t.of(20) * 1000).round(decimals=-2),
    "round_": lambda t: (t.of(20).detach() * 1000).round_(decimals=-1),
    "slice_scatter": lambda t: t.slice_scatter(t.of(5, 6), t.of(5, 2), dim=1, start=1, end=5, step=2),
    "select_scatter": lambda t: t.select_scatter(t.of(5, 6), t.of(5), 1, -2),
    "scalar_tensor": lambda t: t.scalar_tensor(3.5, dtype=t.float64, requires_grad=True),
    "searchsorted 0": lambda t: t.searchsorted(t.int(1, 3, 5), t.counts(7), side="right", out_int32=True),
    "searchsorted 1": lambda t: t.searchsorted(t.int(5, 1, 3), t.counts(7), sorter=t.int(1, 2, 0)),
    "bucketize": lambda t: t.bucketize(t.counts(7), t.int(1, 3, 5), out_int32=True, right=True),
    "repeat_interleave size": lambda t: t.repeat_interleave(t.of(3, 2), t.int(1, 0, 2), 0, output_size=3),
    "repeat_interleave alone": lambda t: t.repeat_interleave(t.int(1, 0, 2)),
    "atleast_1d": lambda t: t.atleast_1d([t.of(), t.of(2)]),
    "atleast_2d": lambda t: t.atleast_2d(t.of(), t.of(2), t.of(0)),
    "atleast_3d": lambda t: t.atleast_3d(t.of(), t.of(2), t.of(2, 3), t.of(2, 3, 4)),
    "rot90": lambda t: [t.rot90(t.of(2, 3, 4), k, (0, 2)) for k in range(-1, 4)],
}


# Functions that are made of others. ``t.of`` draws numbers that are all different, so there are no ties.
COMPOSED = {
    "clamp_min": lambda t: (t.clamp_min(t.of(3, 4), 0.2), t.of(3, 4).clamp_max(t.of(4))),
    "logaddexp": lambda t: t.logaddexp(t.of(3, 4) * 100, t.of(4)),
    "logaddexp of infinities": lambda t: t.logaddexp(infinities(t), t.int(1, -1, 0) * math.inf).detach(),
    "logaddexp2": lambda t: t.logaddexp2(t.of(3, 4), t.of(3, 1)),
    "xlogy": lambda t: t.xlogy(t.of(3, 4), t.of(4) ** 2),
    "xlogy at 0": lambda t: t.xlogy(t.of(3) * 0, t.int(0, 1, -1)),
    "fmax": lambda t: (t.fmax(t.of(3, 4), t.of(4)), t.fmin(t.of(3), t.of(3) * after_nan(t, 3))),
    "copysign": lambda t: (t.copysign(t.of(3, 4), t.of(4)), t.copysign(t.of(3), -0.0)),
    "heaviside": lambda t: t.heaviside(t.int(-2, 0, 3), t.int(7)),
    "signbit": lambda t: t.signbit(t.of(7) * 0),
    "logit": lambda t: (t.logit(t.sigmoid(t.of(7))), t.sigmoid(t.of(7)).logit(0.4)),
    "float_power": lambda t: (t.float_power(t.int(1, 2, 3), 2), t.float_power(2, t.of(3))),
    "deg2rad": lambda t: (t.deg2rad(t.of(7)), t.rad2deg(t.of(7)), t.sgn(t.of(7).detach()), t.positive(t.of(7))),
    "cumprod": lambda t: (t.cumprod(t.of(3, 4), 1), t.of(3, 4).cumprod(0), t.cumprod(t.counts(4), 0)),
    "cumprod of zeros": lambda t: t.cumprod(t.of(3, 5) * t.int([[1, 1, 0, 1, 1], [0, 1, 1, 0, 1], [1, 0, 0, 1, 0]]), 1),
    "cummax": lambda t: (*t.cummax(t.of(3, 9), 1), *t.cummin(t.of(3, 9), 0)),
    "cummax of equals and nan": lambda t: (*t.cummax(t.int(1, 3, 3, 2, 3), 0), *t.cummin(nan_at(t, 7, 3), 0)),
    "logcumsumexp": lambda t: (t.logcumsumexp(t.of(3, 9), 1), t.logcumsumexp(t.of(5) * 900, 0)),
    "diff": lambda t: (t.diff(t.of(3, 5)), t.diff(t.of(3, 5), 2, 0), t.diff(t.of(4), prepend=t.of(2), append=t.of(1))),
    "diff of bools": lambda t: t.diff(t.int(1, 0, 0, 1) > 0),
    "trapezoid": lambda t: (t.trapezoid(t.of(3, 5)), t.trapezoid(t.of(3, 5), t.of(5)), t.trapezoid(t.of(3), dx=0.3)),
    "cumulative_trapezoid": lambda t: t.cumulative_trapezoid(t.of(3, 5), t.of(3, 5), dim=0),
    "median": lambda t: (t.median(t.of(3, 4)), *t.median(t.of(3, 4), 1), *t.of(3, 5).median(0, keepdim=True)),
    "median of nan": lambda t: (t.median(nan_at(t, 8, 3)), *t.median(nan_at(t, 8, 3), 0)),
    "nanmedian": lambda t: (t.nanmedian(nan_at(t, 8, 3)), *t.nanmedian(nan_at(t, 8, 3), 0)),
    "quantile": lambda t: (
        t.quantile(t.of(3, 6), 0.3),
        t.quantile(t.of(3, 6), t.sigmoid(t.of(2)), 1, keepdim=True),
        *(t.quantile(t.of(3, 6), 0.3, 0, interpolation=how) for how in ("lower", "higher", "nearest", "midpoint")),
    ),
    "nanquantile": lambda t: (t.nanquantile(nan_at(t, 8, 3), 0.3), t.quantile(nan_at(t, 8, 3), 0.3)),
    "nansum": lambda t: (t.nansum(nan_at(t, 8, 3)), t.nanmean(nan_at(t, 8, 3)), t.nanmean(t.of(3, 4), 1, keepdim=True)),
    "histc": lambda t: (t.histc(t.of(50).detach(), 7), t.histc(t.of(50).detach(), 5, min=-1, max=2)),
    "meshgrid": lambda t: (*t.meshgrid(t.of(2), t.of(3), indexing="xy"), *t.meshgrid(t.of(2), t.of(), indexing="ij")),
    "cartesian_prod": lambda t: (
        t.cartesian_prod(t.of(2), t.of(3)),
        t.cartesian_prod(t.of(2)),
        t.combinations(t.of(4)),
    ),
    "triangles": lambda t: (t.tril_indices(4, 3, -1), t.triu_indices(3, 4, 1)),
    "block_diag": lambda t: (
        t.block_diag(t.of(2, 3), t.of(), t.of(2), t.of(1, 1)),
        t.column_stack([t.of(3), t.of(3, 2)]),
    ),
    "kron": lambda t: (t.kron(t.of(2, 3), t.of(4)), t.trace(t.of(3, 4))),
    "addr": lambda t: (t.addr(t.of(3), t.of(2), t.of(3), beta=0.5, alpha=2), t.vdot(t.of(3), t.of(3))),
    "addbmm": lambda t: t.addbmm(t.of(4), t.of(2, 3, 5), t.of(2, 5, 4), beta=0.5, alpha=2),
    "cross": lambda t: (t.cross(t.of(2, 3), t.of(1, 3), dim=-1), t.cross(t.of(3, 2), t.of(3, 2))),
    "cdist": lambda t: [t.cdist(t.of(2, 4, 3), t.of(5, 3), p) for p in (0.5, 1, 2, 3, math.inf)],
    "cdist at 0": lambda t: [t.cdist(t.of(4, 3) * 0, t.of(4, 3) * 0, p) for p in (1, 2, 3, math.inf)],
    "norm at 0": lambda t: [t.norm(t.of(4, 3) * 0, p, 1) for p in (0, 1, 2, 3, math.inf)],
    "dist": lambda t: t.dist(t.of(4, 3), t.of(3), 3),
    "unfold": lambda t: (t.of(3, 7).unfold(1, 3, 2), t.of(5, 3).unfold(0, 2, 1), t.of(5, 3).detach().unfold(0, 2, 3)),
    "isin": lambda t: (t.isin(t.counts(2, 3), t.int(1, 4)), t.isin(t.counts(5), 2, invert=True)),
    "masked_scatter": lambda t: t.masked_scatter(t.of(4), t.counts(3, 4) % 3 == 0, t.of(9)),
    "gamma": lambda t: (t.lgamma(t.of(50) * 9), t.digamma(t.of(50) * 9), t.digamma(t.of(50) / 9)),
    "gamma at whole numbers": lambda t: (
        t.lgamma(t.int(-2, -1, 0, 1, 2).double()),
        t.digamma(t.int(-2, -1, 1, 2).double()),
    ),
    "gamma far out": lambda t: (t.lgamma(far(t)), t.digamma(far(t))),
    "erfinv": lambda t: (t.erfinv(t.tanh(t.of(50))), t.erfinv(t.tanh(t.of(50) * 5)), t.erfinv(t.int(-2, -1, 0, 1))),
    **{
        f"scatter_reduce {how}, {self}": lambda t, how=how, self=self: t.scatter_reduce(
            t.of(4, 3), 0, t.int([[0, 1, 1], [2, 1, 0], [0, 1, 2]]), t.of(3, 3), how, include_self=self
        )
        for how in ("sum", "mean", "amax", "amin")
        for self in (True, False)
    },
    "scatter_reduce prod": lambda t: t.scatter_reduce(
        t.counts(4) + 1, 0, t.int(0, 0, 2), t.int(5, 7, 3), "prod", include_self=False
    ),
    "scatter_reduce of equals": lambda t: t.scatter_reduce(
        t.of(2) * 0 + 1, 0, t.int(0, 0, 1), t.of(3) * 0 + 1, "amax", include_self=False
    ),
    "hypot": lambda t: (t.hypot(t.of(3, 4), t.of(4)), t.hypot(t.of(3) * 1e200, t.of(3) * 1e200)),
    "sinc": lambda t: t.sinc(t.of(4) * t.int(0, 1, 2, 3)),
    "diagflat": lambda t: t.diagflat(t.of(2, 2), -1),
    "einsum of numbers": lambda t: (
        t.einsum(t.of(2, 3), [0, 1], t.of(3, 4), [1, 2], [2, 0]),
        t.einsum(t.of(2, 3), [30, 1], t.of(3, 4), [1, 2]),
        t.einsum(t.of(5, 2, 3), [..., 0, 1], [1, ..., 0]),
    ),
    "unique_consecutive of nothing": lambda t: t.unique_consecutive(t.of(0, 3).detach(), return_counts=True, dim=0),
}


def nan_at(t, n, i):
    """A leaf of n numbers, times nan in one place."""
    factors = np.ones(n)
    factors[i] = np.nan
    return t.of(n) * t.module.tensor(factors)


def far(t):
    return t.module.tensor(np.array([1e-300, -1e-9, 1e9, 1e300, np.inf, np.nan, -0.5, -1e3 - 0.25]))


def infinities(t):
    return t.module.tensor(np.array([np.inf, -np.inf, np.inf]))


@pytest.mark.parametrize("call", COMPOSED.values(), ids=COMPOSED)
def test_composed_functions(call):
    assert_alike(call)


def test_broadcast_shapes():
    assert kg.broadcast_shapes((2, 1), (3,), 1) == (2, 3)
    with pytest.raises(RuntimeError, match="do not broadcast"):
        kg.broadcast_shapes((2,), (3,))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_answers_as_pytorch_does(call):
    assert_alike(call)


def test_nothing_moves_no_running_statistics():
    layer = kg.nn.BatchNorm1d(5)
    layer(kg.zeros(0, 5, 9))
    assert layer.running_mean.tolist() == [0.0] * 5
    assert layer.running_var.tolist() == [1.0] * 5


def test_what_pytorch_refuses():
    x = kg.ones(2, 3)
    for call, error in (
        (lambda: kg.arange(0.0, 2.0, 0.5, dtype=kg.int64), ValueError),
        (lambda: kg.slice_scatter(x, kg.ones(2, 2), 1), RuntimeError),
        (lambda: kg.repeat_interleave(x, 2, 0, output_size=5), RuntimeError),
        (lambda: kg.diag_embed(x, 0, 1, 1), RuntimeError),
        (lambda: kg.rot90(x, 1, (0, 0)), RuntimeError),
        (lambda: kg.searchsorted(kg.ones(3), x, right=True, side="left"), RuntimeError),
        (lambda: kg.round(kg.tensor([1, 2]), decimals=1), NotImplementedError),
        (lambda: kg.scatter(x, 1, kg.tensor([0]), kg.ones(1)), RuntimeError),
    ):
        with pytest.raises(error):
            call()
