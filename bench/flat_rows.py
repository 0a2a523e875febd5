"""Rows of bench.flat: what a message costs in a bed, and what a registration takes."""

from __future__ import annotations

from dataclasses import dataclass

from bench.rows import Origin


@dataclass(frozen=True, slots=True)
class CostRow(Origin):
    """One measurement of one bed."""

    round: int
    registrations: int
    servers: int
    mix: str
    """register (a refresh) or call (INVITE, 100, 180, 200, ACK, BYE, 200)."""
    cpu_us: float
    """CPU time of the process per message forwarded, kernel included."""
    rate: float
    """Messages per second."""
    idle: float
    """Share of the load's CPU that nobody used."""
    lost: int
    wrong: int
    void: str


@dataclass(frozen=True, slots=True)
class MemoryRow(Origin):
    what: str
    first: int
    """Registrations before,"""
    last: int
    """and after."""
    per_registration: float
    """Bytes by which memory grew, for each."""
    note: str
