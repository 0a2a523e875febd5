"""One pin table for several processes: workers read and write it, the control process sweeps and counts it.

Two may take the same free slot at the same moment. Each writer therefore has generations of its own (the lower four of
the six bits), so that what two have written between them never agrees: such a slot is nobody's until its expiry. At
worst a pin is lost; a wrong one cannot be made.

Counts are exact while each process counts what it changes: every one has a stripe in shared memory, and a count is the
sum of the stripes. A stripe outlives its process, and nobody else writes to it. The round of the sweep counts afresh,
in a second set of arrays that becomes the first when the round is over.

    tally   64 bytes: where the round is (tag index), which set counts (0 or 1); then stripes of two sets of 65,536
            counts (i64) by kind and server: one for each worker, the control process's, and one that the control
            process sets so that the sum of all is 0 when a round begins

A change in the very moment the sweep looks at its bucket may be counted twice or not at all, until the next round.
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
_SET = _TALLIES * 8
_CURSOR, _TURN = 0, 1


def tally_size(workers: int) -> int:
    """Bytes of shared memory for the counts of so many workers and the control process."""
    return _HEAD + (workers + 2) * 2 * _SET


class _Tally:
    """The counts of all processes; `mine` is the number of the one that asks."""

    def __init__(self, buffer: WriteableBuffer, mine: int) -> None:
        memory = memoryview(buffer).cast("B")
        self.head = memory[:_HEAD].cast("q")
        stripes = range(_HEAD, len(memory), 2 * _SET)
        self.sets = [[memory[at + n * _SET :][:_SET].cast("q") for at in stripes] for n in (0, 1)]
        """By turn, then by process."""
        self._mine = mine

    def mine(self, turn: int) -> memoryview:
        return self.sets[turn][self._mine]

    def change(self, at: int, tally: int, step: int) -> None:
        """A pin whose tag is at `at` came (1) or went (-1)."""
        turn = self.head[_TURN]
        self.mine(turn)[tally] += step
        if at < self.head[_CURSOR]:
            self.mine(1 - turn)[tally] += step

    def count(self, tally: int) -> int:
        return max(0, sum([each[tally] for each in self.sets[self.head[_TURN]]]))

    def total(self, first: int, last: int) -> int:
        return max(0, sum(sum(each[first:last]) for each in self.sets[self.head[_TURN]]))

    def turn(self, servers: int) -> None:
        """A round is over: what it has counted counts from now on, the other set begins at 0 (for `servers` of them).

        Written to is the last stripe alone: a worker may be in the middle of adding to its own.
        """
        old = self.head[_TURN]
        self.head[_TURN] = 1 - old
        self.head[_CURSOR] = 0
        *stripes, ground = self.sets[old]
        for kind in PinKind:
            first = kind << 12
            columns = zip(*(each[first : first + servers].tolist() for each in stripes), strict=True)
            ground[first : first + servers] = array("q", [-sum(column) for column in columns])

    def close(self) -> None:
        for each in (*self.sets[0], *self.sets[1], self.head):
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
        super().__init__(buffer, tally, workers, key_check, now, guard)

    def sweep(self, now: float, slots: int) -> None:
        self._follow()
        super().sweep(now, slots)
        self._tally.head[_CURSOR] = self._cursor

    def _follow(self) -> None:
        self._counts = self._tally.mine(self._tally.head[_TURN])  # type: ignore[assignment]
        self._seen = self._tally.mine(1 - self._tally.head[_TURN])  # type: ignore[assignment]

    def _turn(self) -> None:
        self._tally.turn(len(self._names))
        self._cursor = 0
        self._follow()


class WorkerPins(_SharedPins):
    """A worker's: opened as it is, and swept by nobody here."""

    _step, _turns = 16, 48

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
