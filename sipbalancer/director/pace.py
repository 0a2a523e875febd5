"""How fast work comes to a server: REGISTERs per second, and the ramp of one that returned (issue: no avalanche).

Pure numbers; times are the director's `now`.
"""

from __future__ import annotations

from math import inf

from sipbalancer.compiled import mypyc_attr

AT_ONCE = 0.1
"""Seconds' worth of the rate that an idle server takes in one go."""

SECOND = 1.02
"""What left together comes again a second later: with the clock read once per batch, some of both were seen in one
second at the server, 162 for a rate of 150. The stamps lay up to 10 ms apart from the clock, on a busy machine."""

COUNTED = 10_000
"""The highest rate that is counted in each second. A higher one holds on average: no server takes as many, and to
count them takes memory."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Bucket:
    """A token bucket that never lets more than `rate` (below one: one) pass in any second, from whenever it is counted.

    What has precedence may run the tokens into debt, a second's worth at most, and not break that promise.
    """

    __slots__ = ("_at", "_most", "_next", "_passed", "_tokens", "rate")

    def __init__(self) -> None:
        self.rate = 0.0
        self._most = 1.0
        self._tokens = 0.0
        self._at = 0.0
        self._passed = [0.0]
        """A ring: when the last `rate` ones passed."""
        self._next = 0
        """The oldest of them."""

    def _set(self, rate: float, now: float) -> None:
        self.rate, self._at = rate, now
        self._tokens = self._most = max(1.0, rate * AT_ONCE)
        self._passed, self._next = [-inf] * (max(1, int(rate)) if rate <= COUNTED else 0), 0

    def has(self, rate: float, now: float) -> bool:
        """Whether there is a token now; takes none."""
        if rate != self.rate:
            return True
        return self._has_room(now) and self._tokens + (now - self._at) * rate >= 1.0

    def _has_room(self, now: float) -> bool:
        return not self._passed or now - self._passed[self._next] >= SECOND

    def take(self, rate: float, now: float, *, must: bool) -> bool:
        """One token; False when the rate has passed within the last second, and where there is none, unless it `must`
        pass: then later ones wait for it."""
        if rate != self.rate:
            self._set(rate, now)
        self._tokens = min(self._tokens + (now - self._at) * rate, self._most)
        self._at = now
        if not self._has_room(now) or (self._tokens < 1.0 and not must):
            return False
        if self._passed:
            self._passed[self._next] = now
            self._next = (self._next + 1) % len(self._passed)
        self._tokens -= 1.0
        return True


LEAST_SHARE = 0.1
"""A returned server begins with a tenth of its share."""


def ramp(recovered: float, slowstart: float, now: float) -> float:
    """The part (0..1) of its share that a server takes which came back at `recovered` (0.0 = never was away)."""
    if not recovered or not slowstart or now >= recovered + slowstart:
        return 1.0
    return max(LEAST_SHARE, (now - recovered) / slowstart)
