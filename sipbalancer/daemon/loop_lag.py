"""How long the loop stood still, and how much of that the garbage collector did. Numbers only; `pulse` feeds them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

WINDOW = 30.0
"""Seconds; the longest is that of the last one to two windows, so no scrape of one a minute misses it."""
LONG = 0.02
"""Seconds of a gap that is counted: a phone's codec notices more."""


class Longest:
    """The largest of the values of the last one to two windows."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turned = clock()
        self._now = self._before = 0.0

    def add(self, seconds: float) -> None:
        self._turn()
        if seconds > self._now:
            self._now = seconds

    @property
    def value(self) -> float:
        """Seconds, 0.0 when there was none."""
        self._turn()
        return max(self._now, self._before)

    def _turn(self) -> None:
        passed = self._clock() - self._turned
        if passed >= WINDOW:
            self._before = self._now if passed < 2 * WINDOW else 0.0
            self._now = 0.0
            self._turned += passed // WINDOW * WINDOW


class Pauses(NamedTuple):
    """What a scrape shows. Seconds."""

    gaps: int = 0
    """Of the loop, each longer than `LONG`."""
    collections: int = 0
    collecting: float = 0.0
    longest_collection: float = 0.0
    """Of the last one to two windows."""


def together(pauses: Iterable[Pauses]) -> Pauses:
    """Of several processes."""
    gaps, collections, collecting, longest = zip(*pauses, strict=True)
    return Pauses(sum(gaps), sum(collections), sum(collecting), max(longest))


class Collections:
    """Times the garbage collector, from `start` to `stop`. It stops everything, whichever thread it runs in."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._begun = 0.0
        self.count = 0
        self.seconds = 0.0
        self.longest = Longest(clock)

    def start(self) -> None:
        gc.callbacks.append(self._collected)

    def stop(self) -> None:
        """May be called without `start`."""
        if self._collected in gc.callbacks:
            gc.callbacks.remove(self._collected)

    def _collected(self, phase: Literal["start", "stop"], info: dict[str, int]) -> None:
        if phase == "start":
            self._begun = self._clock()
            return
        took = self._clock() - self._begun
        self.count += 1
        self.seconds += took
        self.longest.add(took)
