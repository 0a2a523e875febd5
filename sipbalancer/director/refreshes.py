"""The usual refresh at the price of one look: who bound exactly this before, and until when it lives.

Nearly every REGISTER asks for what is bound already, the same Contact from the same address at the same server. To read
that Contact's record, write it anew and find it in its dict touches six places of memory that nobody has used for an
hour; here it is one. So the times of a Contact that is an AoR's only one stand here, and its record is behind them
until the sweep meets it. What has no place here (`put` does not say so) lives by its record alone.

Operations: renew (each 2xx to a refresh), put, drop, times. Memory is known from the start.
Plan: buckets of eight marks of 8 bytes, then eight pairs of expiry and expiry told to the state folder, in seconds, 4
bytes each: 128 bytes. A mark is Python's own keyed hash of all that must be the same, the AoR's key among it.
"""

from __future__ import annotations

from math import ceil
from struct import Struct

from sipbalancer.compiled import mypyc_attr

_WAYS = 8
_MARK = Struct("<q")
_TIMES = Struct("<II")
_SECONDS = Struct("<I")
_MARKS = _WAYS * _MARK.size
_BUCKET = 2 * _MARKS
_FILL = 6
"""Entries a bucket is meant for: one in forty finds no place then."""
_NONE = bytes(_MARK.size)
_LAST = 0xFFFFFFFF


def _mark(key: int, uri: bytes, client: bytes, serial: int) -> bytes:
    return _MARK.pack(hash((key, uri, client, serial)) or 1)


def _seconds(time: float) -> int:
    return min(max(0, ceil(time)), _LAST)


@mypyc_attr(allow_interpreted_subclasses=True)
class Refreshes:
    """Times are seconds with any zero before; an expiry is rounded up to a whole one."""

    def __init__(self, limit: int) -> None:
        self._memory = bytearray(self.size_for(limit))
        self._buckets = len(self._memory) // _BUCKET

    @staticmethod
    def size_for(limit: int) -> int:
        """Bytes of memory, taken at once."""
        return max(1, -(-limit // _FILL)) * _BUCKET

    def renew(self, key: int, uri: bytes, client: bytes, serial: int, expires: float, told: float) -> bool:
        """It lives until `expires`. False, and nothing changed, for what is not here just so, and for what the state
        folder knows for less than until `told`."""
        # Written out rather than built on _place: nearly every REGISTER comes by.
        at = key % self._buckets * _BUCKET
        memory = self._memory
        found = memory.find(_MARK.pack(hash((key, uri, client, serial)) or 1), at, at + _MARKS)
        if found < 0 or found & 7 or _TIMES.unpack_from(memory, found + _MARKS)[1] < told:
            return False
        _SECONDS.pack_into(memory, found + _MARKS, min(ceil(expires), _LAST))
        return True

    def times(self, key: int, uri: bytes, client: bytes, serial: int) -> tuple[int, int] | None:
        """Its expiry and the one told to the state folder; None of what is not here."""
        at = self._place(key, _mark(key, uri, client, serial))
        if at < 0:
            return None
        expires, told = _TIMES.unpack_from(self._memory, at + _MARKS)
        return expires, told

    def put(self, key: int, uri: bytes, client: bytes, serial: int, expires: float, told: float) -> None:
        """It is the AoR's only Contact now; `told` as far as whole seconds say it."""
        mark = _mark(key, uri, client, serial)
        at = self._place(key, mark)
        if at < 0:
            at = self._place(key, _NONE)
            if at < 0:
                return
            self._memory[at : at + _MARK.size] = mark
        _TIMES.pack_into(self._memory, at + _MARKS, _seconds(expires), _seconds(told // 1.0))

    def drop(self, key: int, uri: bytes, client: bytes, serial: int) -> None:
        """It is not bound any more, or not alone."""
        at = self._place(key, _mark(key, uri, client, serial))
        if at >= 0:
            self._memory[at : at + _MARK.size] = _NONE

    def _place(self, key: int, mark: bytes) -> int:
        """Where the mark is, -1 where it is not; bytes may agree also across two."""
        start = key % self._buckets * _BUCKET
        at = self._memory.find(mark, start, start + _MARKS)
        while at >= 0 and at & 7:
            at = self._memory.find(mark, at + 1, start + _MARKS)
        return at
