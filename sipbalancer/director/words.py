"""What the control process says of each server to its workers: words in shared memory, with one generation.

A worker looks at the generation once per batch and reads the words only when that is another. While words are written
the generation is odd; a reader that meets that, or a generation that changed under its hands, tries again at its next
batch and goes on with what it knew.

A record is found by the server's serial, which is the same in all processes and over every reload (`server_names`).

    64 bytes: generation (i64); then 4096 records of 16 doubles, see `Word`; a record of zeros was never written
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntFlag
from typing import TYPE_CHECKING, NamedTuple

from sipbalancer.director.server_names import MAX_SERVERS

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_HEAD = 64
_WORD = struct.Struct("=16d")
_UNUSED = (0.0,) * 5

WORDS_SIZE = _HEAD + MAX_SERVERS * _WORD.size


class Flag(IntFlag):
    """Yes and no of one server."""

    WRITTEN = 1
    DRAINED = 2
    """By the operator."""
    MAINTENANCE = 4
    REFUSED = 8
    """Down because the port refuses."""
    WAS_UP = 16


class Word(NamedTuple):
    """All a worker must know of one server of one service. Times are the director's `now`."""

    flags: float
    verdict: float
    """Of its health: the place in `Verdict`."""
    health_since: float
    since: float
    recovered: float
    rtt: float
    """Seconds, where it makes a difference: 0.0 below a third of `SHORTEST_WAIT`."""
    suspected: float
    silent: float
    told: float
    """How many outcomes came of probes that a worker had asked for."""
    heard: float
    heard_new: float
    """The last answers to probes; alone they are no reason to write, so they stand last."""


class Words:
    """The memory, written by one process and read by others."""

    def __init__(self, buffer: WriteableBuffer) -> None:
        """`WORDS_SIZE` bytes, zeros before anything was written."""
        self._memory = memoryview(buffer).cast("B")
        self._head = self._memory[:_HEAD].cast("q")

    def close(self) -> None:
        self._head.release()
        self._memory.release()

    @property
    def generation(self) -> int:
        return int(self._head[0])

    def write(self, words: Mapping[int, Word]) -> None:
        """Publish these, by serial; the others stay."""
        before = self._head[0] | 1
        self._head[0] = before
        for serial, word in words.items():
            _WORD.pack_into(self._memory, _HEAD + serial * _WORD.size, *word, *_UNUSED)
        self._head[0] = before + 1

    def read(self, serial: int) -> Word | None:
        """None where nothing was ever written."""
        word = Word(*_WORD.unpack_from(self._memory, _HEAD + serial * _WORD.size)[: -len(_UNUSED)])
        return word if word.flags else None
