"""The timeline: what thirty phones do, and when a server dies and comes back. Sans-IO: `tick` gives the datagrams.

Each phone registers, then calls another phone or the echo extension, talks a little, and one of the two hangs up.
When a server dies its calls fall silent and people hang up; when it is back, a third of the phones restart, as phones
do, and the balancer may give them to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from .call import Call, CallState
from .ledger import Outage
from .message import Datagram
from .phone import Phone

ECHO = "600"
ECHO_SHARE = 0.3
PAUSE = (1.0, 5.0)
TALK = (1.5, 4.0)
NOTICE = 1.0
"""Seconds of silence until somebody whose server died hangs up."""
REGISTER_WITHIN = 2.0
PATIENCE = 20.0
"""Seconds somebody lets it ring or waits for any answer before giving up."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Seconds since the start; `kill` and `back` are None when no server dies."""

    calls: float
    kill: float | None
    back: float | None
    last_call: float
    unregister: float
    end: float

    @classmethod
    def of(cls, seconds: float, *, with_kill: bool) -> Timeline:
        """Spread over a demo of that length: talk, one third without one server, talk again, all hang up."""
        kill, back = (0.33 * seconds, 0.62 * seconds) if with_kill else (None, None)
        return cls(REGISTER_WITHIN + 1.0, kill, back, seconds - 7.5, seconds - 2.0, seconds)


Sent = list[tuple[Phone, list[Datagram]]]


@dataclass(slots=True)
class _Plan:
    """What one phone will do next; times since the start."""

    register: float
    call: float
    restart: float = 0.0
    wanted: float = 0.0
    """Until when somebody else is about to call it."""
    hang_up: tuple[Call, float, Phone] | None = None


class Scene:
    """Plays `phones`; call `tick` often and send what it returns. `now` is seconds of the phones' clock."""

    def __init__(self, phones: Sequence[Phone], timeline: Timeline, random: Random, start: float) -> None:
        self.phones = tuple(phones)
        self.timeline = timeline
        self.start = start
        self.outages: list[Outage] = []
        self._random = random
        self.strangers = 0
        """Phones that were not registered when all left."""
        self._unregistered = False
        step = REGISTER_WITHIN / max(1, len(self.phones))
        self._plans = {
            phone.user: _Plan(index * step, timeline.calls + random.uniform(0.0, PAUSE[1]))
            for index, phone in enumerate(self.phones)
        }

    def tick(self, now: float) -> Sent:
        """Everything people do at this moment."""
        at = now - self.start
        if at >= self.timeline.unregister:
            return self._leave(now)
        sent: Sent = []
        for phone in self.phones:
            datagrams = self._act(phone, self._plans[phone.user], at, now)
            if datagrams:
                sent.append((phone, datagrams))
            sent += self._hang_up(self._plans[phone.user], now)
        return sent

    def killed(self, server: str, now: float) -> None:
        """A server died: remember whose calls went with it, and let people notice."""
        outage = Outage(server, now)
        self.outages.append(outage)
        for phone in self.phones:
            for call in phone.live_calls:
                if self._on(phone, call) == server:
                    outage.cut.add(call)
            outage.farewells |= {call for call in phone.history if call.bye == 0 and call.server == server}
        for plan in self._plans.values():
            if plan.hang_up is not None and plan.hang_up[0] in outage.cut:
                call, _, by = plan.hang_up
                plan.hang_up = (call, now + NOTICE, by)

    def known_down(self, server: str, now: float) -> None:
        """The balancer gave its verdict; what was sent to the dead server until now went with it."""
        for outage in self.outages:
            if outage.server == server and not outage.known:
                outage.known = now

    def came_back(self, now: float) -> None:
        """A server runs again: a third of the phones restart within the next seconds."""
        for plan in self._random.sample(list(self._plans.values()), len(self._plans) // 3):
            plan.restart = now - self.start + self._random.uniform(0.5, 2.5)

    def settle(self) -> None:
        """Before the last count: a call sent to a dead server before anyone could know, and not made good, went with
        it."""
        for phone in self.phones:
            for outage in self.outages:
                outage.cut |= {
                    call
                    for call in phone.history
                    if call.outgoing and not call.answered and outage.excuses(call.placed, phone.registration.server)
                }

    # One phone.

    def _act(self, phone: Phone, plan: _Plan, at: float, now: float) -> list[Datagram]:
        if at >= plan.register:
            plan.register = float("inf")
            return phone.register(now)
        if plan.restart and at >= max(plan.restart, plan.wanted) and not phone.live_calls:
            plan.restart, plan.register = 0.0, at + 0.3
            plan.call = max(plan.call, at + 1.0)
            return phone.unregister(now)
        if plan.call <= at < self.timeline.last_call and self._idle(phone, at):
            return self._call(phone, plan, at, now)
        return self._lose_patience(phone, now)

    def _call(self, phone: Phone, plan: _Plan, at: float, now: float) -> list[Datagram]:
        callee = self._callee(phone, at)
        talk = self._random.uniform(*TALK)
        plan.call = at + talk + self._random.uniform(*PAUSE)
        datagrams = phone.call(callee.user if callee is not None else ECHO, now)
        assert phone.last_call is not None
        if callee is not None:
            self._plans[callee.user].wanted = at + 1.0
        by = callee if callee is not None and self._random.random() < 0.5 else phone
        plan.hang_up = (phone.last_call, now + talk, by)
        return datagrams

    def _callee(self, caller: Phone, at: float) -> Phone | None:
        """An idle registered phone that stays, or None for the echo."""
        idle = [phone for phone in self.phones if phone is not caller and self._idle(phone, at)]
        return self._random.choice(idle) if idle and self._random.random() >= ECHO_SHARE else None

    def _idle(self, phone: Phone, at: float) -> bool:
        if not phone.registered or phone.live_calls:
            return False
        plan = self._plans[phone.user]
        return not plan.restart and plan.register == float("inf") and at >= plan.wanted

    def _hang_up(self, plan: _Plan, now: float) -> Sent:
        """End the planned call when its time has come: by the callee when it has it, else by the caller."""
        if plan.hang_up is None:
            return []
        call, when, by = plan.hang_up
        if not call.live:
            plan.hang_up = None
        elif now >= when and call.state is CallState.TALKING:
            plan.hang_up = None
            return [(by, by.hang_up(now))] if by.live_calls else []
        return []

    def _lose_patience(self, phone: Phone, now: float) -> list[Datagram]:
        """Give up what does not get through, and what a dead server left behind."""
        cut = {call for outage in self.outages for call in outage.cut}
        for call in phone.live_calls:
            silent = call in cut and any(now >= outage.since + NOTICE for outage in self.outages)
            if silent or (call.state is not CallState.TALKING and now - call.placed > PATIENCE):
                phone.end_call(call, now)
                if call.live and call.outgoing:
                    phone.abandon(call, now)
        return phone.outgoing()

    def _leave(self, now: float) -> Sent:
        """The end: hang up what is left, then take every registration back, once."""
        if self._unregistered:
            return []
        self._unregistered = True
        self.strangers = sum(not phone.registered for phone in self.phones)
        sent: Sent = []
        for phone in self.phones:
            sent += [(phone, phone.drop_calls(now)), (phone, phone.unregister(now))]
        return sent

    def _on(self, phone: Phone, call: Call) -> str:
        """The server that carries a call: as it called itself, or, before it said a word, where the phone lives."""
        return call.server or phone.registration.server
