"""Rows of bench/results: one file per command, a line per run, each with the machine and the commit it was made by."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from bench.rows import python_build

MEMORY = Path("/dev/shm")
"""A disk that others keep busy stops an Asterisk that logs: 8 s were seen."""


def made_folder() -> Path:
    """A new folder for the files of one run, in memory where there is a file system for that."""
    return Path(tempfile.mkdtemp(prefix="sipbalancer-faults-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None))


class Results:
    """Rows of one kind have the same columns. Threads may add at once."""

    def __init__(self, checkout: Path, kind: str = "faults") -> None:
        folder = checkout / "bench" / "results"
        folder.mkdir(exist_ok=True)
        commit = _commit(checkout)
        self.path = folder / f"{kind}-{time.strftime('%Y-%m-%dT%H%M%SZ', time.gmtime())}-{commit.rstrip('+')}.tsv"
        self._lock = threading.Lock()
        self._where = {
            "commit": commit,
            "machine": f"{_processor()}, {os.cpu_count()} CPUs",
            "python": python_build(),
            "kernel": platform.release(),
        }

    def write(self, row: dict[str, Any]) -> None:
        """Append, and say so. Times of day are UTC."""
        row = {"when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **row, **self._where}
        with self._lock:
            with self.path.open("a") as file:
                if not file.tell():
                    file.write("\t".join(row) + "\n")
                file.write("\t".join(str(value) for value in row.values()) + "\n")
            told = (f"{name}={value}" for name, value in row.items() if name not in self._where)
            sys.stdout.write("  ".join(told) + "\n")
            sys.stdout.flush()


def _commit(checkout: Path) -> str:
    """A + behind it: with changes in the program that nobody committed."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=checkout, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "sipbalancer") else "")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
