"""What the commands share: refusing, choosing device and threads, saying things."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from typing import Any

import kernelgrad as kg


class Refusal(Exception):
    """Something the user asked for cannot be done here; the message is one line that says why and what would help."""


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every command that computes."""
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where to compute (default: cpu)")
    parser.add_argument("--threads", type=positive, help="threads to use (default: as `kernelgrad info` explains)")
    parser.add_argument(
        "--json", action="store_true", help="no progress bar; the last line of output is one JSON object"
    )


def positive(text: str) -> int:
    value = int(text) if text.strip().lstrip("+-").isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return value


def positive_float(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


def prepare(arguments: argparse.Namespace) -> None:
    """Set the threads and make sure of the device."""
    if arguments.threads:
        kg.set_num_threads(arguments.threads)
    if arguments.device == "cuda":
        from kernelgrad import cuda

        if not cuda.is_available():
            raise Refusal(f"--device cuda: no usable GPU: {one_line(cuda.why_not())}")


def require(*modules: tuple[str, str]) -> None:
    """Refuse, naming what is missing, unless all modules (import name, name in pip) are installed."""
    missing = [name for module, name in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise Refusal(f"needs {' and '.join(missing)}, not installed here: pip install 'kernelgrad[train]'")


def one_line(text: Any) -> str:
    return " ".join(str(text).split())


class Output:
    """Standard output: with colour by rich on a terminal, plain otherwise, silent but for the JSON line with
    `--json`."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.console: Any = None
        if not as_json and sys.stdout.isatty() and importlib.util.find_spec("rich"):
            from rich.console import Console

            self.console = Console(highlight=False)

    def say(self, text: str = "", style: str | None = None) -> None:
        if self.as_json:
            return
        if self.console is not None:
            self.console.print(text, style=style, markup=False, soft_wrap=True)
        else:
            print(text, flush=True)

    def finish(self, result: dict[str, Any]) -> None:
        """The JSON line, always the last one."""
        if self.as_json:
            print(json.dumps(result), flush=True)
