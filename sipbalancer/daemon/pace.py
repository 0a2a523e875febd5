"""When the next probe of one server is due. Knows nothing of probes; clock and waiting come from outside."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

FIRST_WITHIN = 1.0
"""Seconds: the first probe of a server comes this soon, whatever its interval; it gets no work before."""
JITTER = 0.1
"""Of the interval: how far a probe may lie from its place, so that balancers do not fall into step."""
SHORTEST = 0.01
"""Seconds: no interval is shorter."""


class Pace:
    """A true period: probe n lies at begin + n intervals, within the jitter, however long the probes took.

    The begin is random within one interval, so the probes of many servers are spread over it. A probe that outlasts
    its interval makes the next ones fall out; they never pile up.
    """

    def __init__(
        self,
        interval: float,
        fraction: Callable[[], float],
        clock: Callable[[], float],
        wait: Callable[[float], Awaitable[None]],
    ) -> None:
        """`fraction()` is random in [0, 1); `clock` and `wait` are in seconds."""
        self._interval = max(interval, SHORTEST)
        self._fraction = fraction
        self._clock = clock
        self._wait = wait
        self._begin = 0.0
        self._number = 0

    async def first(self) -> None:
        """Wait for the moment of the first probe."""
        now = self._clock()
        self._begin = now + self._fraction() * self._interval
        await self._until(now + self._fraction() * min(self._interval, FIRST_WITHIN))

    async def next(self) -> None:
        """Wait for the moment of the next one."""
        elapsed = math.ceil((self._clock() - self._begin) / self._interval)
        self._number = max(self._number + 1, elapsed)
        shift = JITTER * (self._fraction() - 0.5)
        await self._until(self._begin + (self._number + shift) * self._interval)

    async def _until(self, moment: float) -> None:
        await self._wait(max(0.0, moment - self._clock()))
