"""A copy of the director's state that can be used up: what a datagram would do is done to it, and nothing is changed.

`explain` runs the forwarder itself on such a copy, so there is no second implementation of any decision. Small things
(services, servers, health) are copied whole. The large tables are not: an `Overlay` reads through to the real one and
keeps what is written to itself, so that a copy costs a millisecond however many pins there are. Only this module
looks into the tables' insides; a table it does not know is copied whole, which is right and slow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from copy import copy, deepcopy
from typing import Any, NamedTuple, TypeVar

from sipbalancer.director.bindings import Bindings
from sipbalancer.director.ended import Ended
from sipbalancer.director.pins import PinTable
from sipbalancer.director.recent import RecentPins
from sipbalancer.director.refreshes import Refreshes
from sipbalancer.director.small_cache import SmallCache
from sipbalancer.director.state import State
from sipbalancer.director.wheel import Wheel

K = TypeVar("K")
V = TypeVar("V")
_NOTHING: Any = object()
_MAX_SERVERS = 4096

Memo = dict[int, Any]
"""id of a real object -> its copy, as `copy.deepcopy` keeps it."""


class Overlay(dict[K, V]):
    """A dict over another: a value is copied at first sight; what is written or deleted here stays here."""

    def __init__(self, under: dict[K, V], memo: Memo) -> None:
        super().__init__()
        self._under = under
        self._memo = memo
        self._gone: set[K] = set()

    def get(self, key: K, default: Any = None) -> Any:
        value = super().get(key, _NOTHING)
        if value is not _NOTHING:
            return value
        if key in self._gone or key not in self._under:
            return default
        value = deepcopy(self._under[key], self._memo)
        super().__setitem__(key, value)
        return value

    def __getitem__(self, key: K) -> V:
        value: V = self.get(key, _NOTHING)
        if value is _NOTHING:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (key in self._under and key not in self._gone)

    def __setitem__(self, key: K, value: V) -> None:
        self._gone.discard(key)
        super().__setitem__(key, value)

    def __delitem__(self, key: K) -> None:
        if self.pop(key, _NOTHING) is _NOTHING:
            raise KeyError(key)

    def pop(self, key: K, default: Any = None) -> Any:
        value = self.get(key, default)
        super().pop(key, None)
        if key in self._under:
            self._gone.add(key)
        return value

    def setdefault(self, key: K, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def __len__(self) -> int:
        new = sum(key not in self._under for key in super().keys())
        return len(self._under) - len(self._gone) + new

    def __bool__(self) -> bool:
        return len(self) > 0

    def __iter__(self) -> Iterator[K]:
        yield from [key for key in self._under if key not in self._gone]
        yield from [key for key in super().keys() if key not in self._under]

    def __reversed__(self) -> Iterator[K]:
        return reversed(list(self))

    def values(self) -> Any:
        return [self[key] for key in self]

    def items(self) -> Any:
        return [(key, self[key]) for key in self]

    def changes(self) -> list[tuple[K, V | None, V | None]]:
        """(key, before, after) of what was written or deleted here; None = not there."""
        written = [(key, self._under.get(key), value) for key, value in super().items()]
        deleted = [(key, self._under[key], None) for key in self._gone if not super(Overlay, self).__contains__(key)]
        return [each for each in (*written, *deleted) if each[1] != each[2]]


class PinChange(NamedTuple):
    """One pin that was put (or dropped, `kind` 0)."""

    key: int
    kind: int
    serial: int
    until: float


class ShadowPins(PinTable):
    """The pin table, read and never written: not even what has expired is freed."""

    def __init__(self, real: PinTable) -> None:
        self._real = real
        self._put: dict[int, PinChange] = {}
        self._new_names: list[str] = []
        self.refused, self.names_refused, self.promised = real.refused, real.names_refused, real.promised
        self.loaded, self.why_empty = real.loaded, real.why_empty

    @property
    def changes(self) -> list[PinChange]:
        """In the order of the first change of each."""
        return list(self._put.values())

    def get(self, key: int, now: float) -> int:
        own = self._put.get(key)
        if own is not None:
            return own.serial if own.kind and own.until > now else -1
        return self._real.get(key, now) if self._real.life(key, now) > 0.0 else -1

    def life(self, key: int, now: float) -> float:
        own = self._put.get(key)
        return self._real.life(key, now) if own is None else max(0.0, own.until - now)

    def put(self, key: int, server: int, kind: int, until: float) -> bool:
        if server < 0:
            return False
        self._put[key] = PinChange(key, kind, server, until)
        return True

    def drop(self, key: int) -> bool:
        own = self._put.get(key)
        held = bool(own.kind) if own is not None else self._real.life(key, 0.0) > 0.0
        if held:
            self._put[key] = PinChange(key, 0, -1, 0.0)
        return held

    def sweep(self, now: float, slots: int) -> None:
        return

    def count(self, kind: int, server: int) -> int:
        return self._real.count(kind, server) if server < _MAX_SERVERS else 0

    def total(self, kind: int) -> int:
        return self._real.total(kind)

    def server_id(self, name: str) -> int:
        for number in range(_MAX_SERVERS):
            known = self._real.server_name(number)
            if known == name:
                return number
            if not known:
                break
        if name not in self._new_names:
            self._new_names.append(name)
        return _MAX_SERVERS + self._new_names.index(name)

    def server_name(self, id: int) -> str:
        return self._real.server_name(id) if id < _MAX_SERVERS else self._new_names[id - _MAX_SERVERS]


class ShadowEnded(Ended):
    """What has ended, read and never written."""

    def __init__(self, real: Ended) -> None:
        super().__init__()
        self._real = real
        self._gone: set[bytes] = set()

    def put(self, key: bytes, number: int, now: float) -> None:
        super().put(key, number, now)
        self._gone.discard(key)

    def get(self, key: bytes, now: float) -> int | None:
        own = super().get(key, now)
        return self._real.get(key, now) if own is None and key not in self._gone else own

    def drop(self, key: bytes) -> None:
        super().drop(key)
        self._gone.add(key)


class ShadowRefreshes(Refreshes):
    """The times of Contacts, read and never written: what is written stands in the shadow's records."""

    def __init__(self, real: Refreshes) -> None:
        self._real = real
        self._gone: set[tuple[int, bytes, bytes, int]] = set()

    def renew(self, key: int, uri: bytes, client: bytes, serial: int, expires: float, told: float) -> bool:
        return False

    def times(self, key: int, uri: bytes, client: bytes, serial: int) -> tuple[int, int] | None:
        return None if (key, uri, client, serial) in self._gone else self._real.times(key, uri, client, serial)

    def put(self, key: int, uri: bytes, client: bytes, serial: int, expires: float, told: float) -> None:
        self._gone.add((key, uri, client, serial))

    def drop(self, key: int, uri: bytes, client: bytes, serial: int) -> None:
        self._gone.add((key, uri, client, serial))


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
    tables: tuple[dict[Any, Any], ...] = (transactions.pending, transactions.held, state.dialogs.held, repeats._sayings)
    for table in tables:
        memo[id(table)] = Overlay(table, memo)
    for owner in (state, state.acks, transactions):
        for value in vars(owner).values():
            if isinstance(value, RecentPins):
                memo[id(value)] = _recent(value, memo)
    for bindings in state.bindings.values():
        memo[id(bindings)] = _bindings(bindings, memo)
    return deepcopy(state, memo)


def _caches(state: State) -> Iterator[SmallCache[Any, Any]]:
    """Of the services: what they hold is the same when it is read anew."""
    for service in state.services.values():
        yield from (service.names, service.routes, service.ways_back)


def _recent(real: RecentPins[V], memo: Memo) -> RecentPins[V]:
    made = copy(real)
    made._shards = []
    for shard in real._shards:
        twin = copy(shard)
        twin.young, twin.old = Overlay(shard.young, memo), Overlay(shard.old, memo)
        made._shards.append(twin)
    return made


def _bindings(real: Bindings, memo: Memo) -> Bindings:
    made = copy(real)
    made._aors = tuple(Overlay(shard, memo) for shard in real._aors)
    made._index = tuple(Overlay(shard, memo) for shard in real._index)
    made._refreshes = ShadowRefreshes(real._refreshes)
    made._changed, made._telling, made._sweeping = {}, [], []
    return made


def recent_changes(table: RecentPins[V]) -> list[tuple[bytes | int, V | None, V | None]]:
    """(key, before, after) of a shadow's table of recent choices."""
    return [change for shard in table._shards for change in _shard_changes(shard.young, shard.old)]


def _shard_changes(
    young: dict[bytes | int, V], old: dict[bytes | int, V]
) -> list[tuple[bytes | int, V | None, V | None]]:
    """A shard that has turned under our hands has a plain dict for young: all in it is new."""
    written = young.changes() if isinstance(young, Overlay) else [(key, None, value) for key, value in young.items()]
    dropped = old.changes() if isinstance(old, Overlay) else []
    return [*written, *(change for change in dropped if change[2] is None and change[0] not in young)]


def binding_changes(table: Bindings) -> list[tuple[int, bytes | None, bytes | None]]:
    """(AoR key, records of its Contacts before, after) of a shadow's bindings; see bindings.read_bounds."""
    return [change for shard in table._aors if isinstance(shard, Overlay) for change in shard.changes()]
