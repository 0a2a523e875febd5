"""A user agent without a socket: calls in both directions (RFC 3261 9, 13, 14, 15) on top of an endpoint.

Subclasses say who may call and what happens then, through the hooks `invited`, `ringing`, `talking` and `ended`.
"""

from __future__ import annotations

from random import Random

from .call import Asking, Call, CallState, Dialog, Ending
from .endpoint import Endpoint
from .message import Address, Message, address_of, hostport, parameter, reply, uri_in, user_of
from .transaction import LIFETIME, Answered, ServerTransaction

REASONS = {
    100: "Trying",
    180: "Ringing",
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    420: "Bad Extension",
    423: "Interval Too Brief",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    500: "Server Internal Error",
    503: "Service Unavailable",
}
ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, NOTIFY, MESSAGE"


class UserAgent(Endpoint):
    """Places and takes calls. `calls` holds those that can still hear something, by Call-ID and our tag."""

    def __init__(self, address: Address, random: Random, says: Address | None = None) -> None:
        super().__init__(address, random, says)
        self.calls: dict[tuple[str, str], Call] = {}
        self.doubles = 0
        """Second 2xx, from another callee than the first, to one INVITE of ours: a forked or doubled call."""

    # Hooks.

    def invited(self, call: Call, now: float) -> None:
        """A new call came in; 100 is for the subclass to send."""
        raise NotImplementedError

    def ringing(self, call: Call, now: float) -> None:
        """Our outgoing call rings."""

    def talking(self, call: Call, now: float) -> None:
        """Either side answered; of an incoming call: its ACK came."""

    def ended(self, call: Call, now: float) -> None:
        """The call is over, for the reason in `call.ending`."""

    def other_request(self, transaction: ServerTransaction, now: float) -> None:
        """Anything but INVITE, ACK, BYE and CANCEL."""
        self.respond(transaction, 405, now, ("Allow", ALLOW))

    def contact(self) -> str:
        return f"<sip:{hostport(self.says)}>"

    def next_hop(self, request: Message) -> Address:
        """Where a request of ours goes: the first Route, else the Request-URI (8.1.2, 12.2.1.1)."""
        route = request.top("Route")
        return address_of(uri_in(route) if route else request.uri)

    def ask(self, request: Message, now: float, answered: Answered, dialog: Dialog | None = None) -> Asking:
        """Send a request where it belongs. A phone overrides this to answer challenges."""
        return Asking(self.send(request, self.next_hop(request), now, answered))

    # Answering.

    def respond(self, transaction: ServerTransaction, status: int, now: float, *headers: tuple[str, str]) -> None:
        """Answer a request outside our calls."""
        tag = "" if status == 100 else self.token()
        transaction.respond(self._response(transaction.request, status, tag, headers), now)

    def ring(self, call: Call, now: float) -> None:
        """180 to an incoming call."""
        if call.state is CallState.TRYING:
            call.state = CallState.RINGING
            self._answer_invite(call, 180, now, ("Contact", self.contact()))

    def answer(self, call: Call, now: float) -> None:
        """200 to an incoming call."""
        if call.state in (CallState.TRYING, CallState.RINGING) and not call.status:
            call.status = 200
            if call.invited is not None:
                call.invited.unacknowledged = lambda at: self._unacknowledged(call, at)
            self._answer_invite(call, 200, now, ("Contact", self.contact()), body=self._sdp())

    def refuse(self, call: Call, status: int, now: float, *headers: tuple[str, str]) -> None:
        """A final refusal to an incoming call that is not answered yet."""
        if call.live and not call.status:
            call.status = status
            self._answer_invite(call, status, now, *headers)
            self._end(call, Ending.CANCELLED if status == 487 else Ending.REFUSED, now)

    # Calling.

    def place(self, invite: Message, peer: str, now: float) -> Call:
        """Start an outgoing call with this INVITE (complete but for Contact and body)."""
        call = Call(True, peer, invite.call_id, parameter(invite.get("From"), "tag"), now)
        self.calls[call.key] = call
        self._with_offer(invite)
        call.asking = self.ask(invite, now, lambda response, at: self._call_answered(call, response, at))
        return call

    def end_call(self, call: Call, now: float) -> None:
        """Whatever ends this call in its present state: CANCEL, a refusal or BYE."""
        if not call.live:
            return
        if call.dialog is not None and call.state is CallState.TALKING:
            self._bye(call, now)
            self._end(call, Ending.HUNG_UP, now)
        elif call.outgoing:
            self._cancel(call, now)
        elif not call.status:
            self.refuse(call, 480, now)
        else:  # answered, ACK still to come: 15 lets the callee wait for it
            call.cancelling = True

    def abandon(self, call: Call, now: float) -> None:
        """Forget a call without a word, as when its server died."""
        if call.live:
            self._end(call, Ending.ABANDONED, now)

    def in_dialog(self, call: Call, method: str, now: float, *headers: tuple[str, str]) -> None:
        """Send any request inside a call; an INVITE carries an offer and its 2xx gets its ACK."""
        if call.dialog is None:
            return
        request = call.dialog.request(method, self.via())
        request.headers += headers
        if method == "INVITE":
            self._with_offer(request)
        self.ask(request, now, lambda response, at: self._in_dialog_answered(call, response, at), call.dialog)

    # What comes in.

    def request_received(self, transaction: ServerTransaction, now: float) -> None:
        request = transaction.request
        method = request.method
        call = self.calls.get((request.call_id, parameter(request.get("To"), "tag")))
        if method == "CANCEL":
            self._cancelled(transaction, now)
        elif call is not None:
            self._request_in_call(call, transaction, now)
        elif method == "BYE" or (method == "INVITE" and parameter(request.get("To"), "tag")):
            self.respond(transaction, 481, now)
        elif method == "INVITE":
            self._invited(transaction, now)
        else:
            self.other_request(transaction, now)

    def ack_received(self, ack: Message, now: float) -> None:
        call = self.calls.get((ack.call_id, parameter(ack.get("To"), "tag")))
        if call is None or call.invited is None or call.invited.request.cseq != ack.cseq:
            self.strays += 1
            return
        call.invited.acknowledge()
        if call.live and call.state is not CallState.TALKING:
            self._now_talking(call, now)
            if call.cancelling:
                self.end_call(call, now)

    def _invited(self, transaction: ServerTransaction, now: float) -> None:
        request, tag = transaction.request, self.token()
        call = Call(False, user_of(uri_in(request.get("From"))), request.call_id, tag, now)
        call.invited = transaction
        call.server = request.get("User-Agent")
        call.dialog = Dialog.of_callee(request, tag)
        self.calls[call.key] = call
        self.invited(call, now)

    def _request_in_call(self, call: Call, transaction: ServerTransaction, now: float) -> None:
        method = transaction.request.method
        if not call.live and method != "BYE":
            self.respond(transaction, 481, now)
        elif method == "INVITE":
            self._reinvited(call, transaction, now)
        elif method == "BYE":
            self.respond(transaction, 200, now)
            if call.invited is not None:
                call.invited.acknowledge()
            self._end(call, Ending.PEER_HUNG_UP, now)
        else:
            self.respond(transaction, 200, now)

    def _reinvited(self, call: Call, transaction: ServerTransaction, now: float) -> None:
        call.invited = transaction
        call.reinvites += 1
        if call.dialog is not None:
            call.dialog.target = uri_in(transaction.request.top("Contact")) or call.dialog.target
        self._answer_invite(call, 200, now, ("Contact", self.contact()), body=self._sdp())

    def _cancelled(self, cancel: ServerTransaction, now: float) -> None:
        invite = self.invite_transaction(cancel.request)
        self.respond(cancel, 481 if invite is None else 200, now)
        call = next((call for call in self.calls.values() if invite is not None and call.invited is invite), None)
        if call is not None:
            self.refuse(call, 487, now)

    def _unacknowledged(self, call: Call, now: float) -> None:
        """13.3.1.4: a 2xx that was never ACKed ends the call with a BYE."""
        if call.live and call.state is not CallState.TALKING:
            self._bye(call, now)
            self._end(call, Ending.NO_ACK, now)

    # Answers to our INVITE.

    def _call_answered(self, call: Call, response: Message | None, now: float) -> None:
        if response is None:
            self._end(call, Ending.CANCELLED if call.cancelling else Ending.UNANSWERED, now)
            return
        call.heard = max(call.heard, response.status)
        if response.status > 100 and not call.rang:
            call.rang = now
        call.server = response.get("Server") or response.get("User-Agent") or call.server
        if response.status < 200:
            self._call_proceeds(call, response.status, now)
        elif response.status < 300:
            self._call_accepted(call, response, now)
        elif call.live:
            call.status = response.status
            self._end(call, Ending.CANCELLED if call.cancelling else Ending.REFUSED, now)

    def _call_proceeds(self, call: Call, status: int, now: float) -> None:
        if call.cancelling:
            self._send_cancel(call, now)
        elif status > 100 and call.state is CallState.TRYING:
            call.state = CallState.RINGING
            self.ringing(call, now)

    def _call_accepted(self, call: Call, response: Message, now: float) -> None:
        if call.asking is None:
            return
        first = not call.status
        dialog = Dialog.of_caller(call.asking.transaction.request, response)
        if first:
            call.status, call.dialog = response.status, dialog
        again = self._ack(call, dialog, response)
        if call.dialog is not None and dialog.remote_tag != call.dialog.remote_tag and not again:
            self.doubles += 1
            self.ask(dialog.request("BYE", self.via()), now, _unheeded, dialog)
        elif first and call.live and not call.cancelling:
            self._now_talking(call, now)
        elif first:  # the 2xx crossed our CANCEL (9.1), or came after we gave up
            self._bye(call, now)
            self._end(call, Ending.CANCELLED, now)

    def _ack(self, call: Call, dialog: Dialog, response: Message) -> bool:
        """Acknowledge a 2xx; True when that was done before and its ACK is only said again."""
        key = (dialog.remote_tag, response.cseq)
        again = key in call.acks
        ack = dialog.request("ACK", self.via(), response.cseq)
        if not again:
            call.acks[key] = ack.encode()
        self.transmit(call.acks[key], self.next_hop(ack), again=again)
        return again

    def _in_dialog_answered(self, call: Call, response: Message | None, now: float) -> None:
        if response is None or call.dialog is None or not 200 <= response.status < 300:
            return
        if response.method == "INVITE":
            call.dialog.target = uri_in(response.top("Contact")) or call.dialog.target
            call.reinvites += not self._ack(call, call.dialog, response)

    # Small parts.

    def _now_talking(self, call: Call, now: float) -> None:
        call.state = CallState.TALKING
        call.answered = now
        self.talking(call, now)

    def _end(self, call: Call, ending: Ending, now: float) -> None:
        if not call.live:
            return
        call.state, call.ending, call.ended = CallState.ENDED, ending, now
        self.agenda.at(now + LIFETIME, lambda at: self._forget(call))
        self.ended(call, now)

    def _forget(self, call: Call) -> None:
        self.calls.pop(call.key, None)

    def _bye(self, call: Call, now: float) -> None:
        def answered(response: Message | None, at: float) -> None:
            call.bye = response.status if response is not None else 0

        if call.dialog is not None:
            call.bye = 0
            self.ask(call.dialog.request("BYE", self.via()), now, answered, call.dialog)

    def _cancel(self, call: Call, now: float) -> None:
        """9.1: a CANCEL waits for a provisional response."""
        if call.cancelling:
            return
        call.cancelling = True
        invite = call.asking.transaction if call.asking is not None else None
        if invite is not None and invite.provisional and not invite.final:
            self._send_cancel(call, now)

    def _send_cancel(self, call: Call, now: float) -> None:
        if call.asking is None or (call.asking.transaction.request.branch, "CANCEL") in self._clients:
            return
        transaction = call.asking.transaction
        invite = transaction.request
        cancel = Message(f"CANCEL {invite.uri} SIP/2.0", [("Via", invite.top("Via"))])
        cancel.headers += [("Route", route) for route in invite.all("Route")]
        cancel.headers += [("From", invite.get("From")), ("To", invite.get("To")), ("Call-ID", invite.call_id)]
        cancel.headers += [("CSeq", f"{invite.cseq} CANCEL"), ("Max-Forwards", "70")]
        self.send(cancel, transaction.destination, now, _unheeded)
        self.agenda.at(now + LIFETIME, lambda at: self._end(call, Ending.CANCELLED, at))

    def _answer_invite(self, call: Call, status: int, now: float, *headers: tuple[str, str], body: bytes = b"") -> None:
        if call.invited is not None:
            response = self._response(call.invited.request, status, call.local_tag, headers)
            if body:
                response.add("Content-Type", "application/sdp")
                response.body = body
            call.invited.respond(response, now)

    def _response(self, request: Message, status: int, tag: str, headers: tuple[tuple[str, str], ...]) -> Message:
        response = reply(request, status, REASONS.get(status, "Response"), tag)
        response.add("Server", self.product)
        response.headers += headers
        return response

    def _with_offer(self, invite: Message) -> None:
        invite.headers += [("Contact", self.contact()), ("Allow", ALLOW), ("User-Agent", self.product)]
        invite.add("Content-Type", "application/sdp")
        invite.body = self._sdp()

    def _sdp(self) -> bytes:
        """One G.711 stream; no media is ever sent, so any port will do."""
        host = self.says[0]
        family = "IP6" if ":" in host else "IP4"
        lines = ("v=0", f"o=- 1 1 IN {family} {host}", "s=-", f"c=IN {family} {host}", "t=0 0")
        return "\r\n".join((*lines, "m=audio 40000 RTP/AVP 0", "a=rtpmap:0 PCMU/8000", "")).encode()


def _unheeded(response: Message | None, now: float) -> None:
    """The answer to a BYE or CANCEL changes nothing here; the endpoint counts it."""
