"""Readers of image files as they are published: IDX (MNIST and its relatives) and the CIFAR-10 binary version."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path

import numpy as np

from kernelgrad.data.split import DataSplit, dataset_of, stratified_split

IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_ROW = 1 + 3 * 32 * 32


def load_folder(folder: str | Path) -> DataSplit:
    """Whatever `folder` holds: IDX files or CIFAR-10 binary batches."""
    folder = existing(folder)
    if find_idx(folder, "train", "images") or find_idx(folder, "t10k", "images"):
        return load_idx_folder(folder)
    if cifar_files(folder, "data_batch_*.bin") or cifar_files(folder, "test_batch.bin"):
        return load_cifar10(folder)
    raise FileNotFoundError(
        f"load_folder: {folder} holds neither IDX files (train-images-idx3-ubyte, plain or .gz) "
        "nor CIFAR-10 binary batches (data_batch_1.bin)"
    )


def read_idx(path: str | Path) -> np.ndarray:
    """One IDX file, plain or gzipped, as an array of its own dtype.

    Raises
    ------
    ValueError
        If the file is not IDX, or is shorter or longer than its header says.
    """
    path = Path(path)
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError) as error:
            raise ValueError(f"read_idx: {path} is a broken gzip file ({error})") from None
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in IDX_DTYPES or len(raw) < 4 + 4 * raw[3]:
        raise ValueError(f"read_idx: {path} does not begin with an IDX header")
    shape = struct.unpack_from(f">{raw[3]}I", raw, 4)
    dtype = np.dtype(IDX_DTYPES[raw[2]])
    start, expected = 4 + 4 * raw[3], math.prod(shape) * dtype.itemsize
    if len(raw) - start != expected:
        raise ValueError(
            f"read_idx: {path} says shape {shape}, that is {expected} bytes, but {len(raw) - start} follow the header"
        )
    return np.frombuffer(raw, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def load_idx_folder(folder: str | Path) -> DataSplit:
    """MNIST-style IDX files of `folder` as float32 images (n, 1, H, W) from 0 to 1 and int64 labels.

    `train-images-idx3-ubyte` and `train-labels-idx1-ubyte` are the training data, `t10k-...` the test data. Where only
    one of the two is there, it is split: 20 % test, stratified, seed 0 (`stratified_split`).

    Raises
    ------
    FileNotFoundError, ValueError
        If files are missing, broken, or images and labels differ in number.
    """
    folder = existing(folder)
    train, test = idx_pair(folder, "train"), idx_pair(folder, "t10k")
    notes = ""
    if train is None or test is None:
        one, part = (test, "t10k") if train is None else (train, "train")
        if one is None:
            raise FileNotFoundError(
                f"load_idx_folder: {folder} has no train-images-idx3-ubyte and no t10k-images-idx3-ubyte"
            )
        images, labels = one
        kept, held = stratified_split(labels)
        notes = f"only {part} files were there: split {len(kept)} / {len(held)}, stratified, seed 0"
        train, test = (images[kept], labels[kept]), (images[held], labels[held])
    return DataSplit(
        folder.resolve().name,
        dataset_of(*train),
        dataset_of(*test),
        classes=tuple(str(c) for c in range(int(max(train[1].max(), test[1].max())) + 1)),
        notes=notes,
    )


def load_cifar10(folder: str | Path) -> DataSplit:
    """CIFAR-10, binary version: float32 images (n, 3, 32, 32) from 0 to 1 and int64 labels.

    `folder` (or its subfolder `cifar-10-batches-bin`) holds `data_batch_*.bin` and `test_batch.bin`. Where one kind is
    missing, the other is split as in `load_idx_folder`.
    """
    folder = existing(folder)
    train_files, test_files = cifar_files(folder, "data_batch_*.bin"), cifar_files(folder, "test_batch.bin")
    if not train_files and not test_files:
        raise FileNotFoundError(f"load_cifar10: {folder} has no data_batch_*.bin and no test_batch.bin")
    notes = ""
    if train_files and test_files:
        train, test = cifar_arrays(train_files), cifar_arrays(test_files)
    else:
        images, labels = cifar_arrays(train_files or test_files)
        kept, held = stratified_split(labels)
        notes = f"only one kind of batch was there: split {len(kept)} / {len(held)}, stratified, seed 0"
        train, test = (images[kept], labels[kept]), (images[held], labels[held])
    return DataSplit("cifar10", dataset_of(*train), dataset_of(*test), classes=CIFAR_CLASSES, notes=notes)


def cifar_arrays(files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    rows = []
    for path in files:
        raw = np.fromfile(path, np.uint8)
        if raw.size == 0 or raw.size % CIFAR_ROW:
            raise ValueError(
                f"load_cifar10: {path} has {raw.size} bytes, not a multiple of {CIFAR_ROW} (label and 3x32x32)"
            )
        rows.append(raw.reshape(-1, CIFAR_ROW))
    table = np.concatenate(rows)
    labels = table[:, 0].astype(np.int64)
    if labels.max() > 9:
        raise ValueError(f"load_cifar10: {files[0].parent} has label {labels.max()}; CIFAR-10 labels are 0 to 9")
    return table[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32) / np.float32(255), labels


def cifar_files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern)) or sorted((folder / "cifar-10-batches-bin").glob(pattern))


def idx_pair(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray] | None:
    images_path, labels_path = find_idx(folder, part, "images"), find_idx(folder, part, "labels")
    if images_path is None and labels_path is None:
        return None
    if images_path is None or labels_path is None:
        missing, there = ("images", labels_path) if images_path is None else ("labels", images_path)
        raise FileNotFoundError(f"load_idx_folder: {there} has no {missing} beside it")
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise ValueError(
            f"load_idx_folder: {images_path.name} has shape {images.shape} and {labels_path.name} {labels.shape}; "
            "expected (n, H, W) and (n,)"
        )
    return images[:, None].astype(np.float32) / np.float32(255), labels.astype(np.int64)


def find_idx(folder: Path, part: str, kind: str) -> Path | None:
    rank = {"images": 3, "labels": 1}[kind]
    for name in (f"{part}-{kind}-idx{rank}-ubyte", f"{part}-{kind}.idx{rank}-ubyte"):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None


def existing(folder: str | Path) -> Path:
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"data folder {folder} does not exist")
    return folder
