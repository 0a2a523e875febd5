"""A phone that keeps a book: each thing it asked, when, what came back, and from whom. RFC 3261's timers are the
demo phone's. Never here: how many there are and what they do when (load.py).

A call between two phones is two dialogs that Asterisk joins. The dialplan shows the callee the Call-ID of the caller's
dialog as the caller's name (servers.py), so that the legs of one call are found again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from sipbalancer.demo.call import Asking, Call, Dialog
from sipbalancer.demo.message import Address, Datagram, Message
from sipbalancer.demo.phone import Phone
from sipbalancer.demo.station import Station
from sipbalancer.demo.transaction import Answered

KEPT = 300
"""Datagrams each phone remembers, for the trace of what was lost."""
RINGING = 0.2
"""Seconds a phone rings before it answers."""
FORSAKEN = 34.0
"""Seconds after which who is called hangs up a call that its caller ended long ago, and nobody told (64 * T1 and 2)."""
CALLEE_ENDS = 0.5
"""Part of the calls that who was called hangs up."""


@dataclass(slots=True, eq=False)
class Op:
    """One thing asked, over as many transactions as challenges made of it. Times in seconds; `ended` 0.0 = not yet."""

    method: str
    in_dialog: bool
    user: str
    call_id: str
    target: str
    began: float
    ended: float = 0.0
    status: int = 0
    """The final; 0 = none came."""
    sent: float = 0.0
    """When the last of its transactions began: 32 s run from here."""
    by: str = ""
    """Its Server header: the Asterisk's name, empty or another for what a balancer said itself."""
    rang: float = 0.0
    """When the first provisional above 100 came; 0.0 = none."""


@dataclass(slots=True)
class Book:
    """What all phones of one process did."""

    ops: list[Op] = field(default_factory=list)

    def open_before(self, moment: float) -> int:
        """Still unanswered, of those that began by then."""
        return sum(not op.ended and op.began <= moment for op in self.ops)


@dataclass(slots=True)
class CallRecord:
    """One dialog of a call at its end (`ended` 0.0: it never did), as one phone saw it."""

    outgoing: bool
    call_id: str
    origin: str
    """Call-ID of the caller's dialog: for who was called, another one."""
    user: str
    peer: str
    server: str
    placed: float
    answered: float
    ended: float
    ending: str
    status: int
    bye: int | None

    @classmethod
    def of(cls, user: str, call: Call) -> CallRecord:
        origin = call.call_id if call.outgoing or call.dialog is None else shown_name(call.dialog.remote)
        return cls(
            call.outgoing, call.call_id, origin, user, call.peer, call.server, call.placed, call.answered, call.ended,
            call.ending.value, call.status, call.bye,
        )  # fmt: skip


def shown_name(address: str) -> str:
    """Of `"name" <sip:...>`."""
    return address.partition("<")[0].strip().strip('"')


class BookedPhone(Phone):
    """Talks `talk` seconds: puts the call on hold halfway, then hangs up.

    Called, it answers after `RINGING`, renews the session after three quarters, and hangs up half of the calls a little
    before the caller would. A call that is said not to exist any more is over (12.2.1.2).
    """

    def __init__(
        self, user: str, address: Address, proxy: Address, domain: str, random: Random, book: Book,
        *, refresh: float | None, expires: int, talk: float,
    ) -> None:  # fmt: skip
        super().__init__(
            user,
            f"secret{user}",
            address,
            proxy,
            domain,
            random,
            expires=expires,
            refresh=refresh,
            answer_after=RINGING,
        )
        self.book, self.talk = book, talk
        self.trace: deque[tuple[float, str, bytes]] = deque(maxlen=KEPT)
        self._holding = False

    @property
    def idle(self) -> bool:
        return not self.calls or not self.live_calls

    def ask(self, request: Message, now: float, answered: Answered, dialog: Dialog | None = None) -> Asking:
        op = Op(request.method, dialog is not None, self.user, request.call_id, request.uri, now)
        self.book.ops.append(op)

        def noted(response: Message | None, at: float) -> None:
            if not op.ended and (response is None or response.status >= 200):
                op.ended, op.sent = at, asking.transaction.started
                if response is not None:
                    op.status, op.by = response.status, response.get("Server")
            elif not op.ended and not op.rang and response is not None and response.status > 100:
                op.rang = at
            answered(response, at)
            if dialog is not None and op.method == "INVITE" and op.status in (408, 481):
                self._gone(dialog, at)

        asking = super().ask(request, now, noted, dialog)
        return asking

    def talking(self, call: Call, now: float) -> None:
        if call.outgoing:
            self.agenda.at(now + self.talk / 2, lambda at: self._hold(call, at))
            self.agenda.at(now + self.talk, lambda at: self.end_call(call, at))
            return
        mine = self.random.random() < CALLEE_ENDS
        self.agenda.at(now + 0.75 * self.talk, lambda at: self._renew(call, at))
        self.agenda.at(now + (0.9 * self.talk if mine else self.talk + FORSAKEN), lambda at: self.end_call(call, at))

    def _renew(self, call: Call, now: float) -> None:
        if call.live:
            self.in_dialog(call, "INVITE", now)

    def _gone(self, dialog: Dialog, now: float) -> None:
        for call in self.live_calls:
            if call.dialog is dialog:
                self.end_call(call, now)

    def _hold(self, call: Call, now: float) -> None:
        if call.live:
            self._holding = True
            self.in_dialog(call, "INVITE", now)
            self._holding = False

    def _sdp(self) -> bytes:
        return super()._sdp() + (b"a=sendonly\r\n" if self._holding else b"")

    def told(self, op: Op) -> list[str]:
        """The trace of one op, from a little before to a little after."""
        end = op.ended or float("inf")
        return [
            f"{at:.3f} {way} {data.decode('utf-8', 'replace')}"
            for at, way, data in self.trace
            if op.began - 0.05 <= at <= end + 0.5 and op.call_id.encode() in data
        ]


class BookedStation(Station):
    """Remembers every datagram of its phone."""

    def __init__(self, phone: BookedPhone) -> None:
        super().__init__(phone)
        self._trace = phone.trace

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._trace.append((self._loop.time(), "<", data))
        super().datagram_received(data, addr)

    def send(self, datagrams: list[Datagram]) -> None:
        now = self._loop.time()
        self._trace.extend((now, ">", data) for data, _ in datagrams)
        super().send(datagrams)


def plain(record: Op | CallRecord) -> dict[str, Any]:
    return asdict(record)
