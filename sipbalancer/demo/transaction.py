"""Client and server transactions over UDP, with the timers of RFC 3261 17 (and the Accepted state of RFC 6026).

Sans-IO: a transaction sends through its `Wire` and books its timers in the wire's agenda.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .agenda import Agenda, Appointment
from .message import Address, Message, reply_address

T1 = 0.5
T2 = 4.0
T4 = 5.0
LIFETIME = 64 * T1  # timers B, D, F, H, J, L and M over UDP

Answered = Callable[[Message | None, float], None]
"""Called with each provisional and final response; None when nobody answered in time (8.1.3.1)."""


class Wire(Protocol):
    """What a transaction needs of the endpoint it lives in."""

    agenda: Agenda

    def transmit(self, data: bytes, destination: Address, *, again: bool = False) -> None: ...
    def client_final(self, transaction: ClientTransaction, status: int, now: float) -> None: ...
    def client_ended(self, transaction: ClientTransaction) -> None: ...
    def server_ended(self, transaction: ServerTransaction) -> None: ...


class _Repeater:
    """Sends the same bytes again and again, from T1, doubling to `ceiling`, until stopped."""

    def __init__(self, wire: Wire, data: bytes, destination: Address, ceiling: float, now: float) -> None:
        self._wire, self._data, self._destination = wire, data, destination
        self._ceiling = ceiling
        self.interval = T1
        self._next: Appointment | None = wire.agenda.at(now + T1, self._again)

    def _again(self, now: float) -> None:
        self._wire.transmit(self._data, self._destination, again=True)
        self.interval = min(2 * self.interval, self._ceiling)
        self._next = self._wire.agenda.at(now + self.interval, self._again)

    def stop(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None


class ClientTransaction:
    """One request of ours until its final response (17.1); makes the ACK of a non-2xx itself, in the same branch."""

    def __init__(self, request: Message, destination: Address, wire: Wire, answered: Answered, now: float) -> None:
        self.request, self.destination = request, destination
        self.started = now
        self.provisional = 0
        self.final = 0
        self._wire, self._answered = wire, answered
        self._invite = request.method == "INVITE"
        data = request.encode()
        wire.transmit(data, destination)
        self._repeater = _Repeater(wire, data, destination, LIFETIME if self._invite else T2, now)
        self._limit = wire.agenda.at(now + LIFETIME, self._timed_out)

    @property
    def key(self) -> tuple[str, str]:
        """What a response must carry to be ours (17.1.3)."""
        return self.request.branch, self.request.method

    def receive(self, response: Message, now: float) -> None:
        status = response.status
        if self.final:
            self._receive_again(response, now)
        elif status < 200:
            self._proceed(response, now)
        else:
            self._finish(response, now)

    def _proceed(self, response: Message, now: float) -> None:
        self.provisional = max(self.provisional, response.status)
        if self._invite:  # 17.1.1.2: in Proceeding neither A nor B runs
            self._repeater.stop()
            self._limit.cancel()
        else:  # 17.1.2.2: timer E goes on at T2
            self._repeater.interval = T2
        self._answered(response, now)

    def _finish(self, response: Message, now: float) -> None:
        self.final = response.status
        self._repeater.stop()
        self._limit.cancel()
        self._wire.client_final(self, self.final, now)
        self._wire.agenda.at(now + (LIFETIME if self._invite else T4), self._ended)
        if self._invite and self.final >= 300:
            self._acknowledge(response)
        self._answered(response, now)

    def _receive_again(self, response: Message, now: float) -> None:
        if not self._invite or response.status < 200:
            return
        if response.status >= 300 and self.final >= 300:
            self._acknowledge(response)
        elif response.status < 300 and self.final < 300:  # RFC 6026 7.2: every 2xx reaches the user
            self._answered(response, now)

    def _acknowledge(self, response: Message) -> None:
        """The ACK of 17.1.1.3."""
        request = self.request
        ack = Message(f"ACK {request.uri} SIP/2.0", [("Via", request.top("Via"))])
        ack.headers += [("Route", route) for route in request.all("Route")]
        ack.headers += [("From", request.get("From")), ("To", response.get("To")), ("Call-ID", request.call_id)]
        ack.headers += [("CSeq", f"{request.cseq} ACK"), ("Max-Forwards", "70")]
        self._wire.transmit(ack.encode(), self.destination)

    def _timed_out(self, now: float) -> None:
        self._repeater.stop()
        self._wire.client_final(self, 0, now)
        self._ended(now)
        self._answered(None, now)

    def _ended(self, now: float) -> None:
        self._wire.client_ended(self)


class ServerTransaction:
    """One request of theirs (17.2); repeats its last response on demand, and a final to INVITE until it is ACKed."""

    def __init__(self, request: Message, source: Address, key: tuple[str, ...], wire: Wire) -> None:
        self.request, self.source, self.key = request, source, key
        self.final = 0
        self.acknowledged = False
        self.unacknowledged: Callable[[float], None] | None = None
        self._wire = wire
        self._last = b""
        self._destination = reply_address(request.top("Via"))
        self._repeater: _Repeater | None = None

    def respond(self, response: Message, now: float) -> None:
        """Send a response; a second final is ignored."""
        if self.final:
            return
        self._last = response.encode()
        self._wire.transmit(self._last, self._destination)
        if response.status >= 200:
            self.final = response.status
            self._await_ack(now)

    def _await_ack(self, now: float) -> None:
        if self.request.method == "INVITE":
            self._repeater = _Repeater(self._wire, self._last, self._destination, T2, now)
        self._wire.agenda.at(now + LIFETIME, self._expired)

    def repeat(self) -> None:
        """The same request came again: so does its last response."""
        if self._last:
            self._wire.transmit(self._last, self._destination, again=True)

    def acknowledge(self) -> None:
        """The ACK came: stop repeating."""
        self.acknowledged = True
        if self._repeater is not None:
            self._repeater.stop()

    def _expired(self, now: float) -> None:
        if self._repeater is not None:
            self._repeater.stop()
        self._wire.server_ended(self)
        if self.request.method == "INVITE" and not self.acknowledged and self.unacknowledged is not None:
            self.unacknowledged(now)
