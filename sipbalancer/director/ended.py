"""Transactions that have ended: which server each went to, for the 32 s in which copies of it may still come.

Every request asks here once and leaves an entry, so this is what grows with the rate of traffic and with nothing else.
It is therefore memory that is never given back and never taken beyond its bound: under a storm of requests the process
stays as large as it is, and what one request touches here is one short stretch of memory, not the six of two dicts.

Operations: put, get, drop. Goal: the cost of a dict, no growth, no sweep, no pause.
Plan: 2^16 buckets of 16 entries of 16 bytes: the key (12 bytes, whole) | second (12 bits), server's number (20 bits).
The newest stands first and pushes the others on; the sixteenth falls out, and is counted if its time was not over.
Python's own keyed hash of the key says which bucket, so nobody can aim at one. A key is found by a search of the
bucket's bytes.

`LIMIT` entries would live at 32,000 transactions per second, twice what one process can do; at 15,000 one in 200 is
forgotten early. Then a copy of it is taken for a first one, and goes to the server of its pin by the same branch.
"""

from __future__ import annotations

from struct import Struct

from sipbalancer.director.keys import TRANSACTION_KEY

LIFE = 32
"""Seconds, 64*T1. An entry is held that long, and up to one more."""

_WAYS = 16
_ENTRY = Struct(f"<{TRANSACTION_KEY}sI")
_SIZE = _ENTRY.size
_BUCKET = _WAYS * _SIZE
_PARTS = 64
"""Taken one by one when they are first needed: a small pool, and a test, takes little."""
_PART = 1024 * _BUCKET
LIMIT = _PARTS * _PART // _SIZE
_LATER = _SIZE
_BEFORE = _BUCKET - _SIZE
_SECONDS = 0xFFF
"""The second is kept so far: a copy that comes 4,096 s later meets the same answer for as long."""
_NUMBER = 20
_NUMBERS = (1 << _NUMBER) - 1


class Ended:
    """Transaction key (12 bytes) -> server number, below 2^20. Times are seconds with any zero."""

    def __init__(self) -> None:
        self.forgotten = 0
        """Entries that fell out before their time."""
        self._parts: list[bytearray | None] = [None] * _PARTS

    def put(self, key: bytes, number: int, now: float) -> None:
        """Remember, from now on."""
        place = hash(key)
        part = self._parts[place & _PARTS - 1]
        if part is None:
            part = self._parts[place & _PARTS - 1] = bytearray(_PART)
        at = (place >> 6 & 1023) * _BUCKET
        second = int(now) & _SECONDS
        last = at + _BEFORE
        if part[last] and second - (part[last + 15] << 4 | part[last + 14] >> 4) & _SECONDS <= LIFE:
            self.forgotten += 1
        part[at + _LATER : at + _BUCKET] = part[at:last]
        _ENTRY.pack_into(part, at, key, second << _NUMBER | number)

    def get(self, key: bytes, now: float) -> int | None:
        """The number that was put last, None when none was or its life is over."""
        place = hash(key)
        part = self._parts[place & _PARTS - 1]
        if part is None:
            return None
        at = (place >> 6 & 1023) * _BUCKET
        found = part.find(key, at, at + _BUCKET)
        return None if found < 0 else _read(part, found, at + _BUCKET, key, int(now) & _SECONDS)

    def drop(self, key: bytes) -> None:
        """Forget it."""
        place = hash(key)
        part = self._parts[place & _PARTS - 1]
        if part is None:
            return
        start = (place >> 6 & 1023) * _BUCKET
        for at in range(start, start + _BUCKET, _SIZE):
            if _ENTRY.unpack_from(part, at)[0] == key:
                part[at : at + _SIZE] = bytes(_SIZE)


def _read(part: bytearray, found: int, end: int, key: bytes, second: int) -> int | None:
    """The number of the entry at or after `found` whose key this is; bytes may agree also across two entries."""
    while found >= 0:
        at = found - found % _SIZE
        held, word = _ENTRY.unpack_from(part, at)
        if held == key:
            return word & _NUMBERS if second - (word >> _NUMBER) & _SECONDS <= LIFE else None
        found = part.find(key, at + _SIZE, end)
    return None
