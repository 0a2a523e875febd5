"""A row: one measurement of one program, as kept in bench/results/speed-*.tsv, and when it may not be used.

Nothing is measured here and nothing rendered.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

RESULTS = Path(__file__).parent / "results"
SATURATED = 0.95
"""Share of its core that a program under test must use in the closed loop at SATURATING in flight."""
SATURATING = 256
IDLE = 0.15
"""Share of the other CPUs that must be left over, or the load was the bottleneck."""


Host = tuple[str, str, str, str, str]
"""The values of an Origin, in order."""


@dataclass(frozen=True, slots=True)
class Origin:
    """How every row begins, whatever it is of."""

    time: str
    """UTC, ISO 8601: when the run (all rows of one command) began."""
    commit: str
    """A + behind it: with changes nobody committed."""
    python: str
    machine: str
    kernel: str


@dataclass(frozen=True, slots=True)
class Row(Origin):
    """Times in the unit their name says. What is empty (`void`, `note`) is good."""

    round: int
    program: str
    version: str
    mix: str
    """register (REGISTER, 200) or call (INVITE, 100, 180, 200, ACK, BYE, 200)."""
    loop: str
    """closed, open, or lasting: closed, for longer than any program keeps an ended transaction."""
    in_flight: int
    """Closed loop: transactions (calls) in flight; open loop: 0."""
    offered: float
    """Open loop: transactions (calls) begun per second; closed loop: 0."""
    seconds: float
    completed: int
    """Transactions (calls) that ended well within `seconds`: per second, RFC 7502's Registration Rate, and the Session
    Establishment Rate."""
    messages: int
    """Forwarded within `seconds`, both directions."""
    bytes: int
    """Of a message as it left the program under test, mean."""
    cpu_us: float
    """CPU time of all processes of the program under test per message forwarded, kernel included."""
    busy: float
    """Share of its core that the program under test used."""
    load_busy: float
    """The load's share of its own core."""
    idle: float
    """Share of the CPUs outside the program under test that nobody used."""
    lost: int
    """Transactions without an answer after 2 s, calls without their ACK, and those that could not be begun."""
    wrong: int
    """Messages that were not what they had to be, at a phone or at a server."""
    repeats: int
    p50_us: float
    """Open loop: added latency of a message, from its send to the kernel's time of arrival behind the program."""
    p99_us: float
    max_us: float
    void: str
    """Why this row must not be used."""
    note: str

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.messages / self.seconds

    @property
    def transaction_rate(self) -> float:
        """Registrations, or sessions, per second."""
        return self.completed / self.seconds


NAMES = tuple(field.name for field in fields(Row))
_READ: dict[str, Callable[[str], object]] = {"int": int, "float": float, "str": str}
Kept = TypeVar("Kept")


def python_build() -> str:
    """Version and home of this Python: one built without profile-guided optimisation is a quarter slower."""
    return f"{platform.python_version()} of {sys.base_prefix}"


def why_void(loop: str, in_flight: int, busy: float, idle: float, messages: int, wrong: int) -> str:
    """Why a row with these numbers is no measurement of the program under test; "" when it is one."""
    if not messages:
        return "nothing was forwarded"
    if wrong:
        return "wrong messages"
    if idle < IDLE:
        return f"less than {IDLE:.0%} idle outside the program under test"
    if loop == "closed" and in_flight >= SATURATING and busy < SATURATED:
        return f"its core was less than {SATURATED:.0%} busy"
    return ""


def idle_share(all_cpu: float, put_cpu: float, seconds: float) -> float:
    """Of the CPUs that the program under test does not have: what nobody used of them. Seconds of CPU, of all processes
    and of the program's."""
    return 1 - (all_cpu - put_cpu) / seconds / max(1, (os.cpu_count() or 2) - 1)


def write(path: Path, rows: Sequence[Any]) -> None:
    """A header line and the rows, dataclasses of one kind, tab-separated."""
    names = [field.name for field in fields(rows[0])]
    lines = ["\t".join(names), *("\t".join(as_text(value) for value in astuple(row)) for row in rows)]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def as_text(value: object) -> str:
    """A cell."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join(text.split())


def read(path: Path) -> Iterator[Row]:
    """The rows of a file. ValueError when its columns are others."""
    return read_as(path, Row)


def read_as(path: Path, kind: type[Kept]) -> Iterator[Kept]:
    """Rows of another kind of dataclass; its fields are int, float or str."""
    header, *lines = path.read_text().splitlines()
    columns = fields(kind)  # type: ignore[arg-type]
    if header.split("\t") != [field.name for field in columns]:
        raise ValueError(f"{path}: columns of another version of the bench")
    readers = [_READ[str(field.type)] for field in columns]
    for line in lines:
        yield kind(*(reader(text) for reader, text in zip(readers, line.split("\t"), strict=True)))


def newest(kind: str) -> Path | None:
    """The last file of rows of that kind: `speed`, `flat` ...; None when there is none."""
    return max(RESULTS.glob(f"{kind}-*.tsv"), default=None)
