"""Cases of embedding tables."""

import kernelgrad as kg
from kernelgrad import ops
from kernelgrad.testing.case import OpCase


def _lookup(rng, shape):
    rows, size, count = shape
    return rng.integers(0, rows, count), rng.standard_normal((rows, size))


def _bags(rng, shape):
    rows, size, count = shape
    index = rng.permutation(rows)[: count // 2 * 2] if rows >= count else rng.integers(0, rows, count // 2 * 2)
    return index.reshape(2, -1), rng.permutation(rows * size).reshape(rows, size) * 0.01


KERNELS = ("embedding_forward", "add_rows_forward")
SHAPES = [(1, 1, 1), (10, 7, 0), (10, 16, 33), (9, 17, 100), (5000, 5, 64), (3000, 33, 500)]  # the last in parts
CASES = [
    OpCase(
        "embedding",
        ops.embedding,
        torch="nn.functional.embedding",
        shapes=SHAPES,
        make=_lookup,
        grad=(1,),
        kernels=KERNELS,
        bench=[(50000, 128, 8192)],
        touched=lambda s: 2 * s[1] * s[2],
        errors=[
            (lambda: ops.embedding(kg.tensor([4]), kg.ones(4, 2)), IndexError, "index 4 is out of bounds"),
            (lambda: ops.embedding(kg.tensor([-1]), kg.ones(4, 2)), IndexError, "index -1 is out of bounds"),
            (lambda: ops.embedding(kg.tensor([0.5]), kg.ones(4, 2)), RuntimeError, "Long, Int"),
            (lambda: ops.embedding(kg.tensor([0]), kg.ones(4, 2), padding_idx=4), AssertionError, "num_embeddings"),
            (lambda: ops.embedding(kg.tensor([0]), kg.ones(4, 2), max_norm=1.0), NotImplementedError, "max_norm"),
        ],
    ),
    OpCase(
        "embedding_bag",
        ops.embedding_bag,
        torch="nn.functional.embedding_bag",
        torch_kwargs=lambda kwargs: kwargs,
        shapes=[(12, 5, 8), (40, 16, 6)],
        make=_bags,
        grad=(1,),
        kwargs=[{"mode": "sum"}, {"mode": "mean"}, {"mode": "max"}, {"mode": "sum", "padding_idx": 1}],
        kernels=KERNELS,
        errors=[(lambda: ops.embedding_bag(kg.tensor([0]), kg.ones(4, 2)), ValueError, "offsets")],
    ),
    OpCase(
        "one_hot",
        ops.one_hot,
        torch="nn.functional.one_hot",
        shapes=[(1,), (3, 4)],
        make=lambda rng, shape: (rng.integers(0, 5, shape),),
        kwargs=[{"num_classes": 5}],
        grad=(),
        errors=[
            (lambda: ops.one_hot(kg.tensor([3]), 3), RuntimeError, "smaller than num_classes"),
            (lambda: ops.one_hot(kg.tensor([-1])), RuntimeError, "non-negative"),
            (lambda: ops.one_hot(kg.tensor([0.0])), RuntimeError, "LongTensor"),
        ],
    ),
]
