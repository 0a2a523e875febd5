"""Rows of bench.pool and their table: what a pool of real Asterisks did with and without the balancer in front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from bench.rows import Origin


@dataclass(frozen=True, slots=True)
class PoolRow(Origin):
    """One measurement of one way to the pool."""

    round: int
    way: str
    """direct (each phone knows its server) or sipbalancer (all know the virtual address)."""
    mix: str
    """register (REGISTER, 401, REGISTER, 200) or call (INVITE, 401, ACK, INVITE, 100, 200, ACK, BYE, 200)."""
    in_flight: int
    seconds: float
    completed: int
    failed: int
    p50_ms: float
    """Of a whole registration or call."""
    p99_ms: float
    servers_cpu: float
    """Cores that the three servers used."""
    balancer_cpu: float
    load_cpu: float
    idle: float
    """Share of the machine's CPUs that nobody used."""
    share_least: float
    """Part of the registrations or calls that the least used server had; a third is even."""
    share_most: float

    @property
    def rate(self) -> float:
        """Registrations, or sessions, per second."""
        return self.completed / self.seconds


def pool_table(rows: Sequence[PoolRow]) -> Iterator[str]:
    yield (
        "| three Asterisk 22, both CPUs shared by all | registrations/s | sessions/s "
        "| servers' CPU, ms each: registration | session | failed |"
    )
    yield "|---|---|---|---|---|---|"
    for way in dict.fromkeys(row.way for row in rows):
        found = {mix: [row for row in rows if row.way == way and row.mix == mix] for mix in ("register", "call")}
        cells = [_rate(found[mix]) for mix in found] + [_cost(found[mix]) for mix in found]
        failed = sum(row.failed for row in rows if row.way == way)
        yield f"| {way} | {' | '.join(cells)} | {failed} |"


def _rate(rows: Sequence[PoolRow]) -> str:
    values = [row.rate for row in rows]
    return f"{median(values):,.0f} [{min(values):,.0f}-{max(values):,.0f}]" if values else "not measured"


def _cost(rows: Sequence[PoolRow]) -> str:
    values = [row.servers_cpu * row.seconds / max(1, row.completed) * 1e3 for row in rows]
    return f"{median(values):.2f}" if values else "not measured"
