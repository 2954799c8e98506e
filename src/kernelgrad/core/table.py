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
    Kernel("add_forward", "elementwise", simd=F32, jit=FLOATS, cuda=FLOATS),
    Kernel("sub_forward", "elementwise", simd=F32, jit=FLOATS, cuda=FLOATS),
    Kernel("mul_forward", "elementwise", simd=F32, jit=FLOATS, cuda=FLOATS),
    Kernel("div_forward", "elementwise", simd=F32, jit=FLOATS, cuda=FLOATS),
    Kernel("div_backward_y", "elementwise", simd=F32, jit=FLOATS, cuda=FLOATS),
    Kernel("pow_forward", "elementwise", jit=FLOATS, cuda=FLOATS),
    Kernel("pow_backward_x", "elementwise", jit=FLOATS, cuda=FLOATS),
    Kernel("pow_backward_y", "elementwise", jit=FLOATS, cuda=FLOATS),
    Kernel("maximum_forward", "elementwise", simd=F32, jit=FLOATS, cuda=FLOATS),
    Kernel("maximum_backward_x", "elementwise", simd=F32, jit=FLOATS, cuda=FLOATS),
    Kernel("maximum_backward_y", "elementwise", simd=F32, jit=FLOATS, cuda=FLOATS),
    Kernel("minimum_forward", "elementwise", simd=F32, jit=FLOATS, cuda=FLOATS),
    Kernel("minimum_backward_x", "elementwise", simd=F32, jit=FLOATS, cuda=FLOATS),
    Kernel("minimum_backward_y", "elementwise", simd=F32, jit=FLOATS, cuda=FLOATS),
    Kernel("atan2_forward", "elementwise", jit=FLOATS, cuda=FLOATS),
    Kernel("atan2_backward_x", "elementwise", jit=FLOATS, cuda=FLOATS),
    Kernel("atan2_backward_y", "elementwise", jit=FLOATS, cuda=FLOATS),
    Kernel("fmod_forward", "elementwise", jit=FLOATS, cuda=FLOATS),
    Kernel("remainder_forward", "elementwise", jit=FLOATS, cuda=FLOATS),
    Kernel("floor_divide_forward", "elementwise", jit=FLOATS, cuda=FLOATS),
    Kernel("eq_forward", "elementwise", simd=F32, jit=FLOATS, cuda=(*FLOATS, *INTS)),
    Kernel("ne_forward", "elementwise", simd=F32, jit=FLOATS, cuda=(*FLOATS, *INTS)),
    Kernel("lt_forward", "elementwise", simd=F32, jit=FLOATS, cuda=(*FLOATS, *INTS)),
    Kernel("le_forward", "elementwise", simd=F32, jit=FLOATS, cuda=(*FLOATS, *INTS)),
    Kernel("gt_forward", "elementwise", simd=F32, jit=FLOATS, cuda=(*FLOATS, *INTS)),
    Kernel("ge_forward", "elementwise", simd=F32, jit=FLOATS, cuda=(*FLOATS, *INTS)),
    Kernel("logical_and_forward", "elementwise", cuda=(*FLOATS, *INTS)),
    Kernel("logical_or_forward", "elementwise", cuda=(*FLOATS, *INTS)),
    Kernel("logical_xor_forward", "elementwise", cuda=(*FLOATS, *INTS)),
    Kernel("bitwise_and_forward", "elementwise", cuda=INTS),
    Kernel("bitwise_or_forward", "elementwise", cuda=INTS),
    Kernel("bitwise_xor_forward", "elementwise", cuda=INTS),
    Kernel("where_forward", "elementwise", simd=F32, jit=FLOATS, cuda=(*FLOATS, *INTS), key=1),
    # ---- reduction ----
    Kernel("sum_forward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("sum_backward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("mean_forward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("mean_backward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("prod_forward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("prod_backward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("amax_forward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("amin_forward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("amax_backward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("argmax_forward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("argmin_forward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("max_forward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("min_forward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("max_backward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, key=1, whole=True),
    Kernel("norm_forward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("norm_backward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("logsumexp_forward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("logsumexp_backward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("var_forward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("var_backward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("std_forward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("std_backward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("cumsum_forward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("cumsum_backward", "reduction", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("any_forward", "reduction"),
    Kernel("all_forward", "reduction"),
    # ---- softmax ----
    Kernel("softmax_forward", "softmax", simd=F32, jit=FLOATS, ns=0.5),
    Kernel("softmax_backward", "softmax", simd=F32, jit=FLOATS, ns=0.5),
    Kernel("log_softmax_forward", "softmax", simd=F32, jit=FLOATS, ns=0.5),
    Kernel("log_softmax_backward", "softmax", simd=F32, jit=FLOATS, ns=0.5),
    # ---- normalization ----
    Kernel("layer_norm_forward", "normalization", simd=F32, jit=FLOATS),
    Kernel("layer_norm_backward", "normalization", simd=F32, jit=FLOATS, whole=True),
    Kernel("rms_norm_forward", "normalization", simd=F32, jit=FLOATS),
    Kernel("rms_norm_backward", "normalization", simd=F32, jit=FLOATS, whole=True),
    Kernel("batch_norm_forward", "normalization", simd=F32, jit=FLOATS, whole=True),
    Kernel("batch_norm_inference", "normalization", simd=F32, jit=FLOATS, whole=True),
    Kernel("batch_norm_backward", "normalization", simd=F32, jit=FLOATS, whole=True),
    Kernel("batch_norm_inference_backward", "normalization", simd=F32, jit=FLOATS, whole=True),
    Kernel("group_norm_forward", "normalization", simd=F32, jit=FLOATS),
    Kernel("group_norm_backward", "normalization", simd=F32, jit=FLOATS, whole=True),
    # ---- loss ----
    Kernel("mse_loss_forward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("mse_loss_backward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, ns=0.5),
    Kernel("l1_loss_forward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("l1_loss_backward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, ns=0.5),
    Kernel("smooth_l1_loss_forward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("smooth_l1_loss_backward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, ns=0.5),
    Kernel("huber_loss_forward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("huber_loss_backward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, ns=0.5),
    Kernel("binary_cross_entropy_forward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("binary_cross_entropy_backward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, ns=0.5),
    Kernel("binary_cross_entropy_backward_target", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, ns=0.5),
    Kernel("binary_cross_entropy_with_logits_forward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("binary_cross_entropy_with_logits_backward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, ns=0.5),
    Kernel("binary_cross_entropy_with_logits_backward_target", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, ns=0.5),
    Kernel("kl_div_forward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("kl_div_backward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, ns=0.5),
    Kernel("kl_div_backward_target", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, ns=0.5),
    Kernel("cross_entropy_forward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("cross_entropy_backward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, ns=0.4),
    Kernel("cross_entropy_soft_forward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("cross_entropy_soft_backward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, ns=0.4),
    Kernel("nll_loss_forward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("nll_loss_backward", "loss", simd=F32, jit=FLOATS, cuda=FLOATS, key=2),
    # ---- conv (ns: what a Numba twin takes, per element of the largest array; the C kernels cut their own work) ----
    Kernel("conv2d_forward", "conv", simd=F32, jit=FLOATS, whole=True, ns=30),
    Kernel("conv2d_backward_data", "conv", simd=F32, jit=FLOATS, whole=True, ns=30),
    Kernel("conv2d_backward_weight", "conv", simd=F32, jit=FLOATS, whole=True, ns=30),
    Kernel("conv_transpose2d_forward", "conv", simd=F32, jit=FLOATS, whole=True, ns=30),
    Kernel("conv_backward_bias", "conv", simd=F32, jit=FLOATS, whole=True, ns=1),
    # ---- pooling ----
    Kernel("max_pool2d_forward", "pooling", simd=F32, jit=FLOATS, ns=0.2),
    Kernel("max_pool2d_backward", "pooling", simd=F32, jit=FLOATS, ns=0.2),
    Kernel("max_pool2d_indices", "pooling", simd=("int32",), jit=("int32",)),
    Kernel("avg_pool2d_forward", "pooling", simd=F32, jit=FLOATS, ns=0.2),
    Kernel("avg_pool2d_backward", "pooling", simd=F32, jit=FLOATS, ns=0.2),
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
    Kernel("squared_norm_forward", "optim", simd=F32, jit=FLOATS, cuda=FLOATS, ns=0.1),
    # ---- matmul ----
    Kernel("gemm", "matmul", simd=FLOATS, jit=FLOATS, cuda=FLOATS, whole=True),
    Kernel("gemm_pack_b", "matmul", simd=F32),
    Kernel("column_sum", "matmul", simd=F32, jit=FLOATS, cuda=FLOATS, whole=True),
    # ---- random ----
    Kernel("uniform_fill", "random", simd=F32, jit=FLOATS, cuda=FLOATS, ns=0.4),
    Kernel("normal_fill", "random", simd=F32, jit=FLOATS, cuda=FLOATS, ns=0.9),
    Kernel("exponential_fill", "random", simd=F32, jit=FLOATS, cuda=FLOATS, ns=0.7),
    Kernel("bernoulli_fill", "random", simd=F32, jit=FLOATS, cuda=FLOATS, ns=0.4),
    Kernel("dropout_forward", "random", simd=F32, jit=FLOATS, cuda=FLOATS, ns=0.4),
    Kernel("random_bits_fill", "random", simd=("int32", "int64"), jit=("int32", "int64"), cuda=("int32", "int64"), ns=0.6),
    Kernel("randint_fill", "random", simd=("int64",), jit=("int64",), cuda=("int64",)),
]
