"""`kernelgrad.data` under the name a PyTorch script imports."""

from ..data import *  # noqa: F403
from ..data import __all__ as __all__
