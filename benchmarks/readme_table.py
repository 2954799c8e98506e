"""The README's table of ratios from the rows of a benchmark run.

    kernelgrad bench --only "bench_training_step or bench_call or bench_import" --peers torch --seconds 2 --out results
    python benchmarks/readme_table.py results/rows.json --write

Without --write the table is printed. Run it on a machine that does nothing else: `kernelgrad info` before and after
should report the same peak.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from harness import duration

BEGIN, END = "<!-- ratios: written by benchmarks/readme_table.py -->", "<!-- end of ratios -->"
README = Path(__file__).resolve().parents[1] / "README.md"


def table(document):
    machine = document["machine"]
    tasks = {}
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
    lines += [
        "",
        f"{machine['processor']}, {machine['threads']} threads, {machine['isa']}, measured peak "
        f"{document['roofs']['gflops']:.0f} GF/s; kernelgrad {machine['kernelgrad']}, PyTorch {machine['torch']}, "
        f"Python {machine['python']}. Medians; the ratio is PyTorch's time over kernelgrad's.",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description="Make the README's table of ratios.")
    parser.add_argument("rows", type=Path, help="rows.json of a run")
    parser.add_argument("--write", action="store_true", help="put it into README.md")
    arguments = parser.parse_args()
    made = table(json.loads(arguments.rows.read_text()))
    if not arguments.write:
        print(made)
        return
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}")


if __name__ == "__main__":
    main()
