"""Pins: the remembered choices. Fixed memory, no pauses, no clock of its own.

Here lives the table of confirmed pins (`PinTable`); `recent.py` holds the small one for unconfirmed choices
(`RecentPins`, also importable from here), `server_names.py` the identities in the header of this one. Never here: what
a key means, who is chosen, files, sockets.

Operations: get (each request), put (each confirmed call or registration), drop, sweep (the shell, often),
counts (schedulers and the scrape), server identities (start and reload).

Goals: a restart keeps every pin; memory is known from the start; nothing ever grows, rehashes or stops the loop;
several workers may share the memory, each slot with one writer at a time, and no reader sees half a write.

Plan: a header, then buckets of eight 16-byte slots, 128 bytes (two cache lines) each::

    header   128 bytes: magic, version, slots, key check, birth, mark (epoch); 4096 x 64 bytes: length, "addr:port"
    bucket   8 x tag (u32)   upper half of the key; 0 = free (a key whose upper half is 0 takes 1)
             8 x mark (u32)  26 low bits of the key | 6 bits generation
             8 x word (u64)  expiry 32 | kind 4 | server 12 | key bits 24..33 | 6 bits generation

Tags of a bucket lie together so that one slice and one `in` look at all eight. Tag, mark and word hold the whole key
between them (bit 32 in the word tells upper half 0 from 1). A key has two buckets and goes to the emptier one:
nothing is refused at the fill `size_for` promises. A free slot's word keeps its generation.

No torn reads: a new pin writes word, mark, tag in this order under the next generation; a reader reads tag, mark,
word and believes them only when the generations agree. Renewal writes the word alone (one aligned 8-byte store).
A freed slot loses its tag first. A slot left half-written is nobody's until its expiry, then it is used again.

Counts are kept by each change and counted afresh by every full round of `sweep`, so what a crash changed is put right
within one round. A pin that has expired is counted until a get or the sweep meets it.
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from collections.abc import Mapping
from enum import IntEnum
from math import ceil
from typing import TYPE_CHECKING, Final

from sipbalancer.director.pin_memory import (
    BORN,
    BORN_AT,
    HEAD,
    HEAD_SIZE,
    HEADER_SIZE,
    MAGIC,
    SLOT_SIZE,
    VERSION,
    WAYS,
    clear,
    judge,
    slots_in,
)
from sipbalancer.director.recent import RecentPins
from sipbalancer.director.server_names import ServerNames

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["PinKind", "PinTable", "RecentPins"]

_eight = struct.Struct("8I").unpack_from
"""The tags of a bucket at a byte offset, in one call: 60 ns, where slice and tolist() take 100 and eight reads 300."""
_Tags = tuple[int, ...]
_FILL = 0.5
"""Promised load. Measured at 262,144 slots: filling refuses nothing before 0.70; 600,000 rounds of drop and put refuse
none at 0.5, 5 at 0.6, 80 at 0.65."""
_CHUNK = 256
"""Buckets looked at in one go by the sweep: bounds its temporary lists."""

_LOW = 0x3FFFFFF
_CHECK = 0xFFC0
_GENERATION: Final = 63
_LAST_SECOND = 0xFFFFFFFF


class PinKind(IntEnum):
    """What a pin stands for; 0 is a free slot."""

    CALL = 1
    BINDING = 2
    ENDED = 3
    """A call that is over but still pinned (32 s) for late copies: no call any more, so not in count(CALL)."""
    PERSISTENT = 4
    """A choice kept for `persistent` seconds by another key than the AoR: counts as no registration."""
    TIMED = 5
    """A call with a session timer (RFC 4028): refreshed by its ends, or gone soon."""


class PinTable:
    """64-bit key -> server id until an expiry, in memory given from outside. Times are seconds since the epoch."""

    _step = 1  # of a slot's next generation; see `shared_pins`
    _turns = _GENERATION
    _writer = 0

    def __init__(self, buffer: WriteableBuffer, key_check: bytes, now: float) -> None:
        """Open the pins in `buffer`, or start empty there (`loaded`, `why_empty`).

        `key_check`: 8 bytes derived from the secret the keys are made with. A loaded table is scanned once
        (0.2 s for 2M slots). Raises ValueError for a buffer that is too small and a key check of another length.
        """
        memory = memoryview(buffer).cast("B")
        self._slots = slots_in(len(memory))
        if len(key_check) != 8:
            raise ValueError(f"key check of {len(key_check)} bytes, 8 needed")
        self.promised = int(self._slots * _FILL)
        """Live pins that find room for certain."""
        self.refused = 0
        self.names_refused = 0
        body = memory[HEADER_SIZE : HEADER_SIZE + self._slots * SLOT_SIZE]
        self._tags = body.cast("I")
        self._words = body.cast("Q")
        self._mask = self._slots // WAYS - 1
        self._counts = _zeros()
        self._seen = _zeros()
        self._cursor = 0
        self._now = now
        self._old_before: dict[int, int] = {}
        self._old_seen: Counter[int] | None = None
        self._old: Counter[int] | None = None
        self.loaded, self.why_empty = judge(memory, self._slots, key_check)
        if not self.loaded:
            clear(memory)
            HEAD.pack_into(memory, 0, MAGIC, VERSION, self._slots, key_check)
        self.born: float = BORN.unpack_from(memory, BORN_AT)[0] or now
        """When the table began empty: of what was agreed before, it knows only what was renewed since."""
        BORN.pack_into(memory, BORN_AT, self.born)
        self._names = ServerNames(memory[HEAD_SIZE:HEADER_SIZE])
        if self.loaded:
            self.sweep(now, self._slots)

    @staticmethod
    def size_for(entries: int) -> int:
        """Bytes of buffer in which `entries` live pins find room with none refused (header included)."""
        slots = 2 * WAYS
        while slots * _FILL < entries:
            slots *= 2
        return HEADER_SIZE + slots * SLOT_SIZE

    def close(self) -> None:
        """Let go of the buffer (an mmap cannot be closed before). The table cannot be used afterwards."""
        self._tags.release()
        self._words.release()
        self._names.close()

    # Pins.

    def get(self, key: int, now: float) -> int:
        """The server id pinned to `key`, -1 when there is none or it has expired."""
        # Written out rather than built on _find: one call instead of three, on the path of every request.
        tags = self._tags
        tag = key >> 32 or 1
        base = (key & self._mask) << 5
        bucket = _eight(tags, base << 2)
        if tag not in bucket:
            base ^= (tag & self._mask | 1) << 5
            bucket = _eight(tags, base << 2)
            if tag not in bucket:
                return -1
        way = bucket.index(tag)
        mark = tags[base + way + 8]
        word = self._words[(base >> 1) + 8 + way]
        if mark >> 6 != key & _LOW or word & 0xFFFF != key >> 18 & _CHECK | mark & _GENERATION:
            at, word = self._find_twin(key)
            way = at - base
        if word >> 32 > now:
            return word >> 16 & 0xFFF
        self._free(base + way, word)
        return -1

    def life(self, key: int, now: float) -> float:
        """Seconds until the pin of `key` expires, 0.0 when there is none."""
        return max(0.0, (self._find(key)[1] >> 32) - now)

    def put(self, key: int, server: int, kind: int, until: float) -> bool:
        """Pin `key` to `server` until `until` (rounded up to a whole second), or change the pin it has.

        False, and one more `refused`, when both buckets are full of live pins or the server has no identity (-1).
        """  # Written out as far as a renewal goes, which is what most puts are.
        if server < 0:
            self.refused += 1
            return False
        if not 0.0 < until < _LAST_SECOND:
            until = _LAST_SECOND if until > 0.0 else 0.0
        value = ceil(until) << 32 | kind << 28 | server << 16
        tags = self._tags
        tag = key >> 32 or 1
        one = (key & self._mask) << 5
        two = one ^ (tag & self._mask | 1) << 5
        first = _eight(tags, one << 2)
        if tag in first:
            at = one + first.index(tag)
        else:
            second = _eight(tags, two << 2)
            if tag not in second:
                return self._insert(key, value, one, first, two, second)
            at = two + second.index(tag)
        words = self._words
        spot = (at >> 5 << 4) + 8 + (at & 7)
        mark = tags[at + 8]
        old = words[spot]
        if mark >> 6 != key & _LOW or old & 0xFFFF != key >> 18 & _CHECK | mark & _GENERATION:
            at, old = self._find_twin(key)
            if at < 0:
                return self._insert(key, value, one, first, two, _eight(tags, two << 2))
            spot = _word_at(at)
        words[spot] = value | old & 0xFFFF
        if (old ^ value) & 0xFFFF0000:
            self._count(at, old, -1)
            self._count(at, value, 1)
        return True

    def drop(self, key: int) -> bool:
        """Forget the pin of `key`; whether there was one."""
        at, word = self._find(key)
        self._free(at, word)
        return at >= 0

    def sweep(self, now: float, slots: int) -> None:
        """Look at the next `slots` slots (in steps of a bucket, at least one; 0.1 us each): free the expired, count
        the others. At the end of each full round the counts become what the round has counted."""
        self._now = now
        left = max(1, slots // WAYS)
        while left > 0:
            first = self._cursor >> 5
            buckets = min(left, _CHUNK, self._mask + 1 - first)
            self._look(first, buckets, (int(now) + 1) << 32)
            self._cursor += buckets << 5
            left -= buckets
            if first + buckets > self._mask:
                self._turn()
                self._old, self._old_seen = self._old_seen, Counter() if self._old_before else None

    # Counts.

    def count(self, kind: int, server: int) -> int:
        """Pins of that kind on that server."""
        return self._counts[kind << 12 | server] if server >= 0 else 0

    def total(self, kind: int) -> int:
        """Pins of that kind (about 30 us: for the scrape and the status, not for each request)."""
        return sum(self._counts[kind << 12 : (kind + 1) << 12])

    def watch_old(self, before: Mapping[int, float]) -> None:
        """Count CALL pins that expire before a time, per server id, with every round of `sweep` (30 ns a slot more)."""
        self._old_before = {PinKind.CALL << 12 | server: int(time) << 32 for server, time in before.items()}

    def old(self, server: int) -> int | None:
        """What the last whole round counted; None before it."""
        return None if self._old is None else self._old[PinKind.CALL << 12 | server]

    # Identities of servers.

    def server_id(self, name: str) -> int:
        """The small integer (0..4095) that stands for the server "addr:port", the same after a restart.

        -1, and one more `names_refused`, when all are taken. An identity is given to another name only when the
        table is full, no pin carries it and nobody has asked for it since the table was opened.
        """
        number = self._names.number(name, self._carried)
        self.names_refused += number < 0
        return number

    def server_name(self, id: int) -> str:
        """The server that `id` stands for, "" when it stands for none."""
        return self._names.name(id)

    def _carried(self, number: int) -> bool:
        return any(self.count(kind, number) for kind in PinKind)

    # Below: the parts.

    def _find(self, key: int) -> tuple[int, int]:
        """Where the tag of the slot that holds `key` is, and its word; (-1, 0) when none does."""
        tags = self._tags
        tag = key >> 32 or 1
        base = (key & self._mask) << 5
        bucket = _eight(tags, base << 2)
        if tag not in bucket:
            base ^= (tag & self._mask | 1) << 5
            bucket = _eight(tags, base << 2)
            if tag not in bucket:
                return -1, 0
        at = base + bucket.index(tag)
        word = self._word_of(at, key)
        return (at, word) if word else self._find_twin(key)

    def _find_twin(self, key: int) -> tuple[int, int]:
        """As `_find`, when the first slot with that tag was another key's, or was being written."""
        tag = key >> 32 or 1
        one = (key & self._mask) << 5
        two = one ^ (tag & self._mask | 1) << 5
        slots = (*range(one, one + 8), *range(two, two + 8))
        found = ((at, self._word_of(at, key)) for at in slots if self._tags[at] == tag)
        return next((each for each in found if each[1]), (-1, 0))

    def _word_of(self, at: int, key: int) -> int:
        """The word of a slot that holds `key`, 0 of one that does not. It is read once: a second may be another's."""
        mark = self._tags[at + 8]
        word = self._words[(at >> 5 << 4) + 8 + (at & 7)]
        holds = mark >> 6 == key & _LOW and word & 0xFFFF == key >> 18 & _CHECK | mark & _GENERATION
        return word if holds else 0

    def _insert(self, key: int, value: int, one: int, first: _Tags, two: int, second: _Tags) -> bool:
        """Take a slot of the emptier of the buckets `one` and `two`, or one whose pin has expired."""
        tags, words = self._tags, self._words
        room, other_room = first.count(0), second.count(0)
        if room or other_room:  # as it was seen: another process may have taken the slot since, and one pin is lost
            at = one + first.index(0) if room >= other_room else two + second.index(0)
        else:
            at = self._expired_among(one, two)
            if at < 0:
                self.refused += 1
                return False
        spot = (at >> 5 << 4) + 8 + (at & 7)
        old = words[spot]
        generation = old + self._step & self._turns | self._writer
        words[spot] = value | key >> 18 & _CHECK | generation
        tags[at + 8] = (key & _LOW) << 6 | generation
        tags[at] = key >> 32 or 1
        self._count(at, value, 1)
        if old > _GENERATION:
            self._count(at, old, -1)
        return True

    def _free(self, at: int, word: int) -> None:
        if word > _GENERATION:
            self._tags[at] = 0
            self._words[_word_at(at)] = word & _GENERATION
            self._count(at, word, -1)

    def _expired_among(self, one: int, two: int) -> int:
        """A slot of these two full buckets whose pin has expired (by the clock of the last sweep), or -1."""
        limit = (int(self._now) + 1) << 32
        for base in (one, two):
            for at in range(base, base + 8):
                if self._words[_word_at(at)] < limit:
                    return at
        return -1

    def _turn(self) -> None:
        self._counts, self._seen, self._cursor = self._seen, _zeros(), 0

    def _count(self, at: int, word: int, step: int) -> None:
        tally = word >> 16 & 0xFFFF
        self._counts[tally] += step
        if at < self._cursor:
            self._seen[tally] += step

    def _look(self, first: int, buckets: int, limit: int) -> None:
        seen = self._seen
        start, stop = first * 16 + 8, (first + buckets) * 16
        for way in range(WAYS):
            column = self._words[start + way : stop : 16].tolist()
            for number in [n for n, word in enumerate(column) if _GENERATION < word < limit]:
                self._free((first + number << 5) + way, column[number])
            for tally, pins in Counter([word >> 16 & 0xFFFF for word in column if word >= limit]).items():
                seen[tally] += pins
            if self._old_seen is not None:
                old = self._old_before.get
                self._old_seen.update([t for word in column if limit <= word < old(t := word >> 16 & 0xFFFF, 0)])


def _zeros() -> array[int]:
    """A count for every kind (4 bits) and server (12 bits) a word can hold, so that no content of a file can raise."""
    return array("q", bytes(8 << 16))


def _word_at(at: int) -> int:
    """Index of the word of the slot whose tag is at `at`."""
    return (at >> 5 << 4) + 8 + (at & 7)
