"""`kernelgrad info`: what this machine offers, what kernelgrad uses of it, and why."""

from __future__ import annotations

import argparse
from typing import Any

from kernelgrad.cli.console import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(arguments: argparse.Namespace) -> int:
    from kernelgrad.cli import machine

    output = Output(arguments.json)
    found = machine.describe()
    for name, text in lines(found):
        output.say(f"{name:<18} {text}")
    output.finish(found)
    return 0


def lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    isa, memory, peak = found["isa"], found["memory"], found["peak"]
    chosen = f"{isa['chosen']} chosen of {', '.join(isa['found'])}"
    if isa["limited_by"]:
        chosen += f" (KERNELGRAD_ISA={isa['limited_by']})"
    peaks = (
        f"{peak['gflops']:.0f} GF/s (float32), {peak['gbytes']:.1f} GB/s from memory, "
        f"{peak['gbytes_cached']:.0f} GB/s from L2 cache"
    )
    return [
        ("kernelgrad", found["version"]),
        ("Python, NumPy", f"{found['python']}, {found['numpy']}"),
        ("machine", f"{found['processor']}, {found['platform']}"),
        ("instruction set", chosen),
        ("threads", f"{found['threads']['count']}: {found['threads']['reason']}"),
        ("measured peak", peaks),
        ("memory", allocator(memory)),
        ("Numba kernels", availability(found["numba"], found["numba"]["version"])),
        ("CUDA", availability(found["cuda"], found["cuda"]["device"])),
    ]


def allocator(memory: dict[str, int]) -> str:
    return (
        f"{size(memory['live_bytes'])} in tensors (at most {size(memory['peak_bytes'])}), "
        f"{size(memory['cached_bytes'])} kept for reuse, {size(memory['system_bytes'])} from the system, "
        f"{size(memory['scratch_bytes'])} of workspaces; {memory['hits']:,} hits, {memory['misses']:,} misses"
    )


def availability(state: dict[str, Any], name: str | None) -> str:
    return f"available, {name}" if state["available"] else f"not available: {state['reason']}"


def size(nbytes: float) -> str:
    for unit in ("B", "KB", "MB"):
        if abs(nbytes) < 1024:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.2f} GB"
