"""What each worker says of each server: its own stripe of shared memory, written by it alone, 20 times a second.

Times are the director's `now`; counts only grow, so that whoever reads late misses nothing. Records lie by the
server's serial. A health that several services share is written into the record of each, and read from one.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from sipbalancer.director.evidence import Evidence
from sipbalancer.director.server_names import MAX_SERVERS

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_RECORD = struct.Struct("=6d")
RECORD_SIZE = _RECORD.size
_STRIPE = MAX_SERVERS * RECORD_SIZE
_STRIPE_WORDS = _STRIPE // 8
_RECORD_WORDS = RECORD_SIZE // 8
_TRANSACTIONS_WORD = 5


def stripes_size(workers: int) -> int:
    """Bytes for so many workers."""
    return workers * _STRIPE


class Record(NamedTuple):
    """One worker's view of one server."""

    heard: float = 0.0
    heard_new: float = 0.0
    own: float = 0.0
    dialog_answers: float = 0.0
    unanswered: float = 0.0
    transactions: float = 0.0
    """Now; the only one that falls."""


NOTHING = Record()


class Stripes:
    """All stripes; a process writes at most one."""

    def __init__(self, buffer: WriteableBuffer) -> None:
        self._memory = memoryview(buffer).cast("B")
        self.workers = len(self._memory) // _STRIPE
        self._words = self._memory[: self.workers * _STRIPE].cast("d")

    def close(self) -> None:
        self._words.release()
        self._memory.release()

    def write(self, worker: int, serial: int, record: tuple[float, ...]) -> None:
        """`record` as `Record` has it."""
        _RECORD.pack_into(self._memory, worker * _STRIPE + serial * RECORD_SIZE, *record)

    def read(self, worker: int, serial: int) -> Record:
        return Record(*_RECORD.unpack_from(self._memory, worker * _STRIPE + serial * RECORD_SIZE))

    def transactions(self, worker: int, serial: int) -> float:
        """Of one record, for a tenth of what `read` takes."""
        return self._words[worker * _STRIPE_WORDS + serial * _RECORD_WORDS + _TRANSACTIONS_WORD]

    def image(self, worker: int, records: int) -> bytes:
        """The worker's first `records` records as they are now: what is equal to an older image has not changed."""
        start = worker * _STRIPE
        return bytes(self._memory[start : start + records * RECORD_SIZE])


def record_in(image: bytes, serial: int) -> Record:
    """One record of an image."""
    return Record(*_RECORD.unpack_from(image, serial * RECORD_SIZE))


class WorkerEvidence(Evidence):
    """A worker's: its counts only grow. Whether a suspicion is over is for the words to say."""

    __slots__ = ()

    def settled(self) -> None:
        self.suspected = self.silent = 0.0
        self.refused = False

    def suspect(self, now: float) -> bool:
        if self.suspected:
            return False
        self.suspected = now
        return True
