"""When the next probe of one server is due: moments, and nothing of probes or of waiting."""

from __future__ import annotations

import math
from collections.abc import Callable

FIRST_WITHIN = 1.0
"""Seconds: the first probe of a server comes this soon, whatever its interval; it gets no work before."""
JITTER = 0.1
"""Of the interval: how far a probe may lie from its place, so that balancers do not fall into step."""
LARGEST_JITTER = 0.2
"""Seconds: no jitter makes a dead server wait longer than this for its probe."""
SHORTEST = 0.01
"""Seconds: no interval is shorter."""


class Pace:
    """A true period: probe n lies at begin + n intervals, within the jitter, however long the probes took.

    The begin is random within one interval, so the probes of many servers are spread over it. A probe that outlasts
    its interval makes the next ones fall out; they never pile up.
    """

    def __init__(self, interval: float, fraction: Callable[[], float], now: float) -> None:
        """`fraction()` is random in [0, 1); all times are seconds of one clock."""
        self.interval = max(interval, SHORTEST)
        self._fraction = fraction
        self._begin = now + fraction() * self.interval
        self._number = -1

    def first(self, now: float) -> float:
        """The moment of a new server's first probe, outside the period."""
        return now + self._fraction() * min(self.interval, FIRST_WITHIN)

    def next(self, now: float) -> float:
        """The moment of the next one; it may be past by the jitter."""
        elapsed = math.floor((now - self._begin) / self.interval) + 1
        self._number = max(self._number + 1, elapsed)
        shift = min(JITTER * self.interval, LARGEST_JITTER) * (self._fraction() - 0.5)
        return self._begin + self._number * self.interval + shift
