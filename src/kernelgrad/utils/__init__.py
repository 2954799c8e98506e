"""The modules that PyTorch keeps under `torch.utils`."""

from kernelgrad.utils import data

__all__ = ["data"]
