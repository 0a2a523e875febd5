"""A cache for what can be made again in about the time that cold memory takes to be read.

So it is small on purpose: one that outgrows the processor's own cache costs what it saves, and each entry that leaves
it once more. Two generations: what is used stays, the rest goes at once. A hit is a plain look-up of a dict.

In a pool much larger than the cache hardly anybody comes back in time; to hold everybody and let him go again would be
all it does, and costs more than making the value. So where few of the older generation came again, the cache rests: it
holds the few it has, and takes nothing more for a while. Then it tries anew.
"""

from __future__ import annotations

from typing import TypeVar

CACHED = 8192
"""Entries of a generation."""
_WORTH = 3
"""One in so many must come again from the older generation."""
_RESTING = 32
"""While it rests it holds this fraction of its limit, and lets this many times its limit pass."""

K = TypeVar("K")
V = TypeVar("V")


class SmallCache(dict[K, V]):
    """The younger generation, as a dict; `limit` entries each."""

    def __init__(self, limit: int = CACHED) -> None:
        super().__init__()
        self.limit = limit
        self.older: dict[K, V] = {}
        """The other generation; empty while the cache rests."""
        self._room = limit
        self._came_again = 0
        self._passed = 0

    def again(self, key: K) -> V | None:
        """To be asked before a value is made anew: what the other generation has."""
        value = self.older.get(key)
        if value is not None:
            self._came_again += 1
            self.keep(key, value)
        return value

    def keep(self, key: K, value: V) -> None:
        """Hold it in the younger generation, unless the cache rests."""
        if len(self) >= self._room:
            self._passed += 1
            if self._room < self.limit and self._passed < _RESTING * self.limit:
                return
            self._turn()
        self[key] = value

    def _turn(self) -> None:
        """The younger generation is full."""
        resting = self._room < self.limit
        useless = len(self.older) > 0 and self._came_again * _WORTH < self.limit
        self.older = {} if useless or resting else dict(self)
        self._room = max(1, self.limit // _RESTING) if useless else self.limit
        self._came_again = self._passed = 0
        self.clear()

    def forget(self) -> None:
        """Both generations."""
        self.older = {}
        self.clear()
