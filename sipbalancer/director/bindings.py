"""Contacts apart from the pins: which client flow each registered Contact was seen on.

Needed only where a server drops the Path (a Dial by contacts, MessageSend, `support_path = no`), for anonymous callers
known by their flow, and for `where`. Off the hot path but for one write per REGISTER's 2xx.

Operations: learn (each 2xx to REGISTER), find by Contact, by Contact user, by AoR, by client address, expire (bounded).
Goals: two phones on one AoR are two bindings; no dict grows above 64k entries; expiry without pauses.
Plan: AoR key -> tuple of bound Contacts, and one index of 64-bit hashes (Contact, Contact user, client address) -> AoR
key; both in shards. An index entry may be stale: what it leads to is always compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from sipbalancer.sip.contacts import identity

_SHARDS = 64


STORED_LIVES = 4.0
"""The state folder is told of a life this much longer, and of a refresh only when less than one life is left of that:
after a crash a Contact may look alive too long, and in exchange most refreshes write nothing."""


class Bound:
    """One Contact with the flow it was registered from. A refresh changes `expires` in place."""

    __slots__ = ("aor", "client", "expires", "identity", "serial", "stored", "uri")

    def __init__(self, uri: bytes, identity: bytes, client: bytes, expires: float, aor: bytes, serial: int) -> None:
        self.uri = uri
        self.identity = identity
        self.client = client
        """Packed address."""
        self.expires = expires
        self.aor = aor
        self.serial = serial
        """Of the server that answered 2xx, as pins name it."""
        self.stored = 0.0
        """The expiry the state folder was told."""


class BindingRow(NamedTuple):
    """A Bound as the state folder keeps it; `expires` 0.0 = forget it."""

    virtual: str
    aor: str
    contact: str
    client: bytes
    server: str
    expires: float


class Bindings:
    """The bound Contacts of one virtual service. `hashed` is the keyed 64-bit hash of the secret."""

    def __init__(self, virtual: str, hashed: Callable[[bytes], int], limit: int) -> None:
        self.virtual = virtual
        self.refused = 0
        self._hashed = hashed
        self._limit = limit
        self._held = 0
        self._aors: tuple[dict[int, tuple[Bound, ...]], ...] = tuple({} for _ in range(_SHARDS))
        self._index: tuple[dict[int, int], ...] = tuple({} for _ in range(_SHARDS))
        self._changed: dict[tuple[bytes, bytes], Bound] = {}
        self._sweeping: list[int] = []
        self._shard = 0

    # Finding.

    def holds(self, key: int) -> bool:
        """Whether anything, living or not yet swept, is bound to the AoR."""
        return key in self._aors[key % _SHARDS]

    def of_aor(self, key: int, now: float) -> tuple[Bound, ...]:
        """The living bindings of an AoR, newest last."""
        return tuple(bound for bound in self._aors[key % _SHARDS].get(key, ()) if bound.expires > now)

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
        hashed = self._hashed(text)
        key = self._index[hashed % _SHARDS].get(hashed)
        if key is None:
            return None
        return next((bound for bound in reversed(self.of_aor(key, now)) if fits(bound)), None)

    # Learning.

    def renew(self, key: int, uri: bytes, client: bytes, serial: int, now: float, life: float) -> bool:
        """The usual refresh: the AoR's only Contact, the same in every way, lives `life` seconds more. Else False."""
        held = self._aors[key % _SHARDS].get(key)
        if held is None or len(held) != 1:
            return False
        bound = held[0]
        if bound.uri != uri or bound.client != client or bound.serial != serial:
            return False
        bound.expires = now + life
        if bound.stored < now + 2 * life:
            self._note(bound, now + STORED_LIVES * life)
        return True

    def learn(self, key: int, aor: bytes, uri: bytes, client: bytes, serial: int, now: float, life: float) -> None:
        """A 2xx granted this Contact of the AoR for `life` seconds to the phone at `client`."""
        which = identity(uri)
        held = self._aors[key % _SHARDS].get(key, ())
        others = tuple(bound for bound in held if bound.identity != which)
        if len(others) == len(held) and self._held >= self._limit:
            self.refused += 1
            return
        bound = Bound(uri, which, client, now + life, aor, serial)
        self._store(key, held, (*others, bound))
        for old in held:
            if old.identity == which and old.client != client:
                self._unindex(old, key)
        self._note(bound, now + STORED_LIVES * life)
        for text in (b"c" + which, b"u" + which.partition(b"@")[0], b"f" + client):
            hashed = self._hashed(text)
            self._index[hashed % _SHARDS][hashed] = key

    def forget(self, key: int, keep: Callable[[Bound], bool]) -> None:
        """Drop the bindings of an AoR that `keep` does not want."""
        held = self._aors[key % _SHARDS].get(key, ())
        kept = tuple(bound for bound in held if keep(bound))
        if len(kept) == len(held):
            return
        self._store(key, held, kept)
        for bound in held:
            if bound not in kept:
                self._unindex(bound, key)
                self._note(bound, 0.0)

    def _store(self, key: int, held: tuple[Bound, ...], now_held: tuple[Bound, ...]) -> None:
        shard = self._aors[key % _SHARDS]
        self._held += len(now_held) - len(held)
        if now_held:
            shard[key] = now_held
        else:
            shard.pop(key, None)

    def _unindex(self, bound: Bound, key: int) -> None:
        user = bound.identity.partition(b"@")[0]
        for text in (b"c" + bound.identity, b"u" + user, b"f" + bound.client):
            hashed = self._hashed(text)
            if self._index[hashed % _SHARDS].get(hashed) == key:
                del self._index[hashed % _SHARDS][hashed]
        for other in self._aors[key % _SHARDS].get(key, ()):
            for text in (b"u" + other.identity.partition(b"@")[0], b"f" + other.client):
                hashed = self._hashed(text)
                self._index[hashed % _SHARDS].setdefault(hashed, key)

    def sweep(self, now: float, steps: int) -> None:
        """Look at the next `steps` AoRs and let go of what has expired."""
        if not self._sweeping:
            self._shard = (self._shard + 1) % _SHARDS
            self._sweeping = list(self._aors[self._shard])
        for _ in range(min(steps, len(self._sweeping))):
            self.forget(self._sweeping.pop(), lambda bound: bound.expires > now)

    # Keeping.

    def _note(self, bound: Bound, stored: float) -> None:
        bound.stored = stored
        if len(self._changed) < 65536:
            self._changed[bound.aor, bound.identity] = bound

    def changes(self, server_name: Callable[[int], str]) -> Iterator[BindingRow]:
        """What changed since the last call, for the state folder."""
        changed, self._changed = self._changed, {}
        for bound in changed.values():
            yield BindingRow(
                self.virtual,
                bound.aor.decode("utf-8", "surrogateescape"),
                bound.uri.decode("utf-8", "surrogateescape"),
                bound.client,
                server_name(bound.serial),
                bound.stored,
            )

    def load(self, row: BindingRow, key: int, serial: int, now: float) -> None:
        """Take one row of the state folder back."""
        aor = row.aor.encode("utf-8", "surrogateescape")
        self.learn(key, aor, row.contact.encode("utf-8", "surrogateescape"), row.client, serial, now, row.expires - now)
        self._changed.clear()
