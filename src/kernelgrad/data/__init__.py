"""Datasets, loaders, readers of real data, transforms."""

from .bundled import BUNDLED, load_bundled
from .collate import default_collate
from .dataset import ChainDataset, ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset, random_split
from .loader import DataLoader, get_worker_info
from .readers import load_cifar10, load_folder, load_idx_folder, read_idx
from .sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from .split import DataSplit, stratified_split
from .transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip, standardize

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
