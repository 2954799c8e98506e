"""The clock of the benchmarks.

A row is one contender (a backend of kernelgrad, or a peer) at one task. All contenders at a task race: they take turns,
round after round, so a noisy neighbour or a change of clock speed meets all of them, and the ratios hold even where the
times do not. A round of a fast call is a loop of as many calls as fill `ROUND` seconds. No garbage is collected while
the clock runs.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import summary

ROUND = 1e-3
FEWEST, MOST = 5, 400  # rounds
# Idle threads of a peer spin for some time after a call, on a core that the next contender wants: beside them it
# measured two thirds of its speed. So a turn begins with calls that are not timed, until those threads sleep and its
# own are awake, as they are in a training loop. OpenMP's, in PyTorch, spin for 11 ms on a core of their own and twice
# that on a shared one; those of ONNX Runtime count to a million, pausing.
WARM_UP, MOST_IN_TURN, ROUND_IN_TURN = 0.01, 12, 3e-3
LINGERS = {"torch": 0.04, "jax": 0.04, "numpy": 0.04, "onnxruntime": 0.06}  # seconds
BEYOND_CACHE = 1 << 28  # bytes
SLOW = 3  # rounds of a contender one call of which takes longer than the whole time set


@dataclass
class Contender:
    """Something to time. `inside` makes a context that is entered around each round, outside of the clock."""

    name: str
    call: Callable[[], Any]
    inside: Callable[[], Any] = contextlib.nullcontext
    finish: Callable[[], Any] | None = None  # waits for a device that runs behind

    @property
    def runtime(self) -> str:
        """Whose threads it runs on: torch for "torch channels_last", too."""
        return self.name.split()[0].split(".")[0]

    def round(self, calls: int) -> float:
        """Seconds per call, over `calls` calls."""
        call = self.call
        with self.inside():
            begin = time.perf_counter()
            for _ in range(calls):
                call()
            if self.finish is not None:
                self.finish()
            return (time.perf_counter() - begin) / calls

    def warm_up(self, seconds: float) -> None:
        """Calls for so long, at least one."""
        begin, calls = time.perf_counter(), 1
        while calls == 1 or time.perf_counter() - begin < seconds:
            self.round(calls)
            calls = min(2 * calls, 64)


def race(
    contenders: Sequence[Contender], seconds: float, round_seconds: float = 0.0
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Seconds per call of each contender, one number per round, `seconds` spent on each; and why others did not run."""
    absent: dict[str, str] = {}
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        calls, rounds = {}, {}
        alone = len(contenders) == 1
        length, most = (ROUND, MOST) if alone else (ROUND_IN_TURN, MOST_IN_TURN)
        length = max(length, round_seconds)
        for contender in list(contenders):
            try:
                contender.round(1)  # compiles, fills caches
            except NotImplementedError as error:
                absent[contender.name] = str(error)
                continue
            once = min(contender.round(1) for _ in range(2))
            calls[contender.name] = max(1, min(100_000, round(length / max(once, 1e-8))))
            if calls[contender.name] > 1:  # a single short call is mostly clock: look again
                once = contender.round(calls[contender.name])
                calls[contender.name] = max(1, round(length / max(once, 1e-8)))
            each = once * calls[contender.name]
            rounds[contender.name] = SLOW if once > seconds else max(FEWEST, min(most, int(seconds / each)))
        contenders = [contender for contender in contenders if contender.name not in absent]
        samples: dict[str, list[float]] = {contender.name: [] for contender in contenders}
        before = ""  # whose threads may be spinning
        for turn in range(max(rounds.values(), default=0)):
            # Those with fewer rounds spread them over the race instead of running them all at its start.
            for contender in contenders:
                due = (turn + 1) * rounds[contender.name] / max(rounds.values())
                if len(samples[contender.name]) < int(due + 1e-9):
                    if not alone:
                        contender.warm_up(LINGERS.get(before, WARM_UP) if before != contender.runtime else WARM_UP)
                        before = contender.runtime
                    samples[contender.name].append(contender.round(calls[contender.name]))
        return samples, absent
    finally:
        if was_enabled:
            gc.enable()


@dataclass
class Row:
    """What one contender did at one task. Times are per call; `share` is of the nearer roof, arithmetic or memory."""

    suite: str
    task: str
    shape: str
    contender: str
    peer: bool
    seconds: float  # the median round
    best: float
    rounds: int
    flops: float | None = None
    nbytes: float | None = None
    elements: float | None = None
    gflops: float | None = None
    gbytes: float | None = None
    share: float | None = None
    ratios: dict[str, float] = field(default_factory=dict)  # time of each peer over the time of this row


class Replay:
    """A timer for pytest-benchmark that plays back rounds already measured, so that its table shows what the race
    measured."""

    __name__ = "race"

    def __init__(self) -> None:
        self.times: list[float] = []

    def load(self, samples: list[float]) -> None:
        self.times = [moment for sample in samples for moment in (0.0, sample)]

    def __call__(self) -> float:
        return self.times.pop(0)


replay = Replay()


class Session:
    """One run of the suites: the options, the machine's measured roofs, and the rows so far."""

    def __init__(self, peers: list[str], backends: list[str], seconds: float) -> None:
        self.peers = peers
        self.backends = backends
        self.seconds = seconds
        self.shapes, self.seed = 8, 0  # random shapes: how many of each class, and which
        self.rows: list[Row] = []
        self._roofs: dict[str, float] | None = None
        self._task: Any = None
        self._cost: Any = None
        self._samples: dict[str, list[float]] = {}
        self._absent: dict[str, str] = {}

    @property
    def roofs(self) -> dict[str, float]:
        """GF/s and GB/s, measured once in this run."""
        if self._roofs is None:
            from kernelgrad.cli.machine import peak

            self._roofs = peak()
        return self._roofs

    def bandwidth(self, nbytes: float) -> float:
        """GB/s of the memory, or the cache, that holds as much as the task moves."""
        from kernelgrad.cli.machine import bandwidth

        size = 1 << max(14, math.ceil(math.log2(nbytes)))
        return self.roofs["gbytes"] if size >= BEYOND_CACHE else bandwidth(size)

    def run(self, task: Any) -> dict[str, str]:
        """Race all contenders at a `task.Task`, unless that was the last race; returns who could not run, and why."""
        if self._task is not task:
            self._samples, self._absent = race(task.make(), self.seconds, task.round_seconds)
            self._task, self._cost = task, task.cost()
        return self._absent

    def measure(self, benchmark: Any, task: Any, contender: str) -> Row:
        """The row of `contender` at the task that was raced last."""
        samples, cost = self._samples[contender], self._cost
        row = Row(
            task.suite,
            task.name,
            task.shape,
            contender,
            not is_ours(contender),
            statistics.median(samples),
            min(samples),
            len(samples),
            cost.flops,
            cost.nbytes,
            cost.elements,
        )
        flops, nbytes = cost.flops, cost.nbytes
        row.gflops = None if flops is None else flops / row.seconds / 1e9
        row.gbytes = None if nbytes is None else nbytes / row.seconds / 1e9
        shares = []
        if row.gflops is not None:
            shares.append(row.gflops / self.roofs["gflops"])
        if row.gbytes is not None and nbytes is not None:
            shares.append(row.gbytes / self.bandwidth(nbytes))
        row.share = max(shares) if shares else None
        if not row.peer:
            for name, others in self._samples.items():
                if not is_ours(name):
                    row.ratios[name] = statistics.median(others) / row.seconds
        self.rows.append(row)
        replay.load(samples)
        benchmark.pedantic(lambda: None, rounds=len(samples))
        benchmark.extra_info.update({key: value for key, value in asdict(row).items() if value is not None})
        return row


def is_ours(contender: str) -> bool:
    """Whether the contender is kernelgrad itself; "simd", "jit", "reference", "cuda" are its backends."""
    return contender.partition(":")[0] in ("simd", "jit", "reference", "cuda")


def backend(name: str, whole_nets: bool = False) -> Callable[[], Any]:
    """What a round of this backend runs in. Whole nets count integers too, which no C kernel does: for them
    "simd" is what users get, C kernels wherever there are any."""
    import kernelgrad as kg

    if name == "cuda" or (whole_nets and name == "simd"):
        return contextlib.nullcontext
    return lambda: kg.core.use_backend(name)


# ---- Results ----


def machine() -> dict[str, Any]:
    from kernelgrad.cli.machine import describe

    found = describe(measure=False)
    versions = {}
    for name in ("numpy", "torch", "numba"):
        try:
            versions[name] = __import__("importlib.metadata").metadata.version(name)
        except Exception:
            continue
    return {
        "processor": found["processor"],
        "platform": found["platform"],
        "isa": found["isa"]["chosen"],
        "threads": found["threads"]["count"],
        "kernelgrad": found["version"],
        "python": found["python"],
        **versions,
    }


def document(session: Session) -> dict[str, Any]:
    return {"machine": machine(), "roofs": session.roofs, "rows": [asdict(row) for row in session.rows]}


def write(session: Session, rows: Path | None, table: Path | None) -> None:
    found = document(session)
    for path, text in ((rows, json.dumps(found, indent=1) + "\n"), (table, as_table(found))):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def as_table(found: dict[str, Any]) -> str:
    """The rows as Markdown, one table per suite."""
    machine, roofs = found["machine"], found["roofs"]
    versions = [f"{name} {machine[name]}" for name in ("kernelgrad", "numpy", "torch", "numba") if name in machine]
    lines = [
        f"{machine['processor']}, {machine['threads']} threads, {machine['isa']}; {', '.join(versions)}.",
        f"Measured roofs: {roofs['gflops']:.0f} GF/s; {roofs['gbytes']:.1f} GB/s from memory, "
        f"{roofs['gbytes_cached']:.0f} GB/s from L2 cache.",
        "",
        "Time is the median round. Share is that of the nearer roof; for bandwidth, of the cache or memory that holds",
        "as much. A convolution by Winograd's method does less than the operations counted, and may pass 100 %.",
        "`peer / ours` is the ratio of times: above 1 kernelgrad is faster.",
    ]
    for suite in dict.fromkeys(row["suite"] for row in found["rows"]):
        rows = [row for row in found["rows"] if row["suite"] == suite]
        peers = list(dict.fromkeys(name for row in rows for name in row["ratios"]))
        head = ["task", "shape", "by", "time", "GF/s", "GB/s", "share of peak", *(f"{peer} / ours" for peer in peers)]
        lines += ["", f"## {suite}", "", "| " + " | ".join(head) + " |", "|---|---|---|" + "---:|" * (len(head) - 3)]
        for row in rows:
            cells = [row["task"], row["shape"], row["contender"], duration(row["seconds"])]
            cells += [number(row["gflops"], ".1f"), number(row["gbytes"], ".1f"), number(row["share"], ".0%")]
            cells += [number(row["ratios"].get(peer), ".2f") for peer in peers]
            lines.append("| " + " | ".join(cells) + " |")
    lines[6:6] = summary.of_classes(found["rows"])
    return "\n".join(lines) + "\n"


def number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def duration(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.0f} ns"
