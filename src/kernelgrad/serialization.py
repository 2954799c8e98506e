"""`save` and `load`: tensors and plain data in one safetensors file. No pickle: reading a file never runs code.

A flat mapping from names to tensors (what `state_dict()` returns) is an ordinary safetensors file that other libraries
read. Anything nested (dicts, lists, tuples, numbers, strings, None, NumPy arrays) keeps its tensors in the same form,
and the tree around them as JSON in the header's metadata under "kernelgrad".
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors

from kernelgrad import core
from kernelgrad.ops.creation import from_numpy
from kernelgrad.tensor import Tensor

# core dtype name: (safetensors name in files, safetensors name in its Python interface)
NAMES = {
    "float64": ("F64", "float64"),
    "float32": ("F32", "float32"),
    "bfloat16": ("BF16", "bfloat16"),
    "float16": ("F16", "float16"),
    "int64": ("I64", "int64"),
    "int32": ("I32", "int32"),
    "int16": ("I16", "int16"),
    "int8": ("I8", "int8"),
    "uint8": ("U8", "uint8"),
    "uint16": ("U16", "uint16"),
    "uint32": ("U32", "uint32"),
    "uint64": ("U64", "uint64"),
    "bool": ("BOOL", "bool"),
}
FROM_FILE = {file: name for name, (file, _) in NAMES.items()}


def save(obj: Any, f: str | os.PathLike | BinaryIO) -> None:
    """Write `obj` to the path or binary file `f`.

    A path is written under another name first and then renamed, so whoever reads it sees the old file or the new one,
    whole.

    Raises
    ------
    TypeError
        If `obj` holds something that is neither tensor, array, number, string, None nor a dict, list or tuple of these.
    """
    data = encode(obj)
    if hasattr(f, "write"):
        f.write(data)
    else:
        write_atomically(Path(f), data)


def load(f: str | os.PathLike | BinaryIO, map_location: str | None = None) -> Any:
    """What `save` wrote, from the path or binary file `f`; any other safetensors file comes back as a dict of tensors.

    Tensors arrive on the CPU, or on `map_location` ("cuda").

    Raises
    ------
    ValueError
        If the file is not a safetensors file, or is damaged.
    """
    source: Any = f
    data = source.read() if hasattr(source, "read") else Path(source).read_bytes()
    return decode(data, map_location, name=str(getattr(f, "name", f)))


def encode(obj: Any) -> bytes:
    tensors: dict[str, Tensor | np.ndarray] = {}
    if is_state_dict(obj):
        tensors.update(obj)
        metadata = None
    else:
        metadata = {"kernelgrad": json.dumps(describe(obj, "", tensors), allow_nan=False)}
    return serialize({name: raw(value) for name, value in tensors.items()}, metadata)


def decode(data: bytes, device: str | None = None, name: str = "data") -> Any:
    try:
        entries = safetensors.deserialize(data)
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__") or {}
    except (safetensors.SafetensorError, ValueError) as error:
        raise ValueError(f"load: {name} is not a whole safetensors file ({error})") from None
    tensors = {key: revived(entry) for key, entry in entries}
    if "kernelgrad" in metadata:
        return rebuild(json.loads(metadata["kernelgrad"]), tensors, device)
    return {key: placed(tensors[key], device) for key in sorted(tensors)}


def write_atomically(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent or ".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # mkstemp makes files that only their owner reads
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


# ---- The tree around the tensors ----


def is_state_dict(obj: Any) -> bool:
    return isinstance(obj, Mapping) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in obj.items())


def describe(obj: Any, path: str, tensors: dict[str, Tensor | np.ndarray]) -> Any:
    """`obj` as JSON; tensors and arrays go to `tensors` under their path."""
    if isinstance(obj, Tensor | np.ndarray | np.generic):  # first: a np.float64 is a float too
        kind = "tensor" if isinstance(obj, Tensor) else "array" if isinstance(obj, np.ndarray) else "scalar"
        name = path or "value"
        while name in tensors:  # {"a": {"b": x}, "a.b": y} both want the name a.b
            name += "_"
        tensors[name] = obj if not isinstance(obj, np.generic) else np.asarray(obj)
        return {kind: name}
    if obj is None or isinstance(obj, bool | str | int):
        return obj
    if isinstance(obj, float):
        return obj if math.isfinite(obj) else {"float": repr(obj)}
    if isinstance(obj, Mapping):
        items = [[describe_key(k), describe(v, f"{path}.{k}" if path else str(k), tensors)] for k, v in obj.items()]
        return {"dict": items}
    if isinstance(obj, list | tuple):
        entries = [describe(v, f"{path}.{i}" if path else str(i), tensors) for i, v in enumerate(obj)]
        return entries if isinstance(obj, list) else {"tuple": entries}
    raise TypeError(
        f"save: {path or 'the object'} is of type {type(obj).__name__}; "
        "only tensors, arrays, numbers, strings, None, dicts, lists and tuples can be saved "
        "(for a model, save model.state_dict())"
    )


def describe_key(key: Any) -> Any:
    if isinstance(key, str | int | float | bool) or key is None:
        return key
    raise TypeError(f"save: dict key {key!r} is of type {type(key).__name__}; keys must be strings, numbers or None")


def rebuild(tree: Any, tensors: dict[str, np.ndarray | Tensor], device: str | None) -> Any:
    if isinstance(tree, list):
        return [rebuild(entry, tensors, device) for entry in tree]
    if not isinstance(tree, dict):
        return tree
    ((kind, value),) = tree.items()
    if kind == "dict":
        return {key: rebuild(entry, tensors, device) for key, entry in value}
    if kind == "tuple":
        return tuple(rebuild(entry, tensors, device) for entry in value)
    if kind == "float":
        return float(value)
    if kind == "tensor":
        return placed(tensors[value], device)
    return tensors[value] if kind == "array" else tensors[value][()]


# ---- Arrays and bytes ----


def raw(value: Tensor | np.ndarray) -> tuple[str, tuple[int, ...], np.ndarray]:
    """Name of the dtype, shape, and the elements as a contiguous, little-endian NumPy array."""
    if isinstance(value, Tensor):
        tensor = value.detach().to("cpu")
        if tensor.dtype is core.bfloat16:
            return "bfloat16", tuple(tensor.shape), bits_of_bfloat16(tensor)
        array = tensor.numpy()
    else:
        array = value
    if array.dtype.name not in NAMES:
        raise TypeError(
            f"save: arrays of dtype {array.dtype} cannot be saved; convert them to one of {', '.join(NAMES)}"
        )
    shape = array.shape
    return array.dtype.name, shape, np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(shape)


def revived(entry: dict[str, Any]) -> np.ndarray | Tensor:
    name = FROM_FILE.get(entry["dtype"])
    if name is None:
        raise ValueError(f"load: tensors of dtype {entry['dtype']} are not supported")
    if name == "bfloat16":  # widening to float32 is exact, and so is the way back
        bits = np.frombuffer(entry["data"], "<u2").astype(np.uint32) << 16
        return from_numpy(bits.view(np.float32).reshape(entry["shape"])).to(core.bfloat16)
    dtype = np.dtype(name).newbyteorder("<")
    return np.frombuffer(entry["data"], dtype).astype(name, copy=True).reshape(entry["shape"])


def bits_of_bfloat16(value: Tensor) -> np.ndarray:
    """The upper half of each float32: exact, since the values came from bfloat16."""
    wide = np.ascontiguousarray(value.to(core.float32).numpy())
    return (wide.view(np.uint32) >> 16).astype("<u2").reshape(wide.shape)


def placed(value: np.ndarray | Tensor, device: str | None) -> Tensor:
    tensor = value if isinstance(value, Tensor) else from_numpy(value)
    return tensor if device is None else tensor.to(device)


def serialize(arrays: dict[str, tuple[str, tuple[int, ...], np.ndarray]], metadata: dict[str, str] | None) -> bytes:
    """safetensors 0.8 takes `TensorSpec`s that point at the memory, earlier ones dictionaries that hold the bytes."""
    entries: dict[str, Any]
    if hasattr(safetensors, "TensorSpec"):
        entries = {
            key: safetensors.TensorSpec(
                dtype=NAMES[name][1], shape=shape, data_ptr=array.ctypes.data, data_len=array.nbytes
            )
            for key, (name, shape, array) in arrays.items()
        }
    else:
        entries = {
            key: {"dtype": NAMES[name][1], "shape": shape, "data": array.tobytes()}
            for key, (name, shape, array) in arrays.items()
        }
    return bytes(safetensors.serialize(entries, metadata=metadata))
