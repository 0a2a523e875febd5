"""The pins, the refreshes and the memory of what has ended, as a shadow of the state has them: never written."""

from __future__ import annotations

from typing import NamedTuple

from sipbalancer.director.ended import Ended
from sipbalancer.director.pins import PinTable
from sipbalancer.director.refreshes import Refreshes

_MAX_SERVERS = 4096


class PinChange(NamedTuple):
    """One pin that was put (or dropped, `kind` 0)."""

    key: int
    kind: int
    serial: int
    until: float


class ShadowPins(PinTable):
    """The pin table, read and never written: not even what has expired is freed."""

    def __init__(self, real: PinTable) -> None:
        self._under = real
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
        return self._under.get(key, now) if self._under.life(key, now) > 0.0 else -1

    def life(self, key: int, now: float) -> float:
        own = self._put.get(key)
        return self._under.life(key, now) if own is None else max(0.0, own.until - now)

    def put(self, key: int, server: int, kind: int, until: float) -> bool:
        if server < 0:
            return False
        self._put[key] = PinChange(key, kind, server, until)
        return True

    def drop(self, key: int) -> bool:
        own = self._put.get(key)
        held = bool(own.kind) if own is not None else self._under.life(key, 0.0) > 0.0
        if held:
            self._put[key] = PinChange(key, 0, -1, 0.0)
        return held

    def sweep(self, now: float, slots: int) -> None:
        return

    def count(self, kind: int, server: int) -> int:
        return self._under.count(kind, server) if server < _MAX_SERVERS else 0

    def total(self, kind: int) -> int:
        return self._under.total(kind)

    def server_id(self, name: str) -> int:
        for number in range(_MAX_SERVERS):
            known = self._under.server_name(number)
            if known == name:
                return number
            if not known:
                break
        if name not in self._new_names:
            self._new_names.append(name)
        return _MAX_SERVERS + self._new_names.index(name)

    def server_name(self, id: int) -> str:
        return self._under.server_name(id) if id < _MAX_SERVERS else self._new_names[id - _MAX_SERVERS]


class ShadowEnded(Ended):
    """What has ended, read and never written."""

    def __init__(self, real: Ended) -> None:
        super().__init__()
        self._under = real
        self._gone: set[bytes] = set()

    def put(self, key: bytes, number: int, now: float) -> None:
        super().put(key, number, now)
        self._gone.discard(key)

    def get(self, key: bytes, now: float) -> int | None:
        own = super().get(key, now)
        return self._under.get(key, now) if own is None and key not in self._gone else own

    def drop(self, key: bytes) -> None:
        super().drop(key)
        self._gone.add(key)


class ShadowRefreshes(Refreshes):
    """The times of Contacts, read and never written: what is written stands in the shadow's records."""

    def __init__(self, real: Refreshes) -> None:
        self._under = real
        self._gone: set[tuple[int, bytes, bytes, int]] = set()

    def renew(self, key: int, uri: bytes, client: bytes, serial: int, expires: float, told: float) -> bool:
        return False

    def times(self, key: int, uri: bytes, client: bytes, serial: int) -> tuple[int, int] | None:
        return None if (key, uri, client, serial) in self._gone else self._under.times(key, uri, client, serial)

    def put(self, key: int, uri: bytes, client: bytes, serial: int, expires: float, told: float) -> None:
        self._gone.add((key, uri, client, serial))

    def drop(self, key: int, uri: bytes, client: bytes, serial: int) -> None:
        self._gone.add((key, uri, client, serial))
