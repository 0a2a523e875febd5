"""The pulse of the event loop: how late it runs, and the supervisor's watchdog fed from it.

A beat every 10 ms that comes late was held up by something: nearly that much a datagram waited too. (A beat costs some
10 us. One every 100 ms sees one gap of 20 ms in five.) A process that no datagram passes through beats `QUIETLY`: each
of its beats takes a worker's CPU away for a moment, and its caches with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sipbalancer.daemon.loop_lag import LONG, Collections, Longest, Pauses

BEAT = 0.01
QUIETLY = 0.05


class Pulse:
    """Beats from `start` to `stop`. `watchdog` is called at least every half `watchdog_period` seconds (0 = never)."""

    def __init__(
        self,
        watchdog: Callable[[], None],
        watchdog_period: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watchdog = watchdog
        self._every = watchdog_period / 2
        self._beat = BEAT
        self._clock = clock
        self._fed = self._expected = clock()
        self._longest = Longest(clock)
        self._gaps = 0
        self._collections = Collections()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def lag(self) -> float:
        """Seconds, the longest gap of the last thirty to sixty."""
        return self._longest.value

    @property
    def pauses(self) -> Pauses:
        held = self._collections
        return Pauses(self._gaps, held.count, held.seconds, held.longest.value)

    def start(self, loop: asyncio.AbstractEventLoop, beat: float = BEAT) -> None:
        """`beat`: seconds between two."""
        self._beat = beat
        self._collections.start()
        self._next(loop)

    def stop(self) -> None:
        self._collections.stop()
        if self._timer is not None:
            self._timer.cancel()

    def _again(self, loop: asyncio.AbstractEventLoop) -> None:
        self.beat()
        self._next(loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._expected = self._clock() + self._beat
        self._timer = loop.call_later(self._beat, self._again, loop)

    def beat(self) -> None:
        """One beat: measure, and feed the watchdog when it is time."""
        now = self._clock()
        late = now - self._expected
        self._longest.add(late)
        self._gaps += late > LONG
        if self._every and now - self._fed >= self._every - self._beat:
            self._fed = now
            self._watchdog()
