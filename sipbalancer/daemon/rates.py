"""Requests per second of each server: the mean of the last few seconds, from one look a second."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

WINDOW_LOOKS = 6
"""One a second, so five seconds between the first and the last."""

ServerOfService = tuple[str, str]
"""(virtual, server), both `address:port`."""


class Rates:
    """Remembers a few totals; feed it once a second."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Mapping[ServerOfService, int]]] = deque(maxlen=WINDOW_LOOKS)

    def observe(self, now: float, totals: Mapping[ServerOfService, int]) -> None:
        """The requests of each server so far."""
        self._seen.append((now, totals))

    def per_second(self, virtual: str, server: str) -> float:
        """0.0 until two looks know the server; never negative (one that went and came back counts anew)."""
        known = [(at, totals[virtual, server]) for at, totals in self._seen if (virtual, server) in totals]
        if len(known) < 2:
            return 0.0
        (first_at, first), (last_at, last) = known[0], known[-1]
        return max(0.0, (last - first) / (last_at - first_at)) if last_at > first_at else 0.0
