"""A response: pop our Via, send to the next one, learn in passing (RFC 3261 16.7, 18.2.2; design 4.4).

Routing needs no memory (invariant 4): all of it is in the message. The transaction, where we still have it, only says
what was asked.
"""

from __future__ import annotations

from zlib import crc32

from sipbalancer.director import learn
from sipbalancer.director.crossing import Answered, was_asked
from sipbalancer.director.given_up import cancel, clean_up
from sipbalancer.director.keys import TRANSACTION_KEY
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.repeats import request_key
from sipbalancer.director.retries import Retries
from sipbalancer.director.service import VirtualService
from sipbalancer.director.state import State
from sipbalancer.director.transactions import Transaction
from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.compose import cseq_number
from sipbalancer.sip.edit import pop_via
from sipbalancer.sip.expires import lower_expires, spread
from sipbalancer.sip.flow import Datagram, Flow, flow_of, pack_address
from sipbalancer.sip.grammar import MAGIC_COOKIE, RETURN_ADDRESS
from sipbalancer.sip.headers import read_message
from sipbalancer.sip.scan import read_via, scan_response
from sipbalancer.sip.uri import parameter, read_place

_BRANCH = len(MAGIC_COOKIE)
_SEMICOLON = 0x3B
_TEACHING = (b"INVITE", b"UPDATE", b"BYE")


class Responses:
    """Takes every response."""

    def __init__(self, state: State, retries: Retries) -> None:
        self._state = state
        self._retries = retries

    def received(self, service: VirtualService, data: bytes, flow_in: Flow, now: float) -> Datagram | None:
        """Pop our Via and send to the next one (RFC 3261 16.7, 18.2.2); learn in passing. Needs no memory."""
        if flow_in[0] != service.leg:  # clients must not be led to a leg that is for servers (RFC 3261 16.7 step 8)
            data = data.replace(service.rewritten, service.written)
        status, sent_by, start, end, branch, next_start, next_end = scan_response(data)
        if sent_by not in service.sent_bys and not service.was_ours(read_place(sent_by)):
            service.dropped["foreign via"] += 1
            return None
        if next_start < 0:
            self._to_us(service, data, status, branch)
            return None
        key = branch[_BRANCH : _BRANCH + TRANSACTION_KEY]
        transaction = self._state.transactions.pending.get(key)
        if transaction is not None and says_way_back(data, next_start, next_end, transaction):
            back = transaction.client
        else:
            back = self._return_flow(service, data, next_start, next_end)
        sender = service.by_packed.get(flow_in[1]) or service.source(flow_in[1])
        server = sender or service.by_packed.get(back[1]) or self._odd_port(service, back, key, now)
        crossed = None
        if self._state.crossings is not None and sender is None:
            crossed = self._crossed(service, data, back, branch, key, data[next_start:next_end], now)
            server = server or crossed
        if server is None:
            service.dropped["response from a stranger"] += 1
            return None
        server.responses[status // 100] += 1
        if transaction is not None and (transaction.inward is not (sender is not None)):
            transaction = None  # not from the side that was asked
        if sender is not None:
            sender.health.evidence.answered(transaction is not None and transaction.in_dialog, now)
        if crossed is not None and transaction is None:
            self._learn_crossed(service, crossed, key, status, data, flow_in, now)
            return pop_via(data, start, end), back
        usual = transaction is not None and not transaction.cancelled and branch.endswith(transaction.server.tag)
        if not usual and self._is_given_up(transaction, key, branch, now):
            self._clean_up(key, branch, status, data, now)
            return None
        if status < 200:
            if transaction is not None:
                learn.provisional(self._state, transaction, status, now)
        elif (
            status == 503
            and transaction is not None
            and sender is not None
            and self._kept(transaction, (pop_via(data, start, end), back), now)
        ):
            return None
        elif (
            transaction is None
            or status >= 300
            or transaction.method != b"REGISTER"
            or service.config.maxexpires
            or not learn.refreshed(self._state, service, transaction, data, now)
        ):
            if transaction is None and status < 300 and _cseq_method(data) == b"INVITE":
                self._said_again(service, sender is not None, key, (pop_via(data, start, end), back), now)
            self._learn(service, server, sender is not None, status, data, transaction, back, now)
            if service.config.maxexpires and status < 300 and sender is not None and _cseq_method(data) == b"REGISTER":
                return self._shorter(service, pop_via(data, start, end)), back
        return data[:start] + data[end:], back

    def _odd_port(self, service: VirtualService, back: Flow, key: bytes, now: float) -> RealServer | None:
        """A server that asked from another port than its own: only for what it did ask, or anybody could reach any port
        of a server's host through us."""
        transactions = self._state.transactions
        asked = key in transactions.pending or transactions.ended.get(key, now) is not None
        return service.source(back[1]) if asked else None

    def _to_us(self, service: VirtualService, data: bytes, status: int, branch: bytes) -> None:
        """No Via is left below ours: an answer to a CANCEL or BYE of our own, or of another worker's."""
        key = request_key(_cseq_method(data), branch)
        ours = status >= 200 and self._state.repeats.end(key)
        if self._state.crossings is not None and status >= 200 and not ours:
            self._state.crossings.note_taken(key)
        service.dropped["answer to us" if ours else "response to us"] += 1

    # One of several workers: a phone's answer to a server that asked by another.

    def _crossed(
        self, service: VirtualService, data: bytes, back: Flow, branch: bytes, key: bytes, via: bytes, now: float
    ) -> RealServer | None:
        """The server whose request this answers, when another worker forwarded it."""
        transactions = self._state.transactions
        server = service.source(back[1])
        if server is None or key in transactions.pending or transactions.given_up.get(key, now) is not None:
            return None
        if not branch.endswith(server.tag):
            return None
        return server if was_asked(self._state.keys, service, key, data, via, back[1][2:]) else None

    def _learn_crossed(
        self,
        service: VirtualService,
        server: RealServer,
        key: bytes,
        status: int,
        data: bytes,
        client: Flow,
        now: float,
    ) -> None:
        """Pins are everybody's, so what it teaches is learned here; the rest is told."""
        method = _cseq_method(data)
        if method == b"CANCEL" or self._state.crossings is None:
            return  # shares the INVITE's branch and says nothing of the INVITE
        if status >= 200 and method in _TEACHING:
            if method == b"INVITE" and status < 300:
                learn.call_renewed(self._state, service, server, data, None, now)
            self._learn(service, server, True, status, data, None, client, now)
        if status >= 200 or method == b"INVITE":
            whole = data if method == b"INVITE" and status >= 200 else b""
            self._state.crossings.note_answer(key, status, whole)

    def answered_elsewhere(self, answered: Answered, now: float) -> None:
        """An answer that came to another worker: if the transaction is ours, it goes on as if it had come here."""
        key, status, data = answered
        transactions = self._state.transactions
        held = transactions.pending.get(key)
        tried = held or transactions.given_up.get(key, now)
        if tried is None or tried.inward:
            return
        if held is None or held.cancelled:
            if data:
                self._clean_up(key, scan_response(data)[4], status, data, now)
            elif status < 200 and held is not None:
                cancel(self._state, held, held.server, now)
        elif status < 200:
            learn.provisional(self._state, held, status, now)
        else:
            if data and status < 300 and held.service.config.endcalls:
                self._state.dialogs.learn(self._state.call_key(held.service, held.call_id), held, data)
            transactions.end(held, now)

    def _shorter(self, service: VirtualService, data: bytes) -> bytes:
        """`maxexpires`, spread by the phone's Call-ID so that a repeated 2xx is equal."""
        call_id = read_message(data).first(b"call-id") or b""
        return lower_expires(data, spread(service.config.maxexpires, crc32(call_id)))

    # Tries that were given up, and 503.

    def _is_given_up(self, transaction: Transaction | None, key: bytes, branch: bytes, now: float) -> bool:
        """Whether this answers a try that is another's now, or a request that we ended ourselves."""
        if transaction is not None:
            current = branch.endswith(transaction.server.tag)
            return not current or (transaction.cancelled and not transaction.inward)
        ended = self._state.transactions.given_up.get(key, now)
        return ended is not None and (ended.by_us or not branch.endswith(ended.server.tag))

    def _clean_up(self, key: bytes, branch: bytes, status: int, data: bytes, now: float) -> None:
        transactions = self._state.transactions
        transaction = transactions.pending.get(key) or transactions.given_up.get(key, now)
        if transaction is None:
            return
        method = _cseq_method(data)
        for server in (transaction.server, *transaction.tried):
            if branch.endswith(server.tag):
                clean_up(self._state, transaction, server, method, status, data, now)
        if not transaction.inward and status >= 200 and method == b"INVITE" and key in transactions.pending:
            transactions.end(transaction, now)

    def _kept(self, transaction: Transaction, held: Datagram, now: float) -> bool:
        if transaction.method == b"INVITE" and _cseq_method(held[0]) != b"INVITE":
            return False
        speaks = held[0].find(b"\nRetry-After:") >= 0
        return self._retries.unavailable(transaction, held, speaks, now)

    def _said_again(self, service: VirtualService, from_server: bool, key: bytes, popped: Datagram, now: float) -> None:
        """A 2xx to an INVITE that has ended: its ACK was lost, or (a client's) it may not have reached the server."""
        state = self._state
        if not from_server and state.transactions.ended.get(key, now) is None:
            return  # anybody may say so
        try:
            message = read_message(popped[0])
            number = cseq_number(message)
        except MalformedMessage:
            return
        call_id, to_value = message.first(b"call-id") or b"", message.first(b"to") or b""
        ack = state.acks.missing(state.ack_key(service, from_server, call_id, number, to_value), now)
        if ack is not None:
            state.outbox.append(ack)
            service.chosen["repeat"] += 2
        elif not from_server and state.acks.twice(popped, now):
            service.chosen["repeat"] += 1

    def _learn(
        self,
        service: VirtualService,
        server: RealServer,
        from_server: bool,
        status: int,
        data: bytes,
        transaction: Transaction | None,
        back: Flow,
        now: float,
    ) -> None:
        """A final: pins are made by servers' answers, and by a client's only where we know what was asked."""
        if transaction is None:
            if not from_server or status >= 300:
                return
            method, client = _cseq_method(data), back
        else:
            method, client = transaction.method, transaction.client
            if method == b"INVITE" and _cseq_method(data) == b"CANCEL":
                return  # shares the INVITE's branch and says nothing of the INVITE
        try:
            # Where we know what was asked, we know whom: a client could name another server in its answer's Via.
            server = transaction.server if transaction is not None else server
            learn.final(self._state, service, server, method, status, data, transaction, client, now)
        except MalformedMessage as error:
            service.dropped[f"not learned: {error.reason}"] += 1

    def _return_flow(self, service: VirtualService, data: bytes, start: int, end: int) -> Flow:
        """Where the next Via wants its response. The usual spelling, ours, is looked up whole."""
        match = RETURN_ADDRESS.search(data, start, end)
        if match is None:
            return _read_return(service, data[start:end])
        flow = service.ways_back.get(match[0]) or service.ways_back.again(match[0])
        if flow is None:
            try:
                flow = flow_of(service.leg, pack_address(match[2].decode(), int(match[1])))
            except ValueError:
                raise MalformedMessage("via") from None
            service.ways_back.keep(match[0], flow)
        return flow


def says_way_back(data: bytes, start: int, end: int, transaction: Transaction) -> bool:
    """Whether the Via data[start:end] asks for the flow we know the request came on: what `_return_flow` would read."""
    asked = b";rport" + transaction.client[2]
    at = data.find(asked, start, end) + len(asked)
    return at >= start + len(asked) and (at == end or data[at] == _SEMICOLON) and transaction.inward


def _cseq_method(data: bytes) -> bytes:
    """The method of a response's CSeq; b"" when it cannot be read."""
    at = data.find(b"\nCSeq: ")
    if at >= 0:
        return data[at + 7 :].partition(b"\r\n")[0].partition(b" ")[2].strip()
    value = read_message(data).first(b"cseq") or b""
    return value.split()[-1] if value else b""


def _read_return(service: VirtualService, via: bytes) -> Flow:
    """received and rport of any spelling, else sent-by (18.2.2); maddr is never followed."""
    sent_by, params = read_via(via)
    host, port = read_place(sent_by)
    received, rport = parameter(params, b"received"), parameter(params, b"rport")
    try:
        number = int(rport) if rport else port
        return flow_of(service.leg, pack_address((received or host).decode(), number))
    except ValueError:
        raise MalformedMessage("via") from None
