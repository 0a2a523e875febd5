"""Contacts apart from the pins: which client flow each registered Contact was seen on.

Needed only where a server drops the Path (a Dial by contacts, MessageSend, `support_path = no`), for anonymous callers
known by their flow, and for `where`. Off the hot path but for one write per REGISTER's 2xx.

Operations: learn (each 2xx to REGISTER), find by Contact, by Contact user, by AoR, by client address, expire (bounded).
Goals: two phones on one AoR are two bindings; no dict grows above 64k entries; expiry without pauses; a million of them
are nothing that the garbage collector walks over.
Plan: AoR key -> the records of its Contacts in one bytes value, and one index of 60-bit hashes (Contact, Contact user,
client address) -> AoR key; both in shards. An index entry may be stale: what it leads to is always compared. The times
of a Contact that is alone are those of `refreshes`, where they are; its record is as old as the last look of the sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from struct import Struct
from typing import NamedTuple

from sipbalancer.compiled import mypyc_attr
from sipbalancer.director.refreshes import Refreshes
from sipbalancer.sip.contacts import identity

_SHARD = 49152
"""Entries of a shard of the index where the limit is reached: its dict grows in steps of 3 ms."""
_LEAST_SHARDS = 64
_INDEXED = 3
"""Index entries of a binding."""
_KEY = (1 << 60) - 1
"""Of a hash in the index: an int above takes 48 bytes, one below 32."""

_HEAD = Struct("<ddiIII")
"""A record begins: expiry, expiry the state folder was told, serial, lengths of URI, client and AoR behind it."""

LONGEST = 1024
"""Octets of a Contact's URI. Phones write 40 to 250; a registered one could fill the memory with 20,000 each."""

UNTOLD = 65536
"""Changes that may wait for the state folder."""
STORED_LIVES = 4.0
"""The state folder is told of a life this much longer, and of a refresh only when less than one life is left of that:
after a crash a Contact may look alive too long, and in exchange most refreshes write nothing."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Bound:
    """One Contact with the flow it was registered from, read from its record."""

    __slots__ = ("_identity", "aor", "client", "expires", "serial", "stored", "uri")

    def __init__(
        self,
        uri: bytes,
        identity: bytes | None,
        client: bytes,
        expires: float,
        aor: bytes,
        serial: int,
        stored: float = 0.0,
    ) -> None:
        self.uri = uri
        self._identity = identity
        self.client = client
        """Packed address."""
        self.expires = expires
        self.aor = aor
        self.serial = serial
        """Of the server that answered 2xx, as pins name it."""
        self.stored = stored
        """The expiry the state folder was told."""

    @property
    def identity(self) -> bytes:
        """See `contacts.identity`; read from the URI when first asked for."""
        if self._identity is None:
            self._identity = identity(self.uri)
        return self._identity


def read_bounds(record: bytes | None) -> tuple[Bound, ...]:
    """The bound Contacts of one AoR, newest last, the expired among them; none of None."""
    found: list[Bound] = []
    at, end = 0, len(record or b"")
    while record is not None and at < end:
        expires, stored, serial, uri, client, aor = _HEAD.unpack_from(record, at)
        start = at + _HEAD.size
        past_uri, past_client = start + uri, start + uri + client
        at = past_client + aor
        found.append(
            Bound(
                record[start:past_uri],
                None,
                record[past_uri:past_client],
                expires,
                record[past_client:at],
                serial,
                stored,
            )
        )
    return tuple(found)


def _any_expired(record: bytes, now: float) -> bool:
    at = 0
    while at < len(record):
        expires, _, _, uri, client, aor = _HEAD.unpack_from(record, at)
        if expires <= now:
            return True
        at += _HEAD.size + uri + client + aor
    return False


def _record(bound: Bound) -> bytes:
    lengths = len(bound.uri), len(bound.client), len(bound.aor)
    head = _HEAD.pack(bound.expires, bound.stored, bound.serial, *lengths)
    return b"".join((head, bound.uri, bound.client, bound.aor))


class BindingRow(NamedTuple):
    """A Bound as the state folder keeps it; `expires` 0.0 = forget it."""

    virtual: str
    aor: str
    contact: str
    client: bytes
    server: str
    expires: float


@mypyc_attr(allow_interpreted_subclasses=True)
class Bindings:
    """The bound Contacts of one virtual service. `hashed` is the keyed 64-bit hash of the secret."""

    def __init__(self, virtual: str, hashed: Callable[[bytes], int], limit: int) -> None:
        self.virtual = virtual
        self.refused = 0
        self._hashed = hashed
        self._limit = limit
        self._held = 0
        self._shards = max(_LEAST_SHARDS, -(-_INDEXED * limit // _SHARD))
        self._aors: tuple[MutableMapping[int, bytes], ...] = tuple({} for _ in range(self._shards))
        self._index: tuple[MutableMapping[int, int], ...] = tuple({} for _ in range(self._shards))
        self._refreshes = Refreshes(limit)
        self._changed: dict[tuple[bytes, bytes], Bound] = {}
        self._telling: list[Bound] = []
        """What `changes` has begun to tell, the oldest last."""
        self._sweeping: list[int] = []
        self._shard = 0

    # Finding.

    def holds(self, key: int) -> bool:
        """Whether anything, living or not yet swept, is bound to the AoR."""
        return key in self._aors[key % self._shards]

    def of_aor(self, key: int, now: float) -> tuple[Bound, ...]:
        """The living bindings of an AoR, newest last."""
        return tuple(bound for bound in self._bound(key) if bound.expires > now)

    def _bound(self, key: int) -> tuple[Bound, ...]:
        held = read_bounds(self._aors[key % self._shards].get(key))
        if len(held) == 1:
            self._look_up(key, held[0])
        return held

    def _look_up(self, key: int, bound: Bound) -> None:
        """The times of an AoR's only Contact."""
        times = self._refreshes.times(key, bound.uri, bound.client, bound.serial)
        if times is not None:
            bound.expires = float(times[0])

    def by_contact(self, uri: bytes, now: float) -> Bound | None:
        """The binding whose Contact is this Request-URI: user, host, port, `line`."""
        wanted = identity(uri)
        return self._newest(b"c" + wanted, now, lambda bound: bound.identity == wanted)

    def by_contact_user(self, user: bytes, now: float, client: bytes = b"") -> Bound | None:
        """The newest binding whose Contact has this user (for a server that put our address into it); of `client`'s."""
        start = user + b"@"
        return self._newest(
            b"u" + user, now, lambda bound: bound.identity.startswith(start) and client in (b"", bound.client)
        )

    def by_client(self, client: bytes, now: float) -> Bound | None:
        """The newest binding registered from this packed client address."""
        return self._newest(b"f" + client, now, lambda bound: bound.client == client)

    def _newest(self, text: bytes, now: float, fits: Callable[[Bound], bool]) -> Bound | None:
        hashed = self._hashed(text) & _KEY
        key = self._index[hashed % self._shards].get(hashed)
        if key is None:
            return None
        return next((bound for bound in reversed(self.of_aor(key, now)) if fits(bound)), None)

    # Learning.

    def renew(self, key: int, uri: bytes, client: bytes, serial: int, now: float, life: float) -> bool:
        """The usual refresh: the AoR's only Contact, the same in every way, lives `life` seconds more. Else False."""
        expires, told = now + life, now + 2 * life
        if self._refreshes.renew(key, uri, client, serial, expires, told):
            return True
        held = self._bound(key)
        if len(held) != 1:
            return False
        (bound,) = held
        if bound.serial != serial or bound.uri != uri or bound.client != client:
            return False
        bound.expires = expires
        if bound.stored < told:
            self._note(bound, now + STORED_LIVES * life)
        self._aors[key % self._shards][key] = _record(bound)
        self._refreshes.put(key, uri, client, serial, expires, bound.stored)
        return True

    def learn(
        self, key: int, aor: bytes, uri: bytes, client: bytes, serial: int, now: float, life: float, told: float = 0.0
    ) -> bool:
        """A 2xx granted this Contact of the AoR for `life` seconds to the phone at `client`; `told`: the expiry
        that the state folder knows already.

        False, and one more `refused`, without room and for one longer than `LONGEST`.
        """
        if len(uri) > LONGEST:
            self.refused += 1
            return False
        which = identity(uri)
        held = self._bound(key)
        others = tuple(bound for bound in held if bound.identity != which)
        if len(others) == len(held) and self._held >= self._limit:
            self.refused += 1
            return False
        bound = Bound(uri, which, client, now + life, aor, serial, told)
        if not told:
            self._note(bound, now + STORED_LIVES * life)
        self._store(key, held, (*others, bound))
        for old in held:
            if old.identity == which and old.client != client:
                self._unindex(old, key)
        for hashed in self._hashes(bound):
            self._index[hashed % self._shards][hashed] = key
        return True

    def forget(self, key: int, keep: Callable[[Bound], bool]) -> None:
        """Drop the bindings of an AoR that `keep` does not want."""
        held = self._bound(key)
        kept = tuple(bound for bound in held if keep(bound))
        if len(kept) == len(held):
            return
        self._store(key, held, kept)
        for bound in held:
            if bound not in kept:
                self._unindex(bound, key)
                self._note(bound, 0.0)

    def _store(self, key: int, held: tuple[Bound, ...], now_held: tuple[Bound, ...]) -> None:
        shard = self._aors[key % self._shards]
        self._held += len(now_held) - len(held)
        for bound in held:
            self._refreshes.drop(key, bound.uri, bound.client, bound.serial)
        if len(now_held) == 1:
            (bound,) = now_held
            self._refreshes.put(key, bound.uri, bound.client, bound.serial, bound.expires, bound.stored)
        if now_held:
            shard[key] = b"".join(map(_record, now_held))
        else:
            shard.pop(key, None)

    def _hashes(self, bound: Bound) -> Iterator[int]:
        """What the index finds a binding by: Contact, Contact user, client address."""
        yield self._hashed(b"c" + bound.identity) & _KEY
        yield self._hashed(b"u" + bound.identity.partition(b"@")[0]) & _KEY
        yield self._hashed(b"f" + bound.client) & _KEY

    def _unindex(self, bound: Bound, key: int) -> None:
        for hashed in self._hashes(bound):
            if self._index[hashed % self._shards].get(hashed) == key:
                del self._index[hashed % self._shards][hashed]
        for other in self._bound(key):
            for hashed in self._hashes(other):
                self._index[hashed % self._shards].setdefault(hashed, key)

    def sweep(self, now: float, steps: int) -> None:
        """Look at the next `steps` AoRs and let go of what has expired."""
        if not self._sweeping:
            self._shard = (self._shard + 1) % self._shards
            self._sweeping = list(self._aors[self._shard])
        for _ in range(min(steps, len(self._sweeping))):
            key = self._sweeping.pop()
            if _any_expired(self._aors[self._shard].get(key, b""), now):
                self._bring_up(key)
                self.forget(key, lambda bound: bound.expires > now)

    def _bring_up(self, key: int) -> None:
        """A record says again what is known of its times, so that the sweep need not ask for a life more."""
        self._aors[key % self._shards][key] = b"".join(map(_record, self._bound(key)))

    # Keeping.

    def _note(self, bound: Bound, stored: float) -> None:
        """Without room nothing is noted: the next refresh tries again."""
        name = bound.aor, bound.identity
        if len(self._changed) < UNTOLD or name in self._changed:
            bound.stored = stored
            self._changed[name] = bound

    def changes(self, server_name: Callable[[int], str], limit: int) -> Iterator[BindingRow]:
        """What changed and was not told yet, for the state folder; so many rows at most (2 us each)."""
        if not self._telling:
            self._telling, self._changed = [*reversed(self._changed.values())], {}
        for _ in range(min(limit, len(self._telling))):
            bound = self._telling.pop()
            yield self._row(bound, bound.stored, server_name)

    def rows(self, server_name: Callable[[int], str]) -> Iterator[BindingRow]:
        """All of them, as `changes` gives them; what changes while they are handed out may be among them or not."""
        for shard in self._aors:
            for key in list(shard):
                for bound in self._bound(key):
                    yield self._row(bound, max(bound.stored, bound.expires), server_name)

    def _row(self, bound: Bound, expires: float, server_name: Callable[[int], str]) -> BindingRow:
        return BindingRow(
            self.virtual,
            bound.aor.decode("utf-8", "surrogateescape"),
            bound.uri.decode("utf-8", "surrogateescape"),
            bound.client,
            server_name(bound.serial),
            expires,
        )

    def take(self, row: BindingRow, key: int, serial: int, now: float) -> None:
        """A row of the state folder, or of another worker; `changes` does not give it back."""
        aor = row.aor.encode("utf-8", "surrogateescape")
        uri = row.contact.encode("utf-8", "surrogateescape")
        which = identity(uri)
        if row.expires > now:
            self.learn(key, aor, uri, row.client, serial, now, row.expires - now, row.expires)
        else:
            self.forget(key, lambda bound: bound.identity != which)
        self._changed.pop((aor, which), None)

    def restore(self, row: BindingRow, key: int, serial: int, now: float) -> None:
        """`take`, unless this Contact of the AoR is known already."""
        if self.holds(key):
            which = identity(row.contact.encode("utf-8", "surrogateescape"))
            if any(bound.identity == which for bound in self._bound(key)):
                return
        self.take(row, key, serial, now)
