"""A copy of the director's state that can be used up: what a datagram would do is done to it, and nothing is changed.

`explain` runs the forwarder itself on such a copy, so there is no second implementation of any decision. Small things
(services, servers, health) are copied whole. The large tables are not: an `Overlay` reads through to the real one and
keeps what is written to itself, so that a copy costs a millisecond however many pins there are. Only this module
looks into the tables' insides; a table it does not know is copied whole, which is right and slow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

from sipbalancer.director.bindings import Bindings
from sipbalancer.director.recent import RecentPins, _Shard
from sipbalancer.director.shadow_pins import ShadowEnded, ShadowPins, ShadowRefreshes
from sipbalancer.director.small_cache import SmallCache
from sipbalancer.director.state import State
from sipbalancer.director.twin import Memo, deep_twin, twin
from sipbalancer.director.wheel import Wheel

K = TypeVar("K")
V = TypeVar("V")


class Overlay(MutableMapping[K, V]):
    """A mapping over another: a value is copied at first sight; what is written or deleted here stays here."""

    def __init__(self, under: Mapping[K, V], memo: Memo) -> None:
        self.own: dict[K, V] = {}
        """What was seen or written."""
        self._under = under
        self._memo = memo
        self._gone: set[K] = set()

    def __getitem__(self, key: K) -> V:
        if key not in self.own:
            if key in self._gone:
                raise KeyError(key)
            self.own[key] = deep_twin(self._under[key], self._memo)
        return self.own[key]

    def __contains__(self, key: object) -> bool:
        return key in self.own or (key in self._under and key not in self._gone)

    def __setitem__(self, key: K, value: V) -> None:
        self._gone.discard(key)
        self.own[key] = value

    def __delitem__(self, key: K) -> None:
        if key not in self:
            raise KeyError(key)
        self.own.pop(key, None)
        if key in self._under:
            self._gone.add(key)

    def __len__(self) -> int:
        new = sum(key not in self._under for key in self.own)
        return len(self._under) - len(self._gone) + new

    def __iter__(self) -> Iterator[K]:
        yield from [key for key in self._under if key not in self._gone]
        yield from [key for key in self.own if key not in self._under]

    def __reversed__(self) -> Iterator[K]:
        return reversed(list(self))

    def changes(self) -> list[tuple[K, V | None, V | None]]:
        """(key, before, after) of what was written or deleted here; None = not there."""
        written = [(key, self._under.get(key), value) for key, value in self.own.items()]
        deleted = [(key, self._under[key], None) for key in self._gone if key not in self.own]
        return [each for each in (*written, *deleted) if each[1] != each[2]]


def shadow_of(state: State, now: float) -> State:
    """The copy. Whatever is done to it, `state` stays as it is; it must not be kept while `state` goes on."""
    memo: Memo = {}
    for shared in (state.keys, state.sealer):
        memo[id(shared)] = shared
    memo[id(state.pins)] = ShadowPins(state.pins)
    transactions, repeats = state.transactions, state.repeats
    memo[id(transactions.ended)] = ShadowEnded(transactions.ended)
    for wheel in (state.wheel, repeats._wheel):
        memo[id(wheel)] = Wheel(now)
    for cache in _caches(state):
        memo[id(cache)] = SmallCache(cache.limit)
    for queue in (transactions._due, transactions._due_invites, state.acks._second):
        memo[id(queue)] = deque()
    for line in state.lines._lines.values():
        memo[id(line)] = line.copy()  # what waits there is never changed
    tables: tuple[Mapping[Any, Any], ...] = (
        transactions.pending,
        transactions.held,
        state.dialogs.held,
        repeats._sayings,
    )
    for table in tables:
        memo[id(table)] = Overlay(table, memo)
    for recent in (*state.recent, transactions.answered, transactions.outward, transactions.given_up):
        memo[id(recent)] = _recent(recent, memo)
    for bindings in state.bindings.values():
        memo[id(bindings)] = _bindings(bindings, memo)
    made: State = deep_twin(state, memo)
    return made


def _caches(state: State) -> Iterator[SmallCache[Any, Any]]:
    """Of the services: what they hold is the same when it is read anew."""
    for service in state.services.values():
        yield from (service.names, service.routes, service.ways_back)


def _recent(real: RecentPins[V], memo: Memo) -> RecentPins[V]:
    made: RecentPins[V] = twin(real)
    made._shards = []
    for shard in real._shards:
        held: _Shard[V] = twin(shard)
        held.young, held.old = Overlay(shard.young, memo), Overlay(shard.old, memo)
        made._shards.append(held)
    return made


def _bindings(real: Bindings, memo: Memo) -> Bindings:
    made: Bindings = twin(real)
    made._aors = tuple(Overlay(shard, memo) for shard in real._aors)
    made._index = tuple(Overlay(shard, memo) for shard in real._index)
    made._refreshes = ShadowRefreshes(real._refreshes)
    made._changed, made._telling, made._sweeping = {}, [], []
    return made


def recent_changes(table: RecentPins[V]) -> list[tuple[bytes | int, V | None, V | None]]:
    """(key, before, after) of a shadow's table of recent choices."""
    return [change for shard in table._shards for change in _shard_changes(shard.young, shard.old)]


def _shard_changes(
    young: MutableMapping[bytes | int, V], old: MutableMapping[bytes | int, V]
) -> list[tuple[bytes | int, V | None, V | None]]:
    """A shard that has turned under our hands has a plain dict for young: all in it is new."""
    written = young.changes() if isinstance(young, Overlay) else [(key, None, value) for key, value in young.items()]
    dropped = old.changes() if isinstance(old, Overlay) else []
    return [*written, *(change for change in dropped if change[2] is None and change[0] not in young)]


def binding_changes(table: Bindings) -> list[tuple[int, bytes | None, bytes | None]]:
    """(AoR key, records of its Contacts before, after) of a shadow's bindings; see bindings.read_bounds."""
    return [change for shard in table._aors if isinstance(shard, Overlay) for change in shard.changes()]
