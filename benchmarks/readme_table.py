"""The README's tables of ratios from the rows of benchmark runs.

    kernelgrad bench --only "bench_training_step or bench_call or bench_import" --peers torch --seconds 2 --out results
    kernelgrad bench --only bench_random --peers torch --out random
    python benchmarks/readme_table.py results/rows.json random/rows.json --write

Rows of random shapes make the table of classes, others the table of tasks. Without --write the tables are printed. Run
it on a machine that does nothing else: `kernelgrad info` before and after should report the same peak.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from harness import duration
from summary import mean, ratios_by_class

END = "<!-- end of ratios -->"
BEGIN = {
    "tasks": "<!-- ratios: written by benchmarks/readme_table.py -->",
    "classes": "<!-- ratios of classes: written by benchmarks/readme_table.py -->",
}
README = Path(__file__).resolve().parents[1] / "README.md"


def tables(document: dict[str, Any]) -> dict[str, str]:
    found = {}
    classes = ratios_by_class("random shapes", document["rows"])
    if classes:
        found["classes"] = by_class(document, classes)
    if any(not row["suite"].startswith("random shapes") for row in document["rows"]):
        found["tasks"] = by_task(document)
    return found


def by_task(document: dict[str, Any]) -> str:
    tasks: dict[Any, dict[str, Any]] = {}
    for row in document["rows"]:
        tasks.setdefault((row["task"], row["shape"]), {})[row["contender"]] = row
    lines = ["| | kernelgrad | PyTorch | ratio |", "|---|---:|---:|---:|"]
    for (task, shape), rows in tasks.items():
        peers = [row for name, row in rows.items() if name.startswith("torch")]
        if "simd" not in rows or not peers:
            continue
        # PyTorch's better layout counts: it is what its user would choose.
        own, peer = rows["simd"], min(peers, key=lambda row: row["seconds"])
        note = " (channels_last)" if peer["contender"].endswith("channels_last") else ""
        ratio = peer["seconds"] / own["seconds"]
        name = f"{task}, {shape}" if shape else task
        lines.append(f"| {name} | {duration(own['seconds'])} | {duration(peer['seconds'])}{note} | {ratio:.2f} |")
    return "\n".join([*lines, "", conditions(document) + " Medians; the ratio is PyTorch's time over kernelgrad's."])


def by_class(document: dict[str, Any], classes: dict[tuple[str, str], list[tuple[float, str]]]) -> str:
    lines = ["| class | forward | worst | training | worst |", "|---|---:|---:|---:|---:|"]
    for name in dict.fromkeys(name for name, _ in classes):
        cells = []
        for passes in ("forward", "training"):
            found = classes.get((name, passes))
            cells += [f"{mean(found):.2f}", f"{min(found)[0]:.2f}"] if found else ["", ""]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    everything = [pair for found in classes.values() for pair in found]
    behind = sum(ratio < 0.95 for ratio, _ in everything)
    over_classes = mean([(mean(found), "") for found in classes.values()])
    return "\n".join(
        [
            *lines,
            "",
            "PyTorch's time (its better layout) over kernelgrad's: geometric mean of a class, and its worst shape. "
            f"Over the classes the mean is {over_classes:.2f}; of {len(everything)} shapes {behind} are below 0.95. "
            + conditions(document),
        ]
    )


def conditions(document: dict[str, Any]) -> str:
    machine = document["machine"]
    return (
        f"{machine['processor']}, {machine['threads']} threads, {machine['isa']}, measured peak "
        f"{document['roofs']['gflops']:.0f} GF/s; kernelgrad {machine['kernelgrad']}, PyTorch {machine['torch']}, "
        f"Python {machine['python']}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the README's tables of ratios.")
    parser.add_argument("rows", type=Path, nargs="+", help="rows.json of a run")
    parser.add_argument("--write", action="store_true", help="put them into README.md")
    arguments = parser.parse_args()
    text = README.read_text()
    for path in arguments.rows:
        for name, made in tables(json.loads(path.read_text())).items():
            if not arguments.write:
                print(made, end="\n\n")
                continue
            before, _, rest = text.partition(BEGIN[name])
            _, _, after = rest.partition(END)
            text = f"{before}{BEGIN[name]}\n\n{made}\n\n{END}{after}"
    if arguments.write:
        README.write_text(text)


if __name__ == "__main__":
    main()
