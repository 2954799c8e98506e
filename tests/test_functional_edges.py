"""`nn.functional` at unusual shapes and arguments: PyTorch's result, or the type of error that PyTorch raises."""

import warnings

import numpy as np
import pytest

import kernelgrad as kg
from kernelgrad.core import use_backend
from kernelgrad.nn import functional as F

torch = pytest.importorskip("torch")


class Draw:
    """Arrays for one call, the same for both libraries."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def __call__(self, *shape):
        return self.rng.standard_normal(shape)

    def signs(self, *shape):
        return self.rng.choice([-1.0, 1.0], shape)

    def bits(self, *shape):
        return self.rng.integers(0, 2, shape).astype(float)


LOSSES = [
    ("multi_margin_loss", lambda n: (n(4), np.array(2)), {}),
    ("multi_margin_loss", lambda n: (n(4), np.array([2])), {}),
    ("multi_margin_loss", lambda n: (n(3, 4), np.array([2, 0, 1])), {}),
    ("cosine_embedding_loss", lambda n: (n(4), n(4), np.array(1.0)), {}),
    ("cosine_embedding_loss", lambda n: (n(3, 4), n(3, 4), np.array([1.0, -1, 1])), {}),
    ("triplet_margin_loss", lambda n: (n(4), n(4), n(4)), {}),
    ("triplet_margin_loss", lambda n: (n(5, 4), n(5, 4), n(5, 4)), {"swap": True, "p": 3}),
    ("hinge_embedding_loss", lambda n: (n(6), n.signs(6)), {}),
    ("multilabel_soft_margin_loss", lambda n: (n(6, 3), n.bits(6, 3)), {}),
    ("multilabel_soft_margin_loss", lambda n: (n(3), n.bits(3)), {}),
    ("soft_margin_loss", lambda n: (n(6, 3) * 30, n.signs(6, 3)), {}),
    ("poisson_nll_loss", lambda n: (n(6), np.arange(6.0)), {"full": True}),
    ("gaussian_nll_loss", lambda n: (n(6, 2), n(6, 2), abs(n(6))), {}),
    ("gaussian_nll_loss", lambda n: (n(6, 2), n(6, 2), 0.5), {}),
    ("gaussian_nll_loss", lambda n: (n(6, 2), n(6, 2), n(6, 2)), {}),
    ("margin_ranking_loss", lambda n: (n(6), n(6), n.signs(6)), {"margin": 0.1}),
    ("cross_entropy", lambda n: (n(4), np.array(2)), {}),
    ("nll_loss", lambda n: (n(2, 3, 2), np.array([[0, 1], [2, 2]])), {}),
    ("mse_loss", lambda n: (n(0, 3), n(0, 3)), {}),
]
REDUCTIONS = ("mean", "sum", "none", "average")
OTHERS = [
    ("cosine_similarity", lambda n: (n(3, 4), n(4)), {"dim": 0}),
    ("cosine_similarity", lambda n: (n(3, 4), n(1, 4)), {}),
    ("pairwise_distance", lambda n: (n(3, 4), n(4)), {"p": float("inf")}),
    ("pairwise_distance", lambda n: (n(4), n(4)), {"p": 0.5, "keepdim": True}),
    ("normalize", lambda n: (n(3, 4),), {"p": float("inf"), "dim": 0}),
    ("normalize", lambda n: (n(3),), {"dim": 0}),
    ("normalize", lambda n: (n(3),), {}),
    ("glu", lambda n: (n(4, 3),), {"dim": -2}),
    ("glu", lambda n: (n(4, 3),), {"dim": 7}),
    ("prelu", lambda n: (n(4), np.array([0.2])), {}),
    ("prelu", lambda n: (n(4, 2), np.array(0.2)), {}),
    ("prelu", lambda n: (np.array(-2.0), np.array([0.2])), {}),
    ("prelu", lambda n: (n(2), np.array([0.2, 0.3])), {}),
    ("one_hot", lambda n: (np.array([[1, 3], [0, 2]]),), {}),
    ("one_hot", lambda n: (np.array([[1, 3], [0, 2]]), 5), {}),
    ("one_hot", lambda n: (np.array([[1, 3], [0, 2]]), 2), {}),
    ("one_hot", lambda n: (np.array([-1]),), {}),
    ("pixel_shuffle", lambda n: (n(9, 2, 2), 3), {}),
    ("pixel_unshuffle", lambda n: (n(2, 3, 4, 4, 6), 2), {}),
    ("channel_shuffle", lambda n: (n(2, 6, 4), 3), {}),
    ("unfold", lambda n: (n(2, 7, 8), 3), {"padding": 2, "stride": 3}),
    ("fold", lambda n: (n(18, 12), (7, 8), 3), {"padding": 2, "stride": 3}),
    ("local_response_norm", lambda n: (n(2, 3, 4, 4, 2), 5, 0.1, 0.6, 1.3), {}),
    ("bilinear", lambda n: (n(3), n(4), n(2, 3, 4), n(2)), {}),
    ("linear", lambda n: (n(5), n(3, 5)), {}),
    ("linear", lambda n: (n(2, 5), n(5)), {}),
    ("linear", lambda n: (n(2, 5), n(3, 4)), {}),
    ("linear", lambda n: (n(0, 5), n(3, 5), n(3)), {}),
    ("softmax", lambda n: (np.array([1, 2]), 0), {}),
    ("softmax", lambda n: (n(2, 3), 2), {}),
    ("log_softmax", lambda n: (n(0, 3), 1), {}),
    ("embedding", lambda n: (np.array([1, 7]), n(5, 2)), {}),
    ("embedding", lambda n: (np.array([1.0, 3]), n(5, 2)), {}),
    ("embedding", lambda n: (np.array([1, -1]), n(5, 2)), {}),
    ("embedding", lambda n: (np.array(1), n(5, 2)), {}),
    ("mse_loss", lambda n: (n(5, 2), n(2)), {}),
    ("binary_cross_entropy", lambda n: (n(5) * 9, n(5)), {}),
    ("batch_norm", lambda n: (n(1, 3), None, None), {"training": True}),
    ("batch_norm", lambda n: (n(2, 3), None, None), {}),
    ("layer_norm", lambda n: (n(2, 3), (4,)), {}),
    ("group_norm", lambda n: (n(2, 3), 2), {}),
    ("instance_norm", lambda n: (n(2, 3, 1),), {}),
    ("cross_entropy", lambda n: (n(2, 3), np.array([0, 5])), {}),
    ("cross_entropy", lambda n: (n(2, 3), np.array([0, 1, 2])), {}),
    ("dropout", lambda n: (n(2, 3), 1.5), {}),
    ("scaled_dot_product_attention", lambda n: (n(3, 4), n(3, 4), n(3, 4)), {}),
    ("scaled_dot_product_attention", lambda n: (n(2, 3, 4), n(2, 5, 4), n(2, 5, 6)), {}),
    ("conv2d", lambda n: (n(1, 2, 5, 5), n(3, 2, 4, 4)), {"padding": "same"}),
    ("conv2d", lambda n: (n(1, 2, 5, 5), n(3, 4, 4, 4)), {}),
    ("max_pool2d", lambda n: (n(1, 1, 4, 4), 5), {}),
    ("pad", lambda n: (n(2, 3), (1, 2), "reflect"), {}),
    ("pad", lambda n: (n(2, 3), (1, 2, 3)), {}),
]
CALLS = [(name, args, {**kwargs, "reduction": r}) for name, args, kwargs in LOSSES for r in REDUCTIONS] + OTHERS


def result_or_error(library, functional, name, make, kwargs):
    args = [library.tensor(a) if isinstance(a, np.ndarray) else a for a in make(Draw())]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(functional, name)(*args, **kwargs)
    except Exception as error:
        return error


@pytest.mark.parametrize(("name", "make", "kwargs"), CALLS, ids=[f"{i}-{call[0]}" for i, call in enumerate(CALLS)])
def test_same_result_or_error(name, make, kwargs):
    with use_backend("reference"):
        ours = result_or_error(kg, F, name, make, kwargs)
    theirs = result_or_error(torch, torch.nn.functional, name, make, kwargs)
    if isinstance(theirs, Exception) or isinstance(ours, Exception):
        assert type(ours) is type(theirs), f"{ours!r}, where PyTorch has {theirs!r}"
        return
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert ours.numpy().dtype == theirs.numpy().dtype
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-7, atol=1e-10)
