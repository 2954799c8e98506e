"""Cases of matrix products. Shapes say (m, k, n) where nothing else is said."""

import numpy as np

from kernelgrad import core
from kernelgrad.core.products import linear
from kernelgrad.ops import addmm, baddbmm, bmm, dot, einsum, inner, matmul, mm, mv, outer, tensordot
from kernelgrad.ops.matmul import linear_activation
from kernelgrad.testing.case import OpCase

# tiles of 14, 6 and 4 rows, 16, 8 and 4 lanes, panels of 32 columns, blocks of 384
THIN = [(1, 1, 1), (1, 7, 33), (2, 40, 128), (3, 385, 30), (17, 5, 1), (5, 0, 3), (0, 4, 3), (4, 3, 0), (33, 64, 10)]
SHAPES = [
    *THIN,
    (13, 17, 19),
    (14, 32, 32),
    (15, 16, 31),
    (37, 300, 15),
    (65, 33, 64),
    (70, 390, 3),
    (5, 400, 350),
    (9, 4, 70),
    (3, 65, 7),
]
KERNELS = ("gemm",)


def flops(shape):
    m, k, n = shape
    return 2 * m * k * n


def pair(rng, shape):
    m, k, n = shape
    return rng.standard_normal((m, k)), rng.standard_normal((k, n))


def each(*letters):
    """A maker of one normal array per word: each("bmk", "kn") reads a shape as (b, m, k, n), in the order met."""
    names = list(dict.fromkeys("".join(letters)))

    def make(rng, shape):
        sizes = dict(zip(names, shape))
        return tuple(rng.standard_normal([sizes[c] for c in word]) for word in letters)

    return make


def both_shapes(rng, shapes):
    return tuple(rng.standard_normal(shape) for shape in shapes)


def transposed_product(a, b):
    """Both operands are views of what is stored the other way round."""
    return matmul(a.transpose(-2, -1), b.transpose(-2, -1))


def kept_packing(x, weight):
    """The second product with one weight packs it, the third uses the packing."""
    with core.no_grad():
        first = [linear(x, weight) for _ in range(3)]
    return first[2]


def packed_product(x, weight):
    """x @ weight.T through panels that are packed here."""
    (m, k), n = x.shape, weight.shape[0]
    panels = -(-n // 32)
    x, weight = core.contiguous(x), core.contiguous(weight)
    packed, out = core.empty((panels * 32 * k,), x.dtype), core.empty((m, n), x.dtype)
    core.kernel("gemm_pack_b")((weight, packed), (panels, n, k, 1, k))
    core.kernel("gemm")((x, weight, None, packed, out), (1, m, n, k, k, 1, 1, k, n, 0, 0, 0, 0, 0), (1.0, 0.0))
    return out


def ones(*shape, dtype=core.float32):
    return core.full(shape, 1, dtype)


ERRORS = [
    (lambda: matmul(ones(3, 4), ones(5, 6)), RuntimeError, r"cannot be multiplied \(3x4 and 5x6\)"),
    (lambda: matmul(ones(3), ones(5)), RuntimeError, "inconsistent tensor size"),
    (lambda: matmul(ones(3, 4), ones(5)), RuntimeError, r"size mismatch, got input \(3x4\), vec \(5\)"),
    (
        lambda: matmul(ones(2, 3, 4), ones(3, 4, 5)),
        RuntimeError,
        r"tensor a \(2\) must match the size of tensor b \(3\)",
    ),
    (lambda: matmul(ones(2, 3, 4), ones(2, 5, 6)), RuntimeError, "inner sizes 4 and 5 differ"),
    (lambda: matmul(ones(), ones(2)), RuntimeError, "at least 1D, but they are 0D and 1D"),
    (
        lambda: matmul(ones(2, 2), ones(2, 2, dtype=core.float64)),
        RuntimeError,
        "same dtype, but got: float32 != float64",
    ),
    (lambda: matmul(ones(2, 2), 3), TypeError, "argument 'other' must be Tensor, not int"),
    (lambda: matmul(ones(2, 2, dtype=core.bool_), ones(2, 2, dtype=core.bool_)), RuntimeError, "'Bool'"),
]

CASES = [
    OpCase(
        "matmul",
        matmul,
        torch="matmul",
        make=pair,
        shapes=SHAPES,
        grad=(0, 1),
        kernels=KERNELS,
        flops=flops,
        bench=[(64, 64, 64), (256, 256, 256), (1024, 1024, 1024), (1, 1024, 1024), (32, 784, 128), (4096, 64, 4096)],
        errors=ERRORS,
    ),
    OpCase(
        "matmul_transposed",
        transposed_product,
        make=each("km", "nk"),
        shapes=[(7, 9, 5), (64, 13, 65), (390, 3, 20), (1, 5, 1), (70, 20, 5), (70, 390, 1)],
        grad=(0, 1),
        kernels=KERNELS,
    ),
    OpCase(
        "matmul_broadcast",
        matmul,
        torch="matmul",
        make=both_shapes,
        shapes=[
            ((5,), (5,)),
            ((3, 5), (5,)),
            ((5,), (5, 7)),
            ((2, 3, 5), (5, 7)),
            ((2, 3, 5), (5,)),
            ((2, 3, 5), (2, 5, 7)),
            ((4, 1, 3, 5), (2, 5, 7)),
            ((5,), (2, 5, 7)),
            ((4, 2, 3, 5), (4, 1, 5, 2)),
            ((2, 1, 3, 5), (1, 4, 5, 3)),
            ((2, 0, 3), (2, 3, 4)),
            ((0, 2, 3), (3, 4)),
            ((300, 2, 3), (300, 3, 4)),
        ],
        grad=(0, 1),
        kernels=KERNELS,
    ),
    OpCase(
        "mm",
        mm,
        torch="mm",
        make=pair,
        shapes=[(3, 4, 5)],
        grad=(0, 1),
        kernels=KERNELS,
        errors=[(lambda: mm(ones(2), ones(2, 2)), RuntimeError, "self must be a matrix")],
    ),
    OpCase(
        "bmm",
        bmm,
        torch="bmm",
        make=each("bmk", "bkn"),
        shapes=[(3, 4, 5, 6), (1, 1, 1, 1), (0, 2, 3, 4)],
        grad=(0, 1),
        kernels=KERNELS,
        bench=[(48, 64, 64, 64)],
        errors=[(lambda: bmm(ones(2, 3, 4), ones(2, 5, 6)), RuntimeError, r"to be: \[2, 4\] but got: \[2, 5\]")],
    ),
    OpCase(
        "mv",
        mv,
        torch="mv",
        make=each("mk", "k"),
        shapes=[(3, 4), (100, 33), (1, 1)],
        grad=(0, 1),
        kernels=KERNELS,
        bench=[(1024, 1024)],
        errors=[(lambda: mv(ones(2, 2), ones(2, 2)), RuntimeError, "a matrix and a vector")],
    ),
    OpCase(
        "dot",
        dot,
        torch="dot",
        make=each("k", "k"),
        shapes=[(0,), (1,), (401,), (33000,)],
        grad=(0, 1),
        kernels=(*KERNELS, "dot_product"),
        errors=[(lambda: dot(ones(2, 2), ones(2)), RuntimeError, "1D tensors expected")],
    ),
    OpCase(
        "outer",
        outer,
        torch="outer",
        make=each("m", "n"),
        shapes=[(3, 4), (1, 17)],
        grad=(0, 1),
        errors=[(lambda: outer(ones(2, 2), ones(2)), RuntimeError, "1-D")],
    ),
    OpCase("inner", inner, torch="inner", make=each("mk", "nk"), shapes=[(3, 4, 5)], grad=(0, 1), kernels=KERNELS),
    OpCase(
        "tensordot",
        tensordot,
        torch="tensordot",
        make=each("abk", "bkn"),
        shapes=[(2, 3, 4, 5)],
        grad=(0, 1),
        kernels=KERNELS,
        errors=[(lambda: tensordot(ones(2, 3), ones(4, 5), 1), RuntimeError, "contracted dimensions need to match")],
    ),
    OpCase(
        "addmm",
        addmm,
        torch="addmm",
        make=each("n", "mk", "kn"),
        shapes=[(4, 3, 5), (33, 15, 64)],
        grad=(0, 1, 2),
        kwargs=[{}, {"beta": 0.5, "alpha": 2.0}],
        kernels=KERNELS,
        errors=[(lambda: addmm(ones(7), ones(2, 3), ones(3, 4)), RuntimeError, "does not broadcast")],
    ),
    OpCase(
        "baddbmm",
        baddbmm,
        torch="baddbmm",
        make=each("mn", "bmk", "bkn"),
        shapes=[(3, 4, 2, 5)],
        grad=(0, 1, 2),
        kwargs=[{}, {"beta": 0.5, "alpha": 2.0}],
        kernels=KERNELS,
    ),
    OpCase(
        "linear",
        linear,
        torch="nn.functional.linear",
        make=each("mk", "nk", "n"),
        shapes=[(m, k, n) for m, k, n in SHAPES if m],
        grad=(0, 1, 2),
        kernels=(*KERNELS, "column_sum"),
        flops=flops,
        bench=[(32, 13, 64), (32, 64, 64), (32, 784, 128), (128, 512, 512), (2048, 384, 1536)],
        errors=[
            (lambda: linear(ones(2, 3), ones(4, 5)), RuntimeError, r"cannot be multiplied \(2x3 and 5x4\)"),
            (
                lambda: linear(ones(2, 3), ones(4, 3), ones(3)),
                RuntimeError,
                r"bias \(3,\) does not fit weight \(4, 3\)",
            ),
            (lambda: linear(ones(2, 3), ones(4, 3), 1.0), TypeError, "argument 'bias' must be Tensor, not float"),
        ],
    ),
    OpCase(
        "linear_rows",
        linear,
        torch="nn.functional.linear",
        make=each("abk", "nk"),
        shapes=[(2, 3, 4, 5), (3, 700, 2, 33)],
        grad=(0, 1),
        kernels=KERNELS,
    ),
    OpCase(
        "linear_vector",
        linear,
        torch="nn.functional.linear",
        make=each("mk", "k"),
        shapes=[(5, 13)],
        grad=(0, 1),
        kernels=KERNELS,
    ),
    OpCase(
        "linear_many_rows",
        linear,
        torch="nn.functional.linear",
        make=each("mk", "nk", "n"),
        shapes=[(1100, 2, 3)],
        grad=(2,),
        kernels=("column_sum",),
    ),
    OpCase(
        "linear_kept_packing",
        kept_packing,
        make=each("mk", "nk"),
        shapes=[(3, 64, 70), (1, 400, 33)],
        grad=(),
        kernels=KERNELS,
    ),
    OpCase(
        "linear_packed",
        packed_product,
        make=each("mk", "nk"),
        shapes=[(3, 64, 70), (1, 400, 33), (2, 5, 32)],
        grad=(),
        kernels=("gemm_pack_b",),
        dtypes=("float32",),
    ),
    *[
        OpCase(
            f"linear_{name}",
            lambda x, w, b, name=name: linear_activation(x, w, b, name),
            make=each("mk", "nk", "n"),
            shapes=[(5, 13, 20), (1, 3, 1)],
            grad=(0, 1, 2),
            kernels=KERNELS,
            tolerance=2,
        )
        for name in ("relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid")
    ],
    *[
        OpCase(
            f"linear_{name}_inference",
            lambda x, w, b, name=name: linear_activation(x, w, b, name),
            make=each("mk", "nk", "n"),
            shapes=[(5, 13, 20), (17, 30, 33)],
            grad=(),
            kernels=KERNELS,
            tolerance=2,
        )
        for name in ("relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid")
    ],
    *[
        OpCase(
            f"einsum_{i}",
            lambda *x, equation=equation: einsum(equation, *x),
            make=both_shapes,
            shapes=[shapes],
            grad=tuple(range(len(shapes))),
            kernels=KERNELS if len(shapes) > 1 else (),
        )
        for i, (equation, *shapes) in enumerate(
            [
                ("ij,jk->ik", (2, 3), (3, 4)),
                ("bij,bjk", (2, 3, 4), (2, 4, 5)),
                ("ii->i", (3, 3)),
                ("ii", (3, 3)),
                ("i,j", (3,), (4,)),
                ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)),
                ("bhid,bhjd->bhij", (2, 3, 4, 5), (2, 3, 6, 5)),
                ("ab,bc,cd->ad", (2, 3), (3, 4), (4, 5)),
                ("abc,abd->dc", (2, 3, 4), (2, 3, 5)),
                ("ij,ij->", (3, 2), (3, 2)),
            ]
        )
    ],
]


def integers(rng, shape):
    m, k, n = shape
    return rng.integers(-9, 9, (m, k)), rng.integers(-9, 9, (k, n)).astype(np.int64)


CASES.append(
    OpCase("matmul_integers", matmul, torch="matmul", make=integers, shapes=[(3, 4, 5)], grad=(), dtypes=("float32",))
)
