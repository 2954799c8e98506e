"""The command `kernelgrad`: info, demo, train, bench."""

from kernelgrad.cli.main import main

__all__ = ["main"]
