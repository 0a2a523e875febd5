"""The rows of bench/results/faults-*.tsv as a markdown table: the newest of each fault, balancer and mode.

python -m bench.faults.table [FILE ...] [--mode full|quick]
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable
from pathlib import Path

from bench.faults.catalogue import FAULTS
from bench.faults.servers import CHECKOUT

HEADINGS = (
    "fault", "balancer", "noticed", "lost", "refused by a server", "REGISTERs over 0.5 s", "over 2 s", "worst",
    "calls over 0.5 s", "over 2 s", "worst", "dialogs cut: healthy, hit", "false verdicts", "answered twice, left up",
)  # fmt: skip
Row = dict[str, str]


def newest(rows: Iterable[Row], mode: str) -> list[Row]:
    """One per fault and balancer, in the order of the catalogue; none in which an Asterisk died of itself."""
    fit = (row for row in rows if not row.get("crashed") and (not mode or row["mode"] == mode))
    found = {(row["fault"], row["balancer"]): row for row in fit}
    order = list(FAULTS)
    return sorted(found.values(), key=lambda row: (order.index(row["fault"]), row["balancer"] != "ours"))


def cells(row: Row) -> list[str]:
    lost = int(row["register_lost"]) + int(row["invite_lost"])
    refused = int(row["register_refused"]) + int(row["invite_refused"])
    asked = int(row["register_count"]) + int(row["invite_count"])
    return [
        FAULTS[row["fault"]].title,
        row["balancer"],
        f"{float(row['notice']):.2f} s" if row["notice"] else "-",
        f"{lost} of {asked}",
        str(refused),
        *_waits(row, "register"),
        *_waits(row, "invite"),
        f"{row['cut_healthy']}, {row['cut_hit']}",
        row["false_verdicts"],
        f"{row['doubles']}, {row['left_up']}",
    ]


def _waits(row: Row, kind: str) -> list[str]:
    count = max(1, int(row[f"{kind}_count"]))
    shares = [f"{100 * int(row[f'{kind}_over_{name}']) / count:.1f} %" for name in ("half", "two")]
    return [*shares, f"{float(row[f'{kind}_worst']):.2f} s"]


def render(rows: Iterable[Row]) -> str:
    lines = [HEADINGS, ["---"] * len(HEADINGS), *map(cells, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _day(file: Path) -> str:
    """Of `faults-2026-11-21-2.tsv`: several files of one day differ in their columns."""
    return file.stem[: len("faults-2026-11-21")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--mode", default="", choices=("full", "quick"))
    asked = parser.parse_args()
    files = asked.files or sorted((CHECKOUT / "bench" / "results").glob("faults-*.tsv"))
    dated = [(_day(file), row) for file in files for row in csv.DictReader(file.open(), delimiter="\t")]
    rows = [row for _, row in sorted(dated, key=lambda each: (each[0], each[1]["when"]))]
    sys.stdout.write(render(newest(rows, asked.mode)))


if __name__ == "__main__":
    main()
