"""`make bench`: every question of the bench, one after the other, then pictures and the README's tables.

    python -m bench [--only speed workers flat pool overload plots table] [--rounds N] [--quick]

speed: the peers in one run (bench.run) · workers: two of them on one core (bench.workers, root) · flat: by
registrations and servers, memory (bench.flat, root) · pool: three real Asterisks with and without the balancer
(bench.pool) · overload: three times the peak for a minute (bench.overload), only when named · plots, table. Rows are
kept in bench/results/.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from bench.run import CHECKOUT, say

ROUNDS = {"speed": 3, "workers": 7, "flat": 4, "pool": 3}
MODULES = {
    "speed": "bench.run",
    "workers": "bench.workers",
    "flat": "bench.flat",
    "pool": "bench.pool",
    "overload": "bench.overload",
}
LAST = ("plots", "table")


def commands(only: list[str], rounds: int | None, quick: bool) -> dict[str, list[str]]:
    """What is run for each part, in order."""
    found: dict[str, list[str]] = {}
    for part, module in MODULES.items():
        if part == "overload":
            found[part] = [sys.executable, "-m", module, *(["--seconds", "10"] if quick else [])]
            continue
        count = rounds or (1 if quick else ROUNDS[part])
        words = ["--quick"] if quick and part not in ("pool", "workers") else []
        found[part] = [sys.executable, "-m", module, "--rounds", str(count), *words]
    found["plots"] = [sys.executable, "-m", "bench.plots"]
    found["table"] = [sys.executable, "-m", "bench.table", "--write", str(Path("README.md"))]
    return {part: command for part, command in found.items() if part in only}


def main(arguments: list[str]) -> int:
    """Exit status: 0, 1 when a part could not be measured, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parts = (*MODULES, *LAST)
    usual = [part for part in parts if part != "overload"]
    parser.add_argument(
        "--only", nargs="+", choices=parts, default=usual, metavar="PART", help=f"{' '.join(parts)}; all but overload"
    )
    parser.add_argument("--rounds", type=int, help="of every part")
    parser.add_argument("--quick", action="store_true", help="short measurements, one round")
    asked = parser.parse_args(arguments)
    failed = False
    for part, command in commands(asked.only, asked.rounds, asked.quick).items():
        say(f"== {part}")
        failed |= subprocess.run(command, cwd=CHECKOUT, check=False).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
