"""`kernelgrad bench`: run the pytest-benchmark suites, write a table, draw the roofline."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from kernelgrad.cli.console import Output, Refusal, positive, require

# What pip installs, by the name of the peer.
PEERS = {"numpy": "numpy", "torch": "torch", "torch.compile": "torch", "jax": "jax", "onnxruntime": "onnxruntime"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", metavar="EXPR", help="pytest -k expression: which benchmarks, e.g. 'silu or conv2d'")
    parser.add_argument(
        "--peers", default="numpy,torch", help=f"comma-separated, of {', '.join(PEERS)} (default: numpy,torch)"
    )
    parser.add_argument(
        "--backends", default="simd", help="comma-separated, of simd, jit, reference, cuda (default: simd)"
    )
    parser.add_argument("--threads", type=positive, help="threads for kernelgrad and its peers alike")
    parser.add_argument("--out", type=Path, default=Path("kernelgrad-bench"), help="folder for table, JSON and picture")
    parser.add_argument(
        "--suite", type=Path, metavar="FOLDER", help="the folder with the suites (default: ./benchmarks)"
    )
    parser.add_argument("--seconds", type=float, default=0.3, help="time to spend on each row's race (default: 0.3)")
    parser.add_argument("--shapes", type=positive, default=8, help="random shapes to draw of each class (default: 8)")
    parser.add_argument("--seed", type=int, default=0, help="which random shapes (default: 0)")
    parser.add_argument("--json", action="store_true", help="the last line of output is one JSON object")


def run(arguments: argparse.Namespace) -> int:
    for module in ("pytest", "pytest_benchmark"):
        if importlib.util.find_spec(module) is None:
            raise Refusal("needs pytest and pytest-benchmark: pip install 'kernelgrad[bench]'")
    require(("matplotlib", "matplotlib"))
    peers, absent = present(arguments.peers)
    output = Output(arguments.json)
    for name in absent:
        output.say(f"left out: {name} is not installed")
    folder = suite(arguments.suite)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = arguments.out / "rows.json"
    results.unlink(missing_ok=True)
    code = run_pytest(arguments, folder, peers, results)
    if not results.is_file():
        raise Refusal(f"no benchmark ran (pytest's exit code {code}); is --only {arguments.only!r} the name of one?")
    document = json.loads(results.read_text())
    table, picture = arguments.out / "table.md", arguments.out / "roofline.png"
    from kernelgrad.cli.roofline_picture import draw

    drawn = draw(picture, document)
    output.say(f"{len(document['rows'])} rows: {table}, {results}")
    if drawn:
        output.say(f"roofline of {drawn} kernels: {picture}")
    output.finish(
        {
            "rows": len(document["rows"]),
            "peers": peers,
            "left_out": absent,
            "threads": document["machine"]["threads"],
            "isa": document["machine"]["isa"],
            "results": str(results),
            "table": str(table),
            "roofline": str(picture) if drawn else None,
        }
    )
    return 1 if code else 0


def present(text: str) -> tuple[list[str], list[str]]:
    """The peers asked for: those installed, and those not."""
    asked = [name.strip() for name in text.split(",") if name.strip() and name.strip() != "none"]
    for name in asked:
        if name not in PEERS:
            raise Refusal(f"no peer is called {name!r}; there are {', '.join(PEERS)}")
    found = [name for name in asked if importlib.util.find_spec(PEERS[name]) is not None]
    return found, [name for name in asked if name not in found]


def suite(given: Path | None) -> Path:
    """The folder of the suites: the one given, ./benchmarks, or those of the checkout that an editable install runs
    from."""
    source = Path(__file__).resolve().parents[3] / "benchmarks"
    for folder in [given] if given else [Path("benchmarks"), source]:
        if (folder / "harness.py").is_file():
            return folder
    raise Refusal(
        f"{given or 'the current folder'} holds no benchmark suites; "
        "they are in the folder benchmarks of the source tree: run there, or give --suite FOLDER"
    )


def run_pytest(arguments: argparse.Namespace, folder: Path, peers: list[str], results: Path) -> int:
    environment = dict(os.environ)
    if arguments.threads:
        for name in ("KERNELGRAD_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = str(arguments.threads)
    command: list[Any] = [
        sys.executable,
        "-m",
        "pytest",
        folder,
        "-q",
        "-p",
        "no:cacheprovider",
        "--benchmark-disable-gc",
    ]
    command += ["--peers", ",".join(peers) or "none", "--backends", arguments.backends]
    command += ["--shapes", arguments.shapes, "--seed", arguments.seed]
    command += ["--race-seconds", str(arguments.seconds), "--rows", results, "--benchmark-columns=median,min,rounds"]
    command += ["--rows-table", arguments.out / "table.md"]
    if arguments.only:
        command += ["-k", arguments.only]
    # With --json only the last line of standard output is ours to fill; pytest's report goes to standard error.
    stream = sys.stderr if arguments.json else None
    return subprocess.run([str(part) for part in command], env=environment, stdout=stream, check=False).returncode
