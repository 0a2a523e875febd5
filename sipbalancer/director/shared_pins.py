"""One pin table for several processes: workers read and write it, the control process sweeps and counts it.

Two may take the same free slot at the same moment. Each writer therefore has generations of its own (the lower four of
the six bits), so that what two have written between them never agrees: such a slot is nobody's until its expiry. At
worst a pin is lost; a wrong one cannot be made.

Counts are exact while each process counts what it changes: every one has a stripe in shared memory, written by it
alone, and a count is the sum of the stripes. A stripe outlives its process. What a crash or a lost pin leaves wrong is
found by the round of the sweep, which counts afresh; workers count a second time what they change behind it. A change
in the very moment the sweep is there may be missed: a difference is believed when two rounds in a row find the same.

    tally   64 bytes: how far the round is (tag index); then of each worker, and of the control process, 65,536 counts
            (i64) by kind and server, and as many of what changed behind the sweep; last, what rounds have put right
"""

from __future__ import annotations

from array import array
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from sipbalancer.director.pins import PinKind, PinTable
from sipbalancer.director.seat import Seat

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_HEAD = 64
_TALLIES = 1 << 16
_COUNTS = _TALLIES * 8
_STEP_BUCKETS = 32
"""Looked at between two words on how far the sweep is: 50 us."""


def tally_size(workers: int) -> int:
    """Bytes of shared memory for the counts of so many workers and the control process."""
    return _HEAD + (2 * (workers + 1) + 1) * _COUNTS


class _Tally:
    """The counts of all processes; `mine` is the number of the one that asks."""

    def __init__(self, buffer: WriteableBuffer, mine: int) -> None:
        memory = memoryview(buffer).cast("B")
        self.cursor = memory[:_HEAD].cast("q")
        """[0]: the sweep has passed all tags below."""
        *pairs, self.righted = [memory[at : at + _COUNTS].cast("q") for at in range(_HEAD, len(memory), _COUNTS)]
        self.counts, self.behind = pairs[::2], pairs[1::2]
        self._mine, self._mine_behind = self.counts[mine], self.behind[mine]

    def change(self, at: int, tally: int, step: int) -> None:
        """A pin whose tag is at `at` came (1) or went (-1)."""
        self._mine[tally] += step
        if at < self.cursor[0]:
            self._mine_behind[tally] += step

    def count(self, tally: int) -> int:
        return max(0, self.righted[tally] + sum([each[tally] for each in self.counts]))

    def total(self, first: int, last: int) -> int:
        return max(0, sum(sum(each[first:last]) for each in (self.righted, *self.counts)))

    def close(self) -> None:
        for each in (*self.counts, *self.behind, self.righted, self.cursor):
            each.release()


class _SharedPins(PinTable):
    """What both kinds have in common: counts are sums, identities are given under a lock."""

    def __init__(
        self,
        buffer: WriteableBuffer,
        tally: WriteableBuffer,
        mine: int,
        key_check: bytes,
        now: float,
        guard: AbstractContextManager[object],
    ) -> None:
        """`guard` keeps the other processes from giving an identity at the same time; a process that dies must let go
        of it."""
        self._tally = _Tally(tally, mine)
        self._guard = guard
        super().__init__(buffer, key_check, now)

    def close(self) -> None:
        super().close()
        self._tally.close()

    def count(self, kind: int, server: int) -> int:
        return self._tally.count(kind << 12 | server) if server >= 0 else 0

    def total(self, kind: int) -> int:
        return self._tally.total(kind << 12, (kind + 1) << 12)

    def server_id(self, name: str) -> int:
        known = self._names.known(name)
        if known >= 0:
            return known
        with self._guard:
            return super().server_id(name)

    def _count(self, at: int, word: int, step: int) -> None:
        self._tally.change(at, word >> 16 & 0xFFFF, step)


class ControlPins(_SharedPins):
    """The control process's: opens the memory, and is the one that sweeps. It puts no pins (no generations are its)."""

    def __init__(
        self,
        buffer: WriteableBuffer,
        tally: WriteableBuffer,
        workers: int,
        key_check: bytes,
        now: float,
        guard: AbstractContextManager[object],
    ) -> None:
        """`tally`: `tally_size(workers)` zeros."""
        self._first = True
        self._before: dict[int, int] = {}
        """What had changed behind the sweep when the round began."""
        self._differences: dict[int, int] = {}
        """Found by the last round."""
        super().__init__(buffer, tally, workers, key_check, now, guard)
        self._first = False

    def _look(self, first: int, buckets: int, limit: int) -> None:
        for start in range(first, first + buckets, _STEP_BUCKETS):
            count = min(_STEP_BUCKETS, first + buckets - start)
            super()._look(start, count, limit)
            self._tally.cursor[0] = start + count << 5

    def _turn(self) -> None:
        """A round is over: put right what it and the one before found wrong, and begin the next."""
        tally, servers = self._tally, len(self._names)
        differences: dict[int, int] = {}
        for kind in PinKind:
            first = kind << 12
            counted = zip(*(each[first : first + servers].tolist() for each in tally.counts), strict=True)
            behind = zip(*(each[first : first + servers].tolist() for each in tally.behind), strict=True)
            for at, (held, since) in enumerate(zip(counted, behind, strict=True), first):
                found = self._seen[at] + sum(since) - self._before.get(at, 0)
                difference = found - sum(held) - tally.righted[at]
                if difference:
                    differences[at] = difference
                self._before[at] = sum(since)
        for at, difference in differences.items():
            if self._first or self._differences.get(at) == difference:
                tally.righted[at] += difference
        self._differences = {} if self._first else differences
        self._first = False
        self._cursor = tally.cursor[0] = 0
        self._seen = array("q", bytes(_COUNTS))


class WorkerPins(_SharedPins):
    """A worker's: opened as it is, and swept by nobody here."""

    _step = 16
    _turns = 48

    def __init__(
        self,
        buffer: WriteableBuffer,
        tally: WriteableBuffer,
        seat: Seat,
        key_check: bytes,
        now: float,
        guard: AbstractContextManager[object],
    ) -> None:
        """ValueError when the control process has not begun a table here."""
        self._writer = seat.number
        super().__init__(buffer, tally, seat.number, key_check, now, guard)

    def sweep(self, now: float, slots: int) -> None:
        self._now = now
