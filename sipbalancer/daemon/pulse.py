"""The pulse of the event loop: how late it runs, and the supervisor's watchdog fed from it.

A beat every 100 ms that comes late was held up by something: that much a datagram waited too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

BEAT = 0.1
WINDOW = 10.0


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
        self._clock = clock
        self._fed = self._expected = self._turned = clock()
        self._worst = self._before = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def lag(self) -> float:
        """Seconds, the worst delay of the last ten to twenty."""
        return max(self._worst, self._before)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._expected = self._clock() + BEAT
        self._timer = loop.call_later(BEAT, self._again, loop)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _again(self, loop: asyncio.AbstractEventLoop) -> None:
        self.beat()
        self.start(loop)

    def beat(self) -> None:
        """One beat: measure, and feed the watchdog when it is time."""
        now = self._clock()
        if now - self._turned >= WINDOW:
            self._before, self._worst, self._turned = self._worst, 0.0, now
        self._worst = max(self._worst, now - self._expected)
        if self._every and now - self._fed >= self._every - BEAT:
            self._fed = now
            self._watchdog()
