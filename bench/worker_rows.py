"""Rows of bench.workers: what it costs to be two processes on one core, and how evenly two workers share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from bench.rows import Origin

ONE, TWO, APART = "one process", "2 workers", "two balancers that share nothing"
WAYS = (ONE, TWO, APART)
MIXES = ("register", "call")


@dataclass(frozen=True, slots=True)
class WorkerRow(Origin):
    """One measurement of one way, all of its processes on one core."""

    round: int
    way: str
    mix: str
    flows: int
    """Clients, each with an address of its own."""
    in_flight: int
    """In all."""
    cpu_us: float
    """CPU time of all processes per message forwarded, kernel included."""
    rate: float
    """Messages per second."""
    share_least: float
    share_most: float
    """Of the messages of this run until then, by worker; 0.0 where there are none."""
    lost: int
    wrong: int
    void: str


def worker_table(rows: Sequence[WorkerRow]) -> Iterator[str]:
    """Markdown; a ratio is the median of those of each round."""
    flows, in_flight = rows[0].flows, rows[0].in_flight
    yield (
        f"| all on one core, {flows:,} client flows, {in_flight} in flight | REGISTER: us CPU/message | by one process "
        "| call: us CPU/message | by one process | share per worker |"
    )
    yield "|---|---|---|---|---|---|"
    for way in WAYS:
        cells = [cell for mix in MIXES for cell in _cells(rows, way, mix)]
        yield f"| {way} | {' | '.join(cells)} | {_share([row for row in rows if row.way == way])} |"
    yield ""
    yield (
        "Two of anything on one core spoil each other's caches: the last row is what that costs. Throughput of two "
        "workers on two cores: not measured, as the load needs one of the two for itself."
    )


def _cells(rows: Sequence[WorkerRow], way: str, mix: str) -> tuple[str, str]:
    valid = [row for row in rows if row.mix == mix and not row.void]
    found = {row.round: row.cpu_us for row in valid if row.way == way}
    alone = {row.round: row.cpu_us for row in valid if row.way == ONE}
    shares = [cost / alone[number] for number, cost in found.items() if number in alone]
    return (
        f"{median(found.values()):.1f}" if found else "void",
        f"{median(shares):.2f} [{min(shares):.2f}-{max(shares):.2f}]" if shares else "no ratio",
    )


def _share(rows: Sequence[WorkerRow]) -> str:
    shared = [row for row in rows if row.share_most]
    if not shared:
        return ""
    return f"{min(row.share_least for row in shared):.1%} to {max(row.share_most for row in shared):.1%}"
