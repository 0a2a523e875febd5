"""The rows of bench/results/faults-*.tsv as a markdown table: the newest fit one of each fault and balancer.

    python -m bench.faults.table [FILE ...] [--mode full|quick] [--write]      (--write: into bench/README.md)

Void rows are counted below the table and not shown in it.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench.faults.avalanche_table import render_avalanche, shown_avalanches
from bench.faults.catalogue import FAULTS
from bench.faults.servers import CHECKOUT
from bench.faults.wanted import lost_of, percent, verdict

HEADINGS = (
    "fault", "by", "wanted met", "noticed", "lost", "refused", "REGISTERs over 0.5 s", "over 2 s", "worst",
    "calls over 0.5 s", "over 2 s", "worst", "cut: healthy, hit", "false verdicts", "twice, left so", "left up",
)  # fmt: skip
RESULTS = CHECKOUT / "bench" / "results"
README = CHECKOUT / "bench" / "README.md"
BEGIN, END = "<!-- faults: made by python -m bench.faults.table --write -->\n", "<!-- end of faults -->\n"
Row = dict[str, str]


def newest(rows: Iterable[Row], mode: str) -> list[Row]:
    """One per fault and balancer, in the order of the catalogue."""
    fit = (row for row in rows if not row["void"] and (not mode or row["mode"] == mode))
    found = {(row["fault"], row["balancer"]): row for row in fit}
    faults, kinds = list(FAULTS), ["ours", "kamailio", "direct"]
    return sorted(found.values(), key=lambda row: (faults.index(row["fault"]), kinds.index(row["balancer"])))


def cells(row: Row, straight: Row | None) -> list[str]:
    lost, asked = lost_of(row)
    rung = f" and {row['rung_lost']} ringing" if int(row["rung_lost"]) else ""
    refused = int(row["register_refused"]) + int(row["invite_refused"])
    return [
        f"{FAULTS[row['fault']].title}, {row['seconds']} s",
        row["balancer"],
        verdict(row, straight),
        f"{float(row['notice']):.2f} s" if row["notice"] else "-",
        f"{lost} of {asked}{rung}",
        str(refused),
        *_waits(row, "register"),
        *_waits(row, "invite"),
        f"{row['cut_healthy']}, {row['cut_hit']}",
        row["false_verdicts"],
        f"{row['twice']}, {row['twice_left']}",
        row["left_up"],
    ]


def _waits(row: Row, kind: str) -> list[str]:
    """Where a server dies: of what began in the 15 s after; the worst is of the whole fault."""
    of = f"next_{kind}" if FAULTS[row["fault"]].true else kind
    return [*(f"{percent(row, of, over):.1f} %" for over in ("half", "two")), f"{float(row[f'{kind}_worst']):.2f} s"]


def render(rows: Sequence[Row]) -> str:
    straight = {row["fault"]: row for row in rows if row["balancer"] == "direct"}
    lines = [HEADINGS, ["---"] * len(HEADINGS), *(cells(row, straight.get(row["fault"])) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def origin(rows: Iterable[Mapping[str, str]]) -> str:
    """A line per commit, Python and machine the rows come from."""
    told = dict.fromkeys(
        (row["commit"], row["python"], row["machine"], row["when"][:10], row.get("mode") or "full") for row in rows
    )
    return "".join(
        f"Commit {commit}, Python {python}, {machine}, {day}, {mode} runs.\n"
        for commit, python, machine, day, mode in told
    )


def document(faults: Sequence[Row], avalanches: Sequence[Row], mode: str) -> str:
    shown = newest(faults, mode)
    parts = [origin(shown), render(shown)]
    void = [row for row in faults if row["void"]]
    if void:
        told = (f"{row['fault']} {row['balancer']} ({row['void']})" for row in void)
        parts.append(f"Void, and repeated where a row above stands for it: {'; '.join(told)}.\n")
    if avalanches:
        parts += [origin(shown_avalanches(avalanches)), render_avalanche(avalanches)]
    return "\n".join(parts)


def read(files: Iterable[Path]) -> list[Row]:
    """Oldest first."""
    rows = [dict(row) for file in files for row in csv.DictReader(file.open(), delimiter="\t")]
    return sorted(rows, key=lambda row: row["when"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--mode", default="", choices=("full", "quick"))
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    rows = read(asked.files or RESULTS.glob("faults-*.tsv"))
    text = document(rows, [] if asked.files else read(RESULTS.glob("avalanche-*.tsv")), asked.mode)
    if not asked.write:
        sys.stdout.write(text)
        return
    before, _, rest = README.read_text().partition(BEGIN)
    README.write_text(f"{before}{BEGIN}{text}{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
