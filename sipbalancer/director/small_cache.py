"""A cache for what can be made again in about the time that cold memory takes to be read.

So it is small on purpose: one that outgrows the processor's own cache costs what it saves, and each entry that leaves
it once more. Two generations: what is used stays, the rest goes at once. A hit is a plain look-up of a dict.
"""

from __future__ import annotations

from typing import TypeVar

CACHED = 8192
"""Entries of a generation."""

K = TypeVar("K")
V = TypeVar("V")


class SmallCache(dict[K, V]):
    """The younger generation, as a dict; `limit` entries each."""

    def __init__(self, limit: int = CACHED) -> None:
        super().__init__()
        self.limit = limit
        self.older: dict[K, V] = {}
        """The other generation: ask here before making a value anew, and `keep` what is found."""

    def keep(self, key: K, value: V) -> None:
        """Hold it in the younger generation."""
        if len(self) >= self.limit:
            self.older = dict(self)
            self.clear()
        self[key] = value

    def forget(self) -> None:
        """Both generations."""
        self.older = {}
        self.clear()
