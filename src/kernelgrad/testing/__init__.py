"""How kernels are checked: cases, tolerances, gradient checks. Tests and benchmarks read these; users may too."""

from kernelgrad.testing.case import OpCase, all_cases
from kernelgrad.testing.compare import assert_close, gradcheck

__all__ = ["OpCase", "all_cases", "assert_close", "gradcheck"]
