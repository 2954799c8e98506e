"""The dispatch table: one line per kernel says what exists, and for which dtypes.

`reference` (NumPy) is implied everywhere and answers for every other dtype. `key` is the array whose dtype selects; a `whole`
kernel cuts its own work; `ns` estimates the time per element of the largest array, which decides when threads help.
"""

from typing import NamedTuple

F32 = ("float32",)
FLOATS = ("float32", "float64")
INTS = ("int64", "int32", "int8", "uint8", "bool_")
ALL = (*FLOATS, "bfloat16", *INTS)


class Kernel(NamedTuple):
    name: str
    family: str
    simd: tuple[str, ...] = ()
    jit: tuple[str, ...] = ()
    cuda: tuple[str, ...] = ()
    key: int = 0
    whole: bool = False
    ns: float = 0.3


TABLE = [
    # ---- elementwise ----
    Kernel("add_forward", "elementwise"),
    Kernel("sub_forward", "elementwise"),
    Kernel("mul_forward", "elementwise"),
    Kernel("div_forward", "elementwise"),
    Kernel("div_backward_y", "elementwise"),
    Kernel("pow_forward", "elementwise"),
    Kernel("pow_backward_x", "elementwise"),
    Kernel("pow_backward_y", "elementwise"),
    Kernel("maximum_forward", "elementwise"),
    Kernel("maximum_backward_x", "elementwise"),
    Kernel("maximum_backward_y", "elementwise"),
    Kernel("minimum_forward", "elementwise"),
    Kernel("minimum_backward_x", "elementwise"),
    Kernel("minimum_backward_y", "elementwise"),
    Kernel("atan2_forward", "elementwise"),
    Kernel("atan2_backward_x", "elementwise"),
    Kernel("atan2_backward_y", "elementwise"),
    Kernel("fmod_forward", "elementwise"),
    Kernel("remainder_forward", "elementwise"),
    Kernel("floor_divide_forward", "elementwise"),
    Kernel("eq_forward", "elementwise"),
    Kernel("ne_forward", "elementwise"),
    Kernel("lt_forward", "elementwise"),
    Kernel("le_forward", "elementwise"),
    Kernel("gt_forward", "elementwise"),
    Kernel("ge_forward", "elementwise"),
    Kernel("logical_and_forward", "elementwise"),
    Kernel("logical_or_forward", "elementwise"),
    Kernel("logical_xor_forward", "elementwise"),
    Kernel("bitwise_and_forward", "elementwise"),
    Kernel("bitwise_or_forward", "elementwise"),
    Kernel("bitwise_xor_forward", "elementwise"),
    Kernel("where_forward", "elementwise", key=1),
    # ---- reduction ----
    Kernel("sum_forward", "reduction"),
    # ---- conv (ns: what a Numba twin takes, per element of the largest array; the C kernels cut their own work) ----
    Kernel("conv2d_forward", "conv", simd=F32, jit=FLOATS, whole=True, ns=30),
    Kernel("conv2d_backward_data", "conv", simd=F32, jit=FLOATS, whole=True, ns=30),
    Kernel("conv2d_backward_weight", "conv", simd=F32, jit=FLOATS, whole=True, ns=30),
    Kernel("conv_transpose2d_forward", "conv", simd=F32, jit=FLOATS, whole=True, ns=30),
    Kernel("conv_backward_bias", "conv", simd=F32, jit=FLOATS, whole=True, ns=1),
    # ---- embedding ----
    Kernel("embedding_forward", "embedding", simd=ALL, jit=FLOATS, cuda=ALL),
    Kernel("index_order", "embedding", simd=("int64",), whole=True),
    Kernel("embedding_backward", "embedding", simd=F32, jit=FLOATS, cuda=FLOATS),
    # ---- indexing ----
    Kernel("normalize_index", "indexing", simd=("int64", "int32"), whole=True),
    Kernel("gather_forward", "indexing", simd=ALL, jit=FLOATS, cuda=ALL, ns=1.0),
    Kernel("scatter_forward", "indexing", simd=ALL, jit=FLOATS, cuda=ALL, ns=1.0),
    Kernel("scatter_add_forward", "indexing", simd=("float32", "float64", "int64"), jit=FLOATS, cuda=FLOATS, ns=1.5),
    Kernel("masked_fill_forward", "indexing", simd=F32, jit=FLOATS, cuda=FLOATS),
    Kernel("triangle_forward", "indexing", simd=ALL, jit=FLOATS, cuda=ALL),
    # ---- optim ----
    Kernel("sgd_step", "optim", simd=F32, jit=FLOATS, cuda=FLOATS),
    Kernel("adam_step", "optim", simd=F32, jit=FLOATS, cuda=FLOATS),
    Kernel("nadam_step", "optim", simd=F32, jit=FLOATS, cuda=FLOATS),
    Kernel("adamax_step", "optim", simd=F32, jit=FLOATS, cuda=FLOATS),
    Kernel("rmsprop_step", "optim", simd=F32, jit=FLOATS, cuda=FLOATS),
    Kernel("adagrad_step", "optim", simd=F32, jit=FLOATS, cuda=FLOATS),
    Kernel("adadelta_step", "optim", simd=F32, jit=FLOATS, cuda=FLOATS),
    Kernel("scale_step", "optim", simd=F32, jit=FLOATS, cuda=FLOATS),
]
