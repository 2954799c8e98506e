"""Products of vectors and tensors, composed of matrix products."""

from __future__ import annotations

import math

from kernelgrad.ops.matmul import matmul
from kernelgrad.tensor import Tensor


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input1 @ weight[o] @ input2 + bias[o]`` for each output o. Shape: (*, I), (*, J), (O, I, J), (O,) -> (*, O)."""
    out_features, first, second = weight.shape
    if input1.shape[:-1] != input2.shape[:-1]:
        raise RuntimeError(
            "bilinear(): input batch dimensions do not match: "
            f"got {tuple(input1.shape)} and {tuple(input2.shape)}; all but the last must be equal"
        )
    if input1.shape[-1] != first or input2.shape[-1] != second:
        raise RuntimeError(
            f"bilinear(): weight {tuple(weight.shape)} takes {first} and {second} features, "
            f"got {input1.shape[-1]} and {input2.shape[-1]}"
        )
    count = math.prod(input1.shape[:-1])
    rows = input1.reshape(count, first)
    mixed = matmul(rows, weight.permute(1, 0, 2).reshape(first, out_features * second))
    products = mixed.reshape(count, out_features, second) * input2.reshape(count, 1, second)
    out = products.sum(-1).reshape(*input1.shape[:-1], out_features)
    return out if bias is None else out + bias
