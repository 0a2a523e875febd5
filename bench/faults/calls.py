"""Calls as dialogs of phones: which were cut, which were answered twice, which nobody ended. Pure.

A call to the echo is one dialog; a call between two phones is the caller's and, with that as its `origin`, one for each
time that the callee was called because of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Self

from bench.faults.phones import CallRecord, Op
from sipbalancer.demo.call import Ending

TOLD = 32.0
"""Seconds a server has to tell the other phone that its caller hung up (64 * T1)."""
SETTLED = 5.0
"""Two answers to one call may stand side by side so long: a BYE and two repeats."""


def is_told(call: CallRecord, ops: Iterable[Op]) -> bool:
    """Whether the phone was told that its answered call does not exist (12.2.1.2), before it hung up itself."""
    if not call.answered:
        return False
    end = call.ended or inf
    return any(op.in_dialog and op.ended and op.ended <= end and op.status in (0, 408, 481) for op in ops)


def is_cut(call: CallRecord, ops: Iterable[Op], *, other_hung_up: bool = False) -> bool:
    """An answered call that ended otherwise than one of the two at its ends wished.

    What a phone is told after a BYE of either cuts nothing: that call was over.
    """
    if not call.answered or other_hung_up:
        return False
    return is_told(call, ops) or call.ending == Ending.PEER_HUNG_UP


@dataclass(frozen=True, slots=True)
class Cuts:
    """Dialogs cut, by whether their server was hit."""

    healthy: int
    hit: int

    @classmethod
    def of(cls, calls: Sequence[CallRecord], ops: Iterable[Op], hit: frozenset[str]) -> Self:
        by_dialog: dict[tuple[str, str], list[Op]] = {}
        for op in ops:
            if op.in_dialog:
                by_dialog.setdefault((op.user, op.call_id), []).append(op)
        ends = _hung_up(calls, by_dialog)
        cut = [
            call
            for call in calls
            if is_cut(call, by_dialog.get((call.user, call.call_id), ()), other_hung_up=_other_ended(call, ends))
        ]
        return cls(sum(call.server not in hit for call in cut), sum(call.server in hit for call in cut))


def _hung_up(
    calls: Iterable[CallRecord], by_dialog: dict[tuple[str, str], list[Op]]
) -> dict[str, list[tuple[float, CallRecord]]]:
    """Who ended a call because it wanted to, and when, by the caller's Call-ID."""
    ends: dict[str, list[tuple[float, CallRecord]]] = {}
    for call in calls:
        wanted = call.ending in (Ending.HUNG_UP, Ending.CANCELLED)
        if wanted and not is_told(call, by_dialog.get((call.user, call.call_id), ())):
            ends.setdefault(call.origin, []).append((call.ended, call))
    return ends


def _other_ended(call: CallRecord, ends: dict[str, list[tuple[float, CallRecord]]]) -> bool:
    """Whether another phone of this call hung up before this one's end."""
    return any(other is not call and at <= (call.ended or inf) for at, other in ends.get(call.origin, ()))


@dataclass(frozen=True, slots=True)
class Legs:
    """Dialogs of who was called."""

    answered: int
    twice: int
    """Calls of which more than one was."""
    twice_left: int
    """Of these, those in which two lived side by side for more than `SETTLED` seconds."""
    forsaken: int
    """Of a server that was not hit; their caller had ended, and for 32 s or to the end of the run nobody told."""

    @classmethod
    def of(cls, calls: Iterable[CallRecord], hit: frozenset[str]) -> Self:
        callers: dict[str, CallRecord] = {}
        called: dict[str, list[CallRecord]] = {}
        for call in calls:
            if call.outgoing:
                callers[call.call_id] = call
            elif call.answered:
                called.setdefault(call.origin, []).append(call)
        legs = [leg for several in called.values() for leg in several]
        return cls(
            len(legs),
            sum(len(several) > 1 for several in called.values()),
            sum(_overlap(several) > SETTLED for several in called.values()),
            sum(leg.server not in hit and _is_forsaken(leg, callers.get(leg.origin)) for leg in legs),
        )


def _overlap(legs: Iterable[CallRecord]) -> float:
    """The longest time that two of them lived side by side."""
    spans = sorted((leg.answered, leg.ended or inf) for leg in legs)
    return max((min(one[1], two[1]) - two[0] for one, two in pairwise(spans)), default=0.0)


def _is_forsaken(leg: CallRecord, caller: CallRecord | None) -> bool:
    if caller is None or not caller.ended:
        return False
    return not leg.ended or leg.ended > caller.ended + TOLD
