"""Timers for transactions: what is due in which 50 ms. O(1) to set, nothing to cancel, bounded by what is set.

A key that is no longer pending when its tick comes is passed over by the caller.
"""

from __future__ import annotations

TICK = 0.05
"""Seconds; the edge calls `due` as often."""


class Wheel:
    def __init__(self, now: float) -> None:
        self._ticks: dict[int, list[bytes]] = {}
        self._done = int(now / TICK)

    def set(self, key: bytes, when: float) -> None:
        """Hand `key` out by the first `due` at or after `when`."""
        tick = max(int(when / TICK) + 1, self._done + 1)
        slot = self._ticks.get(tick)
        if slot is None:
            self._ticks[tick] = [key]
        else:
            slot.append(key)

    def due(self, now: float) -> list[bytes]:
        """All keys whose time has come, in order of their ticks."""
        last = int(now / TICK)
        if last <= self._done:
            return []
        if last - self._done > len(self._ticks):
            ticks = sorted(tick for tick in self._ticks if tick <= last)
        else:
            ticks = [tick for tick in range(self._done + 1, last + 1) if tick in self._ticks]
        self._done = last
        return [key for tick in ticks for key in self._ticks.pop(tick)]
