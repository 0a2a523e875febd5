"""The director's `now`: seconds since the epoch, read once at start and carried on by a steady clock.

That is CLOCK_BOOTTIME where there is one: it goes on while the host is suspended, as registrations and calls do.
So pins mean the same after a restart, and a step of the system clock while we run expires nothing. Nothing here
sleeps or schedules.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


STEADY: Clock = _since_boot if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic


def anchored_clock(wall: Clock = time.time, steady: Clock = STEADY) -> Clock:
    """A clock that starts at `wall()` and moves with `steady()`; both in seconds."""
    offset = wall() - steady()

    def now() -> float:
        return offset + steady()

    return now
