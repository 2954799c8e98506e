"""`kernelgrad.data` under the name a PyTorch script imports."""

from kernelgrad.data import *  # noqa: F403
from kernelgrad.data import __all__ as __all__
