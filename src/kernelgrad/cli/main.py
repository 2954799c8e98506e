"""The parser. Each command is a module with `add_arguments(parser)` and `run(arguments) -> exit code`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from kernelgrad.cli import bench, demo, info, train
from kernelgrad.cli.console import Refusal

COMMANDS = {
    "demo": (demo, "train a CNN on real handwritten digits and show what it did"),
    "info": (info, "what this machine offers and what kernelgrad uses of it"),
    "train": (train, "train a model on a bundled data set or a folder of files"),
    "bench": (bench, "time every kernel against its peers and draw the roofline"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 failed, 2 refused (with one line that says why)."""
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except Refusal as refusal:
        print(f"kernelgrad {arguments.command}: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"kernelgrad {arguments.command}: interrupted", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    from kernelgrad import __version__

    top = argparse.ArgumentParser(prog="kernelgrad", description="Deep learning on compiled kernels that you can read.")
    top.add_argument("--version", action="version", version=f"kernelgrad {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return top
