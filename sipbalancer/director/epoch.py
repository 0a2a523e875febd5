"""What time it is for the pins at a start, where the host's clock was or is wrong. Clocks come as arguments.

A host without a battery begins in 1970 until somebody sets its clock. Pins made then would all be over at the next
start, and pins of before would live for decades. So the table's header holds a mark, written every second: the
director's time and the host's clock in the same moment. From it a start tells how long nobody was there. What
cannot be told is no reason to forget a registration: the pins keep the life they had when the mark was made.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from sipbalancer.director.pin_memory import BORN, BORN_AT, HEADER_SIZE

_MARK = Struct("=dd")
_MARK_AT = BORN_AT + 8
BELIEVED_FROM = 1_700_000_000.0
"""November 2023, before the first version of this program: a clock that says less is not set."""
TOLERANCE = 60.0
"""Seconds; as little is a step of NTP, not a wrong clock."""
_LAST_SECOND = 0xFFFFFFFF


_FIRST_AT = _MARK_AT + _MARK.size
BEGINNING = 1.0
"""A birth before all calls: they are all known."""


def first_start(memory: memoryview, began: bool, first: bool) -> bool:
    """Whether these pins began with the first start; `began`: just now, and `first` says it."""
    if began:
        memory[_FIRST_AT] = first
    return memory[_FIRST_AT] == 1


def vouch(memory: memoryview) -> None:
    """Whoever knows says that nothing is older than these pins."""
    BORN.pack_into(memory, BORN_AT, BEGINNING)


class Epoch(NamedTuple):
    """How a start goes on."""

    now: float
    """The director's time."""
    shift: float = 0.0
    """Seconds to be added to every expiry that was kept."""
    told: str = ""
    """For the log, where the clock was or is not believed."""


def mark(memory: memoryview, now: float, wall: float) -> None:
    """Note the director's time and the host's clock of this moment."""
    _MARK.pack_into(memory, _MARK_AT, now, wall)


def go_on(memory: memoryview, wall: float) -> Epoch:
    """What time it is, by the mark in this table and the host's clock. A table without a mark knows nothing else."""
    now, then = _MARK.unpack_from(memory, _MARK_AT)
    if not (0.0 < now < _LAST_SECOND and 0.0 < then < _LAST_SECOND):
        return Epoch(wall)
    if wall < then - TOLERANCE:
        behind = f"{_span(then - wall)} behind the state folder's last entry"
        return Epoch(now, told=f"the clock of this host is {behind}: going on from there, pins keep the life they had")
    if then < BELIEVED_FROM <= wall:
        return Epoch(
            wall, wall - now, "the clock of this host was not set when it ran last: pins keep the life they had"
        )
    if abs(now - then) > TOLERANCE:
        moved = f"was set by {_span(abs(now - then))} while it ran last"
        return Epoch(wall, then - now, f"the clock of this host {moved}: pins keep the life they have left")
    return Epoch(wall)


def _span(seconds: float) -> str:
    return f"{seconds / 86400:.1f} days" if seconds >= 86400 else f"{seconds:.0f} s"


def shift(memory: memoryview, seconds: float) -> None:
    """Add to every expiry, and to the birth, of the pins in this memory. Half a second for a million of them."""
    born = BORN.unpack_from(memory, BORN_AT)[0]
    if born > BEGINNING:
        BORN.pack_into(memory, BORN_AT, max(1.0, born + seconds))
    words = memory[HEADER_SIZE : HEADER_SIZE + (len(memory) - HEADER_SIZE) // 128 * 128].cast("Q")
    step = int(seconds)
    try:
        for bucket in range(0, len(words), 16):
            for at in range(bucket + 8, bucket + 16):
                word = words[at]
                if word >> 32:
                    until = min(max((word >> 32) + step, 1), _LAST_SECOND)
                    words[at] = until << 32 | word & 0xFFFFFFFF
    finally:
        words.release()
