"""What was decided a moment ago: a bounded memory with one fixed life, for choices nobody has confirmed yet.

Kept apart from the table of confirmed pins so that strangers cannot push registrations out of it. The same memory
serves finished transactions. Nothing here asks the time, and nothing here knows what a value means.

Operations: put, get, drop, sweep. Goal: the cost of a dict, a bound, no pause.
Plan: many small dicts ("shards"), each in two generations that turn on the clock: young becomes old, old is let go.
The shards turn one after the other, so that what is freed or resized at a time is at most one small dict.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Generic, TypeVar

from sipbalancer.compiled import mypyc_attr

V = TypeVar("V")

_SHARD = 4096
"""Entries a shard is meant for; a dict of that size is freed in well under a millisecond."""
_SHARD_LIMIT = 16 * _SHARD
"""No dict grows beyond this whatever the keys are: resizing a large one stops the loop."""


@mypyc_attr(allow_interpreted_subclasses=True)
class _Shard(Generic[V]):
    __slots__ = ("old", "phase", "turn", "young")

    def __init__(self, phase: float) -> None:
        self.young: MutableMapping[bytes | int, V] = {}
        self.old: MutableMapping[bytes | int, V] = {}
        self.turn = 0.0
        self.phase = phase


@mypyc_attr(allow_interpreted_subclasses=True)
class RecentPins(Generic[V]):
    """Key -> value, for at least `life` and at most 2 x `life` seconds after the last put (a clock with any zero)."""

    def __init__(self, limit: int, life: float = 32.0) -> None:
        """`limit`: entries per generation; beyond it new keys are refused, and `refused` counts them."""
        count = 1
        while count * _SHARD < limit:
            count *= 2
        self.refused = 0
        self.until = 0.0
        """From then on nothing is held: who asks often looks here before it pays for a `get`."""
        self._limit = limit
        self._life = life
        self._lives = 2 * life
        self._mask = count - 1
        self._shards: list[_Shard[V]] = [_Shard(life * n / count) for n in range(count)]
        self._young = 0
        self._swept = 0

    def put(self, key: bytes | int, value: V, now: float) -> bool:
        """Remember; an old value of the key is replaced. False, and one more `refused`, when there is no room."""
        shard = self._shards[hash(key) & self._mask]
        if now >= shard.turn:
            self._turn(shard, now)
        self.until = now + self._lives
        young = shard.young
        before = len(young)
        if (self._young >= self._limit or before >= _SHARD_LIMIT) and key not in young:
            self.refused += 1
            return False
        young[key] = value
        self._young += len(young) - before
        if shard.old:
            shard.old.pop(key, None)
        return True

    def get(self, key: bytes | int, now: float) -> V | None:
        """What was put, None when nothing was or its life is over."""
        shard = self._shards[hash(key) & self._mask]
        if now >= shard.turn:
            self._turn(shard, now)
        value = shard.young.get(key)
        return value if value is not None else shard.old.get(key)

    def drop(self, key: bytes | int) -> bool:
        """Forget `key`; whether it was held."""
        shard = self._shards[hash(key) & self._mask]
        if key in shard.young:
            del shard.young[key]
            self._young -= 1
            return True
        return shard.old.pop(key, None) is not None

    def sweep(self, now: float) -> None:
        """Turn the next shard if it is due: called often, it frees memory where no traffic passes."""
        shard = self._shards[self._swept]
        self._swept = (self._swept + 1) & self._mask
        if now >= shard.turn:
            self._turn(shard, now)

    def __len__(self) -> int:
        """Entries held, those included whose life is over but whose shard has not turned yet."""
        return sum(len(shard.young) + len(shard.old) for shard in self._shards)

    def _turn(self, shard: _Shard[V], now: float) -> None:
        late = now >= shard.turn + self._life
        shard.old = {} if late else shard.young
        self._young -= len(shard.young)
        shard.young = {}
        shard.turn = shard.phase + ((now - shard.phase) // self._life + 1) * self._life
