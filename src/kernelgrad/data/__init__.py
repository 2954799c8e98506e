"""Datasets, loaders, readers of real data, transforms."""

from kernelgrad.data.bundled import BUNDLED, load_bundled
from kernelgrad.data.collate import default_collate
from kernelgrad.data.dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    random_split,
)
from kernelgrad.data.loader import DataLoader, get_worker_info
from kernelgrad.data.readers import load_cifar10, load_folder, load_idx_folder, read_idx
from kernelgrad.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from kernelgrad.data.split import DataSplit, stratified_split
from kernelgrad.data.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip, standardize

__all__ = [
    "BUNDLED",
    "BatchSampler",
    "ChainDataset",
    "Compose",
    "ConcatDataset",
    "DataLoader",
    "DataSplit",
    "Dataset",
    "IterableDataset",
    "Normalize",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "default_collate",
    "get_worker_info",
    "load_bundled",
    "load_cifar10",
    "load_folder",
    "load_idx_folder",
    "random_split",
    "read_idx",
    "standardize",
    "stratified_split",
]
