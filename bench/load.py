"""Driving bench/load.c: compiled when it is needed, one process per program under test, one line per measurement."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

HERE = Path(__file__).parent
MESSAGES = HERE / "messages"
PORT = 5060
IN_FLIGHT = 256
"""While phones register once each."""


class Cores(NamedTuple):
    """Who runs where."""

    load: int
    under_test: int


class Said(NamedTuple):
    """What one measurement says; see `report` in load.c. Times in seconds unless named otherwise."""

    seconds: float
    completed: int
    messages: int
    bytes: int
    put_cpu: float
    own_cpu: float
    begun: int
    calls_begun: int
    calls_completed: int
    calls_lost: int
    """The calls among them."""
    recovery: float
    """In a step: from the fall of the load to the beginning of the last transaction that was lost; 0: none was."""
    all_cpu: float
    lost: int
    wrong: int
    repeats: int
    missing_acks: int
    skipped: int
    samples: int
    p50_us: float
    p99_us: float
    max_us: float
    first_wrong: str


class Filled(NamedTuple):
    """What `register_all` says."""

    seconds: float
    completed: int
    lost: int
    wrong: int
    first_wrong: str


def missing() -> str:
    """Why there can be no load here, "" when there can."""
    return "" if shutil.which("gcc") else "gcc is missing, and the load is written in C: apt-get install gcc libc6-dev"


def build(folder: Path) -> Path:
    """The load, compiled; see `compiled`."""
    return compiled("load", folder)


def compiled(name: str, folder: Path) -> Path:
    """NAME.c of this folder. CalledProcessError, with gcc's words on standard error, when that fails."""
    program = folder / name
    subprocess.run(["gcc", "-O2", "-Wall", "-o", str(program), str(HERE / f"{name}.c"), "-lm"], check=True)
    return program


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started within runs on this CPU only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Load:
    """The phones and servers of one program under test."""

    def __init__(
        self,
        program: Path,
        phones: int,
        hops: int,
        core: int,
        patience: float = 2.0,
        inside: Sequence[str] = (),
    ) -> None:
        """`patience`: seconds after which what is missing is lost; `inside`: the words before the command."""
        with on_core(core):
            self._process = subprocess.Popen(
                [*inside, str(program), str(MESSAGES), str(PORT), str(phones), str(hops), str(patience)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        self._read()

    def run(
        self, mix: str, loop: str, size: float, seconds: tuple[float, float], pids: list[int], *, block: bool
    ) -> Said:
        """Measure; `seconds`: warming up, measuring. RuntimeError when the load has died."""
        wait = "block" if block else "nap"
        self._tell(f"run {mix} {loop} {size:g} {wait} {seconds[0]} {seconds[1]} {','.join(map(str, pids))}")
        return Said(**self._read())

    def register_all(self, first: int, count: int) -> Filled:
        """`count` phones from `first` on register once each."""
        self._tell(f"all {IN_FLIGHT} {first} {count}")
        return Filled(**self._read())

    def at_random(self) -> None:
        """From now on the next phone is any, so that no cache has it."""
        self._tell("order random")

    def _tell(self, words: str) -> None:
        self._pipe(self._process.stdin).write(f"{words}\n")
        self._pipe(self._process.stdin).flush()

    def close(self) -> None:
        self._pipe(self._process.stdin).close()
        self._process.wait(5)

    def _read(self) -> dict[str, Any]:
        line = self._pipe(self._process.stdout).readline()
        if not line:
            raise RuntimeError(f"bench/load ended with status {self._process.wait(5)}")
        said: dict[str, Any] = json.loads(line)
        return said

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe
