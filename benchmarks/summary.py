"""What the rows of random and fixed shapes say of their classes: geometric mean and worst shape, PyTorch's better
layout."""

from __future__ import annotations

import math
from typing import Any

SUITES = ("random shapes", "fixed shapes")


def of_classes(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown lines, a table for each of these suites that has rows with a peer."""
    return [line for suite in SUITES for line in of_suite(suite, rows)]


def ratios_by_class(suite: str, rows: list[dict[str, Any]]) -> dict[tuple[str, str], list[tuple[float, str]]]:
    """Of each (class, pass): the ratio to the peer's better layout, and the shape, of every row."""
    ratios: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for row in rows:
        if row["suite"].startswith(suite + ", ") and row["ratios"]:
            found = ratios.setdefault((row["task"], row["suite"].removeprefix(suite + ", ")), [])
            found.append((min(row["ratios"].values()), row["shape"]))
    return ratios


def of_suite(suite: str, rows: list[dict[str, Any]]) -> list[str]:
    ratios = ratios_by_class(suite, rows)
    if not ratios:
        return []
    lines = [
        "",
        f"## {suite}, by class",
        "",
        "Time of the peer (its better layout) over ours: geometric mean and worst of the shapes of each class.",
        "",
        "| class | pass | shapes | mean ratio | below 0.95 | worst | its shape |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for (name, passes), found in sorted(ratios.items()):
        worst, shape = min(found)
        behind = sum(ratio < 0.95 for ratio, _ in found)
        lines.append(f"| {name} | {passes} | {len(found)} | {mean(found):.2f} | {behind} | {worst:.2f} | {shape} |")
    everything = [pair for found in ratios.values() for pair in found]
    behind = sum(ratio < 0.95 for ratio, _ in everything)
    means = [(mean(found), "") for found in ratios.values()]
    lines += [
        f"| **all shapes** | | {len(everything)} | {mean(everything):.2f} | {behind} | {min(everything)[0]:.2f} | |",
        f"| **all classes alike** | | {len(means)} | {mean(means):.2f} | | {min(means)[0]:.2f} | |",
    ]
    return lines


def mean(found: list[tuple[float, str]]) -> float:
    return math.exp(sum(math.log(ratio) for ratio, _ in found) / len(found))
