"""Timers for transactions: what is due in which 50 ms. O(1) to set, nothing to cancel, bounded by what is set.

A key that is no longer pending when its tick comes is passed over by the caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice

from sipbalancer.compiled import mypyc_attr

TICK = 0.05
"""Seconds; the edge calls `due` as often."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Wheel:
    def __init__(self, now: float) -> None:
        self._ticks: dict[int, list[bytes]] = {}
        self._done = int(now / TICK)
        self._over: deque[Iterator[bytes]] = deque()
        """What is left of the ticks whose time has come."""

    def set(self, key: bytes, when: float) -> None:
        """Hand `key` out by the first `due` at or after `when`."""
        tick = int(when / TICK) + 1
        if tick <= self._done:
            tick = self._done + 1
        slot = self._ticks.get(tick)
        if slot is None:
            self._ticks[tick] = [key]
        else:
            slot.append(key)

    def due(self, now: float, limit: int) -> list[bytes]:
        """Keys whose time has come, in order of their ticks: at most `limit`, the rest is the next call's."""
        last = int(now / TICK)
        if last > self._done:
            self._turn(last)
        keys: list[bytes] = []
        while self._over and len(keys) < limit:
            keys += islice(self._over[0], limit - len(keys))
            if len(keys) < limit:
                self._over.popleft()
        return keys

    def _turn(self, last: int) -> None:
        if last - self._done > len(self._ticks):
            ticks = sorted(tick for tick in self._ticks if tick <= last)
        else:
            ticks = [tick for tick in range(self._done + 1, last + 1) if tick in self._ticks]
        self._done = last
        self._over.extend(iter(self._ticks.pop(tick)) for tick in ticks)
