"""The director's `now`: seconds since the epoch, read once at start and carried on by the monotonic clock.

So pins mean the same after a restart, and a step of the system clock while we run expires nothing. Nothing here
sleeps or schedules.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


def anchored_clock(wall: Clock = time.time, steady: Clock = time.monotonic) -> Clock:
    """A clock that starts at `wall()` and moves with `steady()`; both in seconds."""
    offset = wall() - steady()

    def now() -> float:
        return offset + steady()

    return now
