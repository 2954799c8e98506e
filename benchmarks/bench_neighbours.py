"""A training step while other processes want the same cores: one endless loop for each thread.

A fair share is then half of each core, so twice the quiet time is what an ideal scheduler leaves. The rows "alone" and
"beside ..." are to be compared; the second of each contender prints their ratio and keeps it in its extra info.
A scheduler gives a core away for some 4 ms at a time, longer than a short step takes: a step then either meets such a
gap or does not. So a round spans many of them, and its time is a mean.
"""

from __future__ import annotations

import atexit
import subprocess
import sys

import bench_training
from task import Cost, Task

import kernelgrad as kg

NETS = [net for net in bench_training.NETS if net.name in ("two-conv CNN 28x28", "MLP 784-512-512-10")]
ROUND = 0.2  # seconds
LOOP = "import sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end: pass"


class Neighbours:
    """Busy processes; each ends by itself after `seconds`, whatever becomes of us."""

    def __init__(self):
        self.processes = []
        atexit.register(self.stop)

    def start(self, count, seconds):
        self.stop()
        self.processes = [subprocess.Popen([sys.executable, "-c", LOOP, str(seconds)]) for _ in range(count)]

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes = []


neighbours = Neighbours()


def tasks(session, function):
    contenders = list(session.backends)
    if "torch" in session.peers:
        contenders.append("torch")
    count = kg.get_num_threads()
    for net in NETS:
        for busy in (0, count):
            shape = f"beside {busy} busy processes" if busy else "alone"
            yield Task(
                "neighbours",
                net.name,
                f"batch {net.input[0]}, {shape}",
                tuple(contenders),
                lambda net=net, busy=busy: make(session, contenders, net, busy),
                Cost,
                ROUND,
            )


def make(session, contenders, net, busy):
    made = [bench_training.contender(name, net) for name in contenders]
    if busy:
        neighbours.start(busy, 30 + 3 * session.seconds * len(contenders))
    return made


def bench_step_beside_neighbours(row, session, benchmark):
    neighbours.stop()
    if "alone" not in row.shape:
        alone = [r for r in session.rows if (r.task, r.contender) == (row.task, row.contender) and "alone" in r.shape]
        for quiet in alone[-1:]:
            benchmark.extra_info["times_alone"] = row.seconds / quiet.seconds
            print(f"\n{row.task}, {row.contender}: {row.seconds / quiet.seconds:.2f} times as long as alone")
