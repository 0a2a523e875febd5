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
_STRIPE = MAX_SERVERS * _RECORD.size


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

    def close(self) -> None:
        self._memory.release()

    def write(self, worker: int, serial: int, record: Record) -> None:
        _RECORD.pack_into(self._memory, worker * _STRIPE + serial * _RECORD.size, *record)

    def read(self, worker: int, serial: int) -> Record:
        return Record(*_RECORD.unpack_from(self._memory, worker * _STRIPE + serial * _RECORD.size))


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
