"""Rows of bench/results: one file per day, a line per run, each with the machine and the commit it was made by."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.faults.catalogue import Fault
from bench.faults.measure import Outcome


class Results:
    def __init__(self, checkout: Path, kind: str = "faults") -> None:
        folder = checkout / "bench" / "results"
        folder.mkdir(exist_ok=True)
        self.path = folder / f"{kind}-{time.strftime('%Y-%m-%d')}.tsv"
        self._where = {
            "commit": _commit(checkout),
            "machine": f"{os.cpu_count()} x {_processor()}",
            "python": platform.python_version(),
            "kernel": platform.release(),
        }

    def add(
        self, fault: Fault, balancer: str, quick: bool, found: Outcome, used: dict[str, float], crashed: list[str]
    ) -> None:
        """`crashed`: Asterisks that died of themselves."""
        busy = {f"{name}_cpu_pct" if name != "idle" else "idle_pct": value for name, value in used.items()}
        mode = "quick" if quick else "full"
        self.write(
            {
                "fault": fault.name,
                "balancer": balancer,
                "mode": mode,
                "crashed": " ".join(crashed),
                **found.flat(),
                **busy,
            }
        )

    def write(self, row: dict[str, Any]) -> None:
        """Append; a file whose columns are others is begun anew under another name."""
        row = {"when": time.strftime("%H:%M:%S"), **row, **self._where}
        head = "\t".join(row) + "\n"
        number = 1
        path = self.path
        while path.exists() and not path.read_text().startswith(head):
            number += 1
            path = self.path.with_stem(f"{self.path.stem}-{number}")
        with path.open("a") as file:
            if not file.tell():
                file.write(head)
            file.write("\t".join(str(value) for value in row.values()) + "\n")
        sys.stdout.write("  ".join(f"{name}={value}" for name, value in row.items() if name not in self._where) + "\n")
        sys.stdout.flush()


def _commit(checkout: Path) -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=checkout, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "sipbalancer") else "")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
