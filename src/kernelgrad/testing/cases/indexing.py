"""Cases of indexing, gather, scatter, masks, joining, padding and other copies; and views, whose gradients are
copies."""

import numpy as np

import kernelgrad as kg
from kernelgrad import ops
from kernelgrad.testing.case import OpCase

SHAPES = [(1, 1), (7, 5), (17, 16), (33, 17)]


def _apart(rng, shape):
    """Values far enough apart that a small step does not change their order."""
    return (rng.permutation(int(np.prod(shape))).reshape(shape) * 0.01 - 0.3,)


def _with_index(of, values=False, unique=False):
    """x, an index (int64) of shape ``of(shape)`` into dimension 0, and where asked values of the index's shape."""

    def make(rng, shape):
        target = of(shape)
        if unique:
            index = np.argsort(rng.random(shape), axis=0)[: target[0]]
        else:
            index = rng.integers(0, shape[0], target)
        made = (rng.standard_normal(shape), 0, index)
        return (*made, rng.standard_normal(target)) if values else made

    return make


def _masked(rng, shape):
    return rng.standard_normal(shape), rng.random(shape) < 0.4


def _masked_rows(rng, shape):
    return rng.standard_normal(shape), rng.random((shape[0], 1)) < 0.4


def _three(rng, shape):
    return rng.standard_normal(shape), rng.standard_normal((2 * shape[0], shape[1])), rng.standard_normal((1, shape[1]))


class _OwnCase(OpCase):
    """A case whose function runs on PyTorch's tensors as well as on ours."""

    def torch_function(self):
        return self.op


def _view(name, function):
    return _OwnCase(name, function, torch="Tensor", shapes=[(3, 4, 5), (1, 7, 2)])


def _raises(call, exception, message):
    return (call, exception, message)


def _index(values):
    return kg.tensor(values)


GATHER = ("gather_forward", "scatter_add_forward")
CASES = [
    OpCase(
        "index_select",
        ops.index_select,
        torch="index_select",
        shapes=SHAPES,
        make=_with_index(lambda s: (9,)),
        bench=[(4096, 256)],
        touched=lambda s: 2 * 9 * s[1],
        kernels=("embedding_forward", "add_rows_forward"),
        errors=[
            _raises(lambda: ops.index_select(kg.ones(3), 0, _index([3])), IndexError, "index 3 is out of bounds"),
            _raises(lambda: ops.index_select(kg.ones(3), 0, _index([-1])), IndexError, "index -1 is out of bounds"),
            _raises(lambda: ops.index_select(kg.ones(3), 1, _index([0])), IndexError, "Dimension out of range"),
        ],
    ),
    OpCase(
        "index_add",
        ops.index_add,
        torch="index_add",
        shapes=SHAPES,
        grad=(0, 3),
        kernels=("add_rows_forward",),
        make=lambda rng, s: (rng.standard_normal(s), 0, rng.integers(0, s[0], 11), rng.standard_normal((11, s[1]))),
        kwargs=[{}, {"alpha": -2.5}],
    ),
    OpCase(
        "gather",
        ops.gather,
        torch="gather",
        shapes=SHAPES,
        make=_with_index(lambda s: (2 * s[0], max(s[1] - 1, 1))),
        kernels=GATHER,
        errors=[
            _raises(lambda: ops.gather(kg.ones(2, 3), 0, _index([[2]])), IndexError, "out of bounds"),
            _raises(lambda: ops.gather(kg.ones(2, 3), 0, _index([0])), RuntimeError, "same number of dimensions"),
        ],
    ),
    OpCase(
        "scatter",
        ops.scatter,
        torch="scatter",
        shapes=SHAPES,
        grad=(0, 3),
        kernels=("scatter_forward", "gather_forward"),
        make=_with_index(lambda s: s, values=True, unique=True),
        errors=[_raises(lambda: ops.scatter(kg.zeros(2), 0, _index([5]), kg.ones(1)), IndexError, "out of bounds")],
    ),
    OpCase(
        "scatter_add",
        ops.scatter_add,
        torch="scatter_add",
        shapes=SHAPES,
        grad=(0, 3),
        kernels=("scatter_add_forward",),
        make=_with_index(lambda s: (2 * s[0], s[1]), values=True),
    ),
    OpCase(
        "take_along_dim",
        ops.take_along_dim,
        torch="take_along_dim",
        shapes=SHAPES,
        kwargs=[{"dim": 1}],
        make=lambda rng, s: (rng.standard_normal(s), rng.integers(0, s[1], (s[0], 4))),
        kernels=("gather_forward",),
    ),
    OpCase(
        "masked_fill",
        ops.masked_fill,
        torch="masked_fill",
        shapes=[(0, 3), *SHAPES],
        make=_masked,
        kwargs=[{"value": -1.5}],
        kernels=("masked_fill_forward",),
        bench=[(512, 512)],
        errors=[_raises(lambda: ops.masked_fill(kg.ones(2), kg.ones(2), 0.0), RuntimeError, "boolean")],
    ),
    OpCase(
        "masked_fill_rows",
        ops.masked_fill,
        torch="masked_fill",
        shapes=SHAPES,
        make=_masked_rows,
        kwargs=[{"value": 3.0}],
        kernels=("masked_fill_forward",),
    ),
    OpCase(
        "masked_select",
        ops.masked_select,
        torch="masked_select",
        shapes=SHAPES,
        make=_masked,
        kernels=("embedding_forward",),
    ),
    OpCase(
        "tril",
        ops.tril,
        torch="tril",
        shapes=[(1, 1), (5, 7), (2, 6, 6)],
        kwargs=[{}, {"diagonal": 2}, {"diagonal": -3}],
        kernels=("triangle_forward",),
        errors=[_raises(lambda: ops.tril(kg.ones(3)), RuntimeError, "at least 2 dimensions")],
    ),
    OpCase(
        "triu",
        ops.triu,
        torch="triu",
        shapes=[(1, 1), (5, 7), (2, 6, 6)],
        kwargs=[{}, {"diagonal": 2}, {"diagonal": -3}],
        kernels=("triangle_forward",),
    ),
    OpCase(
        "diag", ops.diag, torch="diag", shapes=[(4,), (3, 5), (5, 3)], kwargs=[{}, {"diagonal": 1}, {"diagonal": -1}]
    ),
    OpCase("diag_embed", ops.diag_embed, torch="diag_embed", shapes=[(4,), (3, 5)], kwargs=[{}, {"offset": -2}]),
    OpCase(
        "flip",
        ops.flip,
        torch="flip",
        shapes=[(4,), (3, 5), (3, 5, 7), (5, 41, 7), (9000,)],
        kwargs=[{}],
        make=lambda rng, s: (rng.standard_normal(s), tuple(range(len(s))[:: -1 if len(s) < 3 else 2])),
        kernels=(),
    ),
    OpCase("roll", ops.roll, torch="roll", shapes=[(4,), (3, 5)], kwargs=[{"shifts": 2}, {"shifts": -1, "dims": 0}]),
    OpCase(
        "repeat_interleave",
        ops.repeat_interleave,
        torch="repeat_interleave",
        shapes=[(4,), (3, 5)],
        kwargs=[{"repeats": 3}, {"repeats": 2, "dim": 0}],
        kernels=("embedding_forward",),
    ),
    OpCase(
        "pad_constant",
        ops.pad,
        torch="nn.functional.pad",
        shapes=[(2, 3, 4, 5), (2, 3, 40, 50)],
        kernels=(),
        kwargs=[{"pad": (1, 2)}, {"pad": (1, 0, -1, 2), "value": 3.0}, {"pad": (-1, -2, 0, 0, 1, 1)}],
        errors=[
            _raises(lambda: ops.pad(kg.ones(3), (1,)), RuntimeError, "divisible by 2"),
            _raises(
                lambda: ops.pad(kg.ones(99, 99), (-120, 99)),
                RuntimeError,
                "-120 and 99 .* dimension 1 than its size 99",
            ),
            _raises(
                lambda: ops.pad(kg.ones(64, 64), (0, 0, 10, -70)),
                RuntimeError,
                "10 and -70 .* dimension 0 than its size 64",
            ),
            _raises(lambda: ops.pad(kg.ones(9), (-5, -5)), RuntimeError, "-5 and -5 .* dimension 0 than its size 9"),
        ],
    ),
    *[
        OpCase(
            f"pad_{mode}",
            ops.pad,
            torch="nn.functional.pad",
            shapes=[(3, 4, 5)],
            kernels=("embedding_forward",),
            kwargs=[{"pad": (1, 2), "mode": mode}, {"pad": (3, 0, 1, 2), "mode": mode}],
            errors=[
                _raises(lambda mode=mode: ops.pad(kg.ones(1, 1, 2, 2), (1, 1), mode, 1.0), ValueError, "value argument")
            ],
        )
        for mode in ("reflect", "replicate", "circular")
    ],
    OpCase(
        "sort", ops.sort, torch="sort", shapes=[(9,), (4, 5)], make=_apart, kwargs=[{}, {"dim": 0, "descending": True}]
    ),
    OpCase(
        "topk",
        ops.topk,
        torch="topk",
        shapes=[(40,), (4, 50)],
        make=_apart,
        kwargs=[{"k": 3}, {"k": 4, "largest": False}, {"k": 2, "dim": 0}],
        errors=[_raises(lambda: ops.topk(kg.ones(2), 3), RuntimeError, "out of range")],
    ),
    OpCase(
        "kthvalue",
        ops.kthvalue,
        torch="kthvalue",
        shapes=[(9,), (4, 5)],
        make=_apart,
        kwargs=[{"k": 2}, {"k": 3, "dim": 0, "keepdim": True}],
    ),
    OpCase(
        "cat",
        lambda *x, dim=0: ops.cat(x, dim),
        grad=(0, 1, 2),
        shapes=[(2, 3), (5, 1)],
        make=_three,
        errors=[
            _raises(lambda: ops.cat([kg.ones(2, 3), kg.ones(2, 4)]), RuntimeError, "Sizes of tensors must match"),
            _raises(lambda: ops.cat([]), RuntimeError, "non-empty"),
        ],
    ),
    OpCase(
        "stack",
        lambda *x, dim=0: ops.stack(x, dim),
        grad=(0, 1),
        shapes=[(2, 3), (4,)],
        kwargs=[{}, {"dim": 1}, {"dim": -1}],
        make=lambda rng, s: (rng.standard_normal(s), rng.standard_normal(s)),
        errors=[_raises(lambda: ops.stack([kg.ones(2), kg.ones(3)]), RuntimeError, "equal size")],
    ),
    _view("getitem_int", lambda x: x[-1]),
    _view("getitem_slices", lambda x: x[:, 1:-1:2, None, ..., 0]),
    _view("getitem_list", lambda x: x[:, [0, -1, 0]]),
    _view("getitem_apart", lambda x: x[[0, -1], :, [1, 0]]),
    _view("reshape", lambda x: x.transpose(0, 2).reshape(-1, 2) if x.numel() % 2 == 0 else x.reshape(-1)),
    _view("permute", lambda x: x.permute(2, 0, 1)),
    _view("expand", lambda x: x.unsqueeze(1).expand(-1, 3, -1, -1)),
    _view("repeat", lambda x: x.repeat(2, 1, 3)),
    _view("split", lambda x: x.split(2, dim=1)),
    _view("unbind", lambda x: x.unbind(1)),
    _view("chunk", lambda x: x.chunk(3, dim=1)),
    _view("movedim", lambda x: x.movedim(0, -1)),
    _view("diagonal", lambda x: x.diagonal(0, 1, 2)),
]
