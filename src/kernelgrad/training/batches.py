"""What a `Trainer` accepts as data, turned into batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from kernelgrad.data import DataLoader, Dataset, TensorDataset
from kernelgrad.ops.creation import from_numpy
from kernelgrad.tensor import Tensor


def as_loader(data: Any, targets: Any, batch_size: int, shuffle: bool, dtype: Any, what: str) -> Iterable[Any]:
    """A `DataLoader` over a dataset, a tensor, a NumPy array or a tuple of these; any other iterable is one of batches.

    Floating-point NumPy arrays are cast to `dtype`, the model's own; tensors are taken as they are.
    """
    if targets is not None:
        data = tuple(part if isinstance(part, Tensor) else np.asarray(part) for part in (data, targets))
    if isinstance(data, Tensor | np.ndarray):
        data = (data,)
    if isinstance(data, tuple) and data and all(isinstance(part, Tensor | np.ndarray) for part in data):
        tensors = [as_tensor(part, dtype) for part in data]
        sizes = [tensor.shape[0] if tensor.ndim else 0 for tensor in tensors]
        if len(set(sizes)) > 1:
            raise ValueError(f"{what}: inputs and targets have {sizes} rows; they need the same number")
        data = TensorDataset(*tensors)
    if isinstance(data, Dataset):
        return DataLoader(data, batch_size=batch_size, shuffle=shuffle and not hasattr(data, "__iter__"))
    if hasattr(data, "__iter__"):
        return data
    raise TypeError(
        f"{what}: data is {type(data).__name__}; "
        "give a DataLoader, a Dataset, tensors, NumPy arrays or an iterable of batches"
    )


def as_tensor(value: Any, dtype: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"data has dtype {array.dtype}; only numbers and booleans can be trained on")
    if array.dtype.kind == "f":
        array = array.astype(dtype.numpy, copy=False)
    elif array.dtype.name not in ("int64", "int32", "int8", "uint8", "bool"):
        array = array.astype(np.int64)
    if not array.flags.writeable or not array.flags.c_contiguous:
        array = array.copy()
    return from_numpy(array)


def split_batch(batch: Any, device: str | None, needs_target: bool, what: str) -> tuple[tuple[Any, ...], Any]:
    """(inputs, target) of one batch, on `device`; a batch of one tensor has no target."""
    parts = (
        (batch,) if isinstance(batch, Tensor | np.ndarray) else tuple(batch) if isinstance(batch, tuple | list) else ()
    )
    if not parts or (needs_target and len(parts) < 2):
        raise TypeError(
            f"{what}: a batch is {type(batch).__name__} of {len(parts)} parts; expected (inputs..., target)"
            if parts
            else f"{what}: a batch is {type(batch).__name__}; expected a tensor or a tuple (inputs..., target)"
        )
    parts = tuple(from_numpy(part) if isinstance(part, np.ndarray) else part for part in parts)
    if device is not None:
        parts = tuple(part.to(device) if isinstance(part, Tensor) else part for part in parts)
    return (parts, None) if len(parts) == 1 else (parts[:-1], parts[-1])
