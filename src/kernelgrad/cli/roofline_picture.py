"""The roofline picture: every kernel by its arithmetic intensity and its speed, under the roofs of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

COLORS = {
    "simd": "#4477aa",
    "jit": "#228833",
    "reference": "#aaaaaa",
    "cuda": "#aa3377",
    "numpy": "#ccbb44",
    "torch": "#ee6677",
}
SPREAD = 1.3  # at most this factor to either side
DECADES_OF_LETTER = 0.022  # about what a letter of a name takes of the horizontal axis
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")


def draw(path: Path, document: dict[str, Any]) -> int:
    """Draw the rows that have both operations and bytes; returns how many tasks that were (0: no picture).

    Williams, Waterman & Patterson (2009), https://doi.org/10.1145/1498765.1498785.
    """
    rows = [point(row) for row in document["rows"] if row["nbytes"] and (row["flops"] or row["elements"])]
    if not rows:
        return 0
    from matplotlib.figure import Figure

    roofs, machine = document["roofs"], document["machine"]
    intensities = [row["flops"] / row["nbytes"] for row in rows]
    speeds = [row["gflops"] for row in rows]
    low, high = min([*intensities, 0.05]) / 2, max([*intensities, 50.0]) * 2
    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.add_subplot()
    corner = roofs["gflops"] / roofs["gbytes_cached"]
    axes.text(corner, roofs["gflops"] * 1.1, f"arithmetic: {roofs['gflops']:.0f} GF/s", fontsize=9)
    for key, name, style in (("gbytes", "memory", "-"), ("gbytes_cached", "L2 cache", "--")):
        speed, knee = roofs[key], roofs["gflops"] / roofs[key]
        line = [low * speed, roofs["gflops"], roofs["gflops"]]
        axes.plot([low, knee, high], line, style, color="#222222", linewidth=1.6)
        axes.text(low * 1.15, low * 1.15 * speed * 1.25, f"{name}: {speed:.0f} GB/s", fontsize=9)

    tasks = sorted({row["task"] for row in rows})
    for row, exact in zip(rows, intensities, strict=True):
        # Elementwise kernels share a few intensities: a step aside for each task keeps their marks apart.
        intensity = exact * aside(row, tasks)
        color = COLORS.get(row["contender"].split()[0], "#777777")
        axes.plot(
            intensity,
            row["gflops"],
            marker=MARKERS[tasks.index(row["task"]) % len(MARKERS)],
            markersize=6,
            color=color,
            markerfacecolor="none" if row["peer"] else color,
            linestyle="none",
            alpha=0.9,
        )
    for contender in dict.fromkeys(row["contender"] for row in rows):
        hollow = any(row["peer"] for row in rows if row["contender"] == contender)
        color = COLORS.get(contender.split()[0], "#777777")
        name = f"{contender} (peer)" if hollow else f"kernelgrad, {contender}"
        axes.plot([], [], "o", color=color, markerfacecolor="none" if hollow else color, label=name)
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(low, high),
        ylim=(min(speeds) / 2, max(roofs["gflops"], *speeds) * 2),
        xlabel="operations per byte (elementwise kernels: one operation an element, whatever it costs)",
        ylabel="GF/s",
        title=f"{machine['processor']}, {machine['threads']} threads, {machine['isa']}",
    )
    label(axes, rows)
    axes.grid(alpha=0.2, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=130)
    return len(tasks)


def aside(row: dict[str, Any], tasks: list[str]) -> float:
    return SPREAD ** (2 * tasks.index(row["task"]) / max(len(tasks) - 1, 1) - 1)


def point(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its operations: those of its formula where they are counted, else one for each element."""
    flops = row["flops"] or row["elements"]
    return {**row, "flops": flops, "gflops": flops / row["seconds"] / 1e9}


def label(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Name each task once, at its fastest own row; names that would fall on another are left out."""
    import math

    own = [row for row in rows if not row["peer"]] or rows
    best: dict[str, dict[str, Any]] = {}
    for row in own:
        if row["task"] not in best or row["gflops"] > best[row["task"]]["gflops"]:
            best[row["task"]] = row
    placed: list[tuple[float, float, float]] = []  # (left, right, height) of names, in decades
    tasks = sorted({row["task"] for row in rows})
    edge = math.log10(axes.get_xlim()[1])
    for row in sorted(best.values(), key=lambda row: -row["gflops"]):
        x, y = math.log10(aside(row, tasks) * row["flops"] / row["nbytes"]), math.log10(row["gflops"])
        width = DECADES_OF_LETTER * len(row["task"])
        left = x if x + width < edge else x - width
        if any(left < end and begin < left + width and abs(y - height) < 0.08 for begin, end, height in placed):
            continue
        placed.append((left, left + width, y))
        to_left = left < x
        axes.annotate(
            row["task"],
            (10**x, 10**y),
            textcoords="offset points",
            xytext=(-6 if to_left else 6, 3),
            ha="right" if to_left else "left",
            fontsize=7.5,
            color="#333333",
        )
