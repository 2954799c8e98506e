"""From a list of samples to one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernelgrad.ops.creation import from_numpy, tensor
from kernelgrad.ops.shape import stack
from kernelgrad.tensor import Tensor


def default_collate(batch: Sequence[Any]) -> Any:
    """Put the samples of `batch` together, as PyTorch does.

    Tensors and NumPy arrays are stacked along a new first axis; Python floats become a float64 tensor, ints int64,
    bools bool; strings stay a list; mappings, tuples and lists are collated entry by entry (a tuple of fields comes
    back as a list).

    Raises
    ------
    RuntimeError
        If arrays differ in shape, or sequences in length.
    TypeError
        If the samples are of a type that cannot be batched: pass your own `collate_fn`.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        check_shapes([sample.shape for sample in batch])
        return stack(list(batch))
    if isinstance(first, np.ndarray | np.generic):
        check_shapes([np.shape(sample) for sample in batch])
        return from_numpy(np.stack([np.asarray(sample) for sample in batch]))
    if isinstance(first, bool | int):
        return tensor(list(batch))
    if isinstance(first, float):
        return from_numpy(np.asarray(batch, np.float64))
    if isinstance(first, str | bytes):
        return list(batch)
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in batch]) for key in first}
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(default_collate(field) for field in zip(*batch, strict=True)))
    if isinstance(first, Sequence):
        lengths = {len(sample) for sample in batch}
        if len(lengths) > 1:
            raise RuntimeError(f"default_collate: samples have {sorted(lengths)} fields; each needs the same number")
        return [default_collate(field) for field in zip(*batch, strict=True)]
    raise TypeError(
        f"default_collate: cannot batch samples of type {type(first).__name__}; "
        "return tensors, arrays, numbers, strings, mappings or sequences, or pass a collate_fn"
    )


def check_shapes(shapes: list[tuple[int, ...]]) -> None:
    for position, shape in enumerate(shapes):
        if tuple(shape) != tuple(shapes[0]):
            raise RuntimeError(
                f"default_collate: sample {position} has shape {tuple(shape)}, sample 0 has {tuple(shapes[0])}; "
                "stacking needs equal shapes: crop or pad them, or pass a collate_fn"
            )
