"""How fast work comes to a server: REGISTERs per second, and the ramp of one that returned (issue: no avalanche).

Pure numbers; times are the director's `now`.
"""

from __future__ import annotations

AT_ONCE = 0.1
"""Seconds' worth of the rate that an idle server takes in one go."""


LONGEST_DEBT = 4.0
"""Seconds' worth of the rate: whoever answers challenges with nonsense must not keep the others out for long."""


class Bucket:
    """A token bucket: `rate` a second, a tenth of that at once. What must pass may run it into (bounded) debt."""

    __slots__ = ("_at", "_tokens", "rate")

    def __init__(self) -> None:
        self.rate = 0.0
        self._tokens = 0.0
        self._at = 0.0

    def has(self, rate: float, now: float) -> bool:
        """Whether there is a token now; takes none."""
        return rate != self.rate or self._tokens + (now - self._at) * rate >= 1.0

    def take(self, rate: float, now: float, *, must: bool) -> bool:
        """One token; False when there is none, unless it `must` pass (then later ones wait for it)."""
        most = max(rate * AT_ONCE, 1.0)
        if rate != self.rate:
            self.rate, self._tokens, self._at = rate, most, now
        self._tokens = min(self._tokens + (now - self._at) * rate, most)
        self._at = now
        if self._tokens < 1.0 and not must:
            return False
        self._tokens = max(self._tokens - 1.0, -rate * LONGEST_DEBT)
        return True


LEAST_SHARE = 0.1
"""A returned server begins with a tenth of its share."""


def ramp(recovered: float, slowstart: float, now: float) -> float:
    """The part (0..1) of its share that a server takes which came back at `recovered` (0.0 = never was away)."""
    if not recovered or not slowstart or now >= recovered + slowstart:
        return 1.0
    return max(LEAST_SHARE, (now - recovered) / slowstart)
