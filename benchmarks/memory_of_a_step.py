"""Memory of a training step: the peak of the process above where it stood before the network was built.

    python benchmarks/memory_of_a_step.py [--steps 5]

Each library trains each network of `bench_training` in a process of its own, with the same number of threads; the
operating system counts the peak (Linux, VmHWM). Not counted is what each library takes once, whatever the network: its
import, its threads, the modules that the first step of an optimizer loads (a tiny network trains before the count).
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
from pathlib import Path

from bench_training import NETS, step

CONTENDERS = ("kernelgrad", "torch", "torch channels_last")


def resident(key: str) -> float:
    """A line of /proc/self/status in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise KeyError(key)


def measure(contender: str, net_name: str, steps: int) -> float:
    """MB that `steps` training steps add to this process at their peak."""
    import kernelgrad

    library = kernelgrad
    if contender.startswith("torch"):
        import torch

        torch.set_num_threads(kernelgrad.get_num_threads())
        library = torch
    net = next(net for net in NETS if net.name == net_name)
    warm_up = step(library, dataclasses.replace(NETS[0], sgd=net.sgd))
    warm_up(), warm_up()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    one_step = step(library, net, channels_last=contender.endswith("channels_last"))
    for _ in range(steps):
        one_step()
    return resident("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description="Peak memory of training steps, kernelgrad against PyTorch.")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("CONTENDER", "NET"), help="print one number (the table asks so)")
    arguments = parser.parse_args()
    if arguments.one:
        print(measure(*arguments.one, arguments.steps))
        return
    print("| network | kernelgrad, MB | PyTorch, MB | PyTorch channels_last, MB | ours / the smaller |")
    print("|---|---:|---:|---:|---:|")
    for net in NETS:
        found = []
        for contender in CONTENDERS if net.convolutional else CONTENDERS[:2]:
            command = [sys.executable, __file__, "--steps", str(arguments.steps), "--one", contender, net.name]
            found.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        cells = [f"{mb:.1f}" for mb in found] + [""] * (3 - len(found))
        print(f"| {net.name} | {' | '.join(cells)} | {found[0] / max(0.1, min(found[1:])):.2f} |", flush=True)


if __name__ == "__main__":
    main()
