"""What was asked, answered and lost, counted from the phones' own memory.

A call is the caller's; its callee's leg is not counted again. Cut is only what a killed server took with it: calls
it carried at that moment, and what was sent to it before the balancer could know. All else without an answer is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .call import Call, Ending
from .phone import Phone

INTENDED = (Ending.HUNG_UP, Ending.PEER_HUNG_UP, Ending.CANCELLED)


@dataclass(slots=True)
class Outage:
    """A server that was killed at `since`, known as down to the balancer from `known` on (0.0: not yet)."""

    server: str
    since: float
    known: float = 0.0
    cut: set[Call] = field(default_factory=set)
    """Calls that went with it."""
    farewells: set[Call] = field(default_factory=set)
    """Calls that were over, but their BYE was under way to it."""

    def excuses(self, began: float, server: str) -> bool:
        """Whether something asked then, of a phone that lived on that server, went to it unknowingly."""
        return server == self.server and self.since <= began and (not self.known or began <= self.known)


class Tally(NamedTuple):
    """The numbers of the summary."""

    phones: int
    registered: int
    strangers: int
    """Phones that were not registered when they wanted to leave (counted by the scene)."""
    registrations: int
    """REGISTERs wanted: the first, each refresh, each unregister; challenges not counted."""
    registrations_answered: int
    registrations_cut: int
    registrations_lost: int
    calls: int
    calls_live: int
    calls_answered: int
    """Cut ones included, if they were answered first."""
    calls_done: int
    """Answered, and ended as somebody wished."""
    calls_cut: int
    calls_lost: int
    byes: int
    byes_answered: int
    byes_cut: int
    byes_lost: int
    doubles: int
    retransmissions: int
    longest_wait: float
    """Seconds from asking to an answer (of a call: until it rings), the longest, cut ones left out."""
    refusals: Counter[str]
    """Why lost calls were lost."""

    @property
    def lost(self) -> int:
        """Everything lost that should not be; a call that was answered twice counts too."""
        return self.strangers + self.registrations_lost + self.calls_lost + self.byes_lost + self.doubles


def count(phones: Sequence[Phone], outages: Sequence[Outage], *, finished: bool, strangers: int = 0) -> Tally:
    """Count now. When `finished`, what is still unanswered is lost."""
    cut = {call for outage in outages for call in outage.cut}
    silenced = cut | {call for outage in outages for call in outage.farewells}
    history = [call for phone in phones for call in phone.history]
    calls = [call for call in history if call.outgoing]
    byes = [call for call in history if call.bye is not None]
    fates = Counter(_fate(call, cut, finished) for call in calls)
    answers = Counter(_bye_fate(call, silenced, finished) for call in byes)
    registrations = Counter(fate for phone in phones for fate in _registration_fates(phone, outages, finished))
    return Tally(
        phones=len(phones),
        registered=sum(phone.registered for phone in phones),
        strangers=strangers,
        registrations=sum(phone.registration.asked for phone in phones),
        registrations_answered=registrations["answered"],
        registrations_cut=registrations["cut"],
        registrations_lost=registrations["lost"],
        calls=len(calls),
        calls_live=fates["live"],
        calls_answered=sum(call.answered > 0 for call in calls),
        calls_done=fates["done"],
        calls_cut=fates["cut"],
        calls_lost=fates["lost"],
        byes=len(byes),
        byes_answered=answers["answered"],
        byes_cut=answers["cut"],
        byes_lost=answers["lost"],
        doubles=sum(phone.doubles for phone in phones),
        retransmissions=sum(phone.retransmissions for phone in phones),
        longest_wait=max(_waits(phones, calls, cut), default=0.0),
        refusals=Counter(_why(call) for call in calls if _fate(call, cut, finished) == "lost"),
    )


def _fate(call: Call, cut: set[Call], finished: bool) -> str:
    if call in cut:
        return "cut"
    if call.live:
        return "lost" if finished else "live"
    return "done" if call.answered and call.ending in INTENDED else "lost"


def _bye_fate(call: Call, silenced: set[Call], finished: bool) -> str:
    if call.bye and call.bye < 300:
        return "answered"
    if call in silenced:
        return "cut"
    return "lost" if call.bye or finished else "waiting"


def _registration_fates(phone: Phone, outages: Sequence[Outage], finished: bool) -> Iterable[str]:
    state = phone.registration
    yield from ["answered"] * state.succeeded
    for began, _ in state.failures:
        yield "cut" if any(outage.excuses(began, state.server) for outage in outages) else "lost"
    if state.asked > state.succeeded + len(state.failures):
        excused = any(outage.excuses(state.began, state.server) for outage in outages)
        yield ("cut" if excused else "lost") if finished else "waiting"


def _waits(phones: Sequence[Phone], calls: Sequence[Call], cut: set[Call]) -> Iterable[float]:
    for phone in phones:
        yield from phone.registration.waits
    for call in calls:
        if call.rang and call not in cut:
            yield call.rang - call.placed


def _why(call: Call) -> str:
    if call.live:
        return "no end"
    return f"{call.status} {call.ending}" if call.status else str(call.ending)
