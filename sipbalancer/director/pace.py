"""How fast work comes to a server: REGISTERs per second, and the ramp of one that returned (issue: no avalanche).

Pure numbers; times are the director's `now`.
"""

from __future__ import annotations

AT_ONCE = 0.1
"""Seconds' worth of the rate that an idle server takes in one go; tokens grow slower by as much, so that no second
sees more than the rate."""

LONGEST_DEBT = 4.0
"""Seconds' worth of the rate: whoever answers challenges with nonsense must not keep the others out for long."""


class Bucket:
    """A token bucket: never more than `rate` in any second. What must pass may run it into (bounded) debt."""

    __slots__ = ("_at", "_growth", "_most", "_tokens", "rate")

    def __init__(self) -> None:
        self.rate = 0.0
        self._growth = 0.0
        self._most = 1.0
        self._tokens = 0.0
        self._at = 0.0

    def _set(self, rate: float, now: float) -> None:
        burst = rate * AT_ONCE
        self.rate, self._at = rate, now
        self._growth, self._most = (rate - burst, burst) if burst >= 1.0 else (rate, 1.0)
        self._tokens = self._most

    def has(self, rate: float, now: float) -> bool:
        """Whether there is a token now; takes none."""
        return rate != self.rate or self._tokens + (now - self._at) * self._growth >= 1.0

    def take(self, rate: float, now: float, *, must: bool) -> bool:
        """One token; False when there is none, unless it `must` pass (then later ones wait for it)."""
        if rate != self.rate:
            self._set(rate, now)
        self._tokens = min(self._tokens + (now - self._at) * self._growth, self._most)
        self._at = now
        if self._tokens < 1.0 and not must:
            return False
        self._tokens = max(self._tokens - 1.0, -self._growth * LONGEST_DEBT)
        return True


LEAST_SHARE = 0.1
"""A returned server begins with a tenth of its share."""


def ramp(recovered: float, slowstart: float, now: float) -> float:
    """The part (0..1) of its share that a server takes which came back at `recovered` (0.0 = never was away)."""
    if not recovered or not slowstart or now >= recovered + slowstart:
        return 1.0
    return max(LEAST_SHARE, (now - recovered) / slowstart)
