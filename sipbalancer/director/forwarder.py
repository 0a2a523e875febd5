"""The way of every datagram. One datagram in, at most one out; never raises, never waits, reads no clock.

Invariants (tested and fuzzed):

1. Any bytes from any address: nothing raises; at most one server holds a client's transaction alive at a time.
2. What leaves differs from what came only in what the proxy owns: Via, Record-Route, Route, Path, Supported (REGISTER),
   Max-Forwards; the Request-URI where it named us; `clientheader` when set. Every other byte stays.
3. Choice is stable: retransmission, CANCEL and ACK reach the server and the branch of the first copy, until 32 s after
   the final response; an INVITE without one for 200 s, renewed by each provisional (Timer C).
4. Routing a response needs no memory.
5. Memory is bounded: every table has a limit and a counter when it refuses.
6. Nobody can use the balancer as an open relay or a reflector.

Our branch is magic cookie + transaction key (12) + server tag (4): the same server gives the same branch, with or
without memory, and two tries at different servers are told apart.
"""

from __future__ import annotations

import traceback

from sipbalancer.config.model import Nat, PersistenceKey
from sipbalancer.director import learn
from sipbalancer.director.answers import answer, is_for_us, is_keepalive, is_own_ack, takes_work
from sipbalancer.director.from_client import Decision, decide, transaction_key
from sipbalancer.director.from_server import Outward, decide_outward
from sipbalancer.director.keys import TRANSACTION_KEY
from sipbalancer.director.service import RealServer, VirtualService
from sipbalancer.director.state import State
from sipbalancer.director.transactions import Transaction
from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.aor import read_aor, tag
from sipbalancer.sip.compose import reply
from sipbalancer.sip.edit import Edit, cut_routes, forward_request, names_path, pop_via, replace_uri
from sipbalancer.sip.flow import Datagram, Flow, flow_of, pack_address
from sipbalancer.sip.grammar import MAGIC_COOKIE, METHODS, RECORD_ROUTED, RETURN_ADDRESS
from sipbalancer.sip.headers import read_message
from sipbalancer.sip.scan import RequestFacts, scan_request, scan_response
from sipbalancer.sip.uri import parameter, read_place

_BRANCH = len(MAGIC_COOKIE)
_DUE_TRANSACTIONS = 4096
_DUE_PINS = 4096
_DUE_BINDINGS = 256
"""What one call of `due` looks at: under a millisecond each, and more than a full load makes in 50 ms."""
_CACHED = 32768


class Forwarder:
    """See the module. The edge calls the four verbs; `explain` calls `decide` alone."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.outbox: list[Datagram] = []
        self._back: dict[bytes, Flow] = {}

    # The verbs of the edge.

    def datagram_received(self, data: bytes, flow_in: Flow, now: float) -> Datagram | None:
        """The hot verb."""
        service = self.state.services.get(flow_in[0])
        if service is None:
            return None
        try:
            if data.startswith(b"SIP/2.0 "):
                return self._response(service, data, flow_in, now)
            return self._request(service, data, flow_in, now)
        except MalformedMessage as error:  # the only place where bad input ends
            return self._malformed(service, data, flow_in, error.reason, now)
        except Exception:  # a bug of ours must cost one datagram, not the service; it is counted and shown
            self.state.internal_errors += 1
            self.state.last_error = traceback.format_exc()
            service.dropped["internal error"] += 1
            return None

    def refused(self, flow_out: Flow, now: float) -> None:
        """ICMP: nobody listens at this address."""
        service = self.state.services.get(flow_out[0])
        if service is not None:
            server = service.by_packed.get(flow_out[1])
            service.dropped["server refused" if server is not None else "client refused"] += 1
            if server is not None:
                server.refusals += 1

    def due(self, now: float) -> list[Datagram]:
        """The slow verb: the outbox, then what time has brought; bounded."""
        out, self.outbox = self.outbox, []
        for transaction in self.state.transactions.expire(now, _DUE_TRANSACTIONS):
            transaction.service.dropped["unanswered"] += 1
        self.state.pins.sweep(now, _DUE_PINS)
        self.state.recent_calls.sweep(now)
        self.state.provisional.sweep(now)
        self.state.moved.sweep(now)
        for bindings in self.state.bindings.values():
            bindings.sweep(now, _DUE_BINDINGS)
        return out

    # Requests.

    def decide(self, service: VirtualService, facts: RequestFacts, flow_in: Flow, now: float) -> Decision | Outward:
        """Where it would go and why; reads only."""
        server = service.source(flow_in[1])
        if server is not None and not (facts[1] == b"REGISTER" and flow_in[1] not in service.by_packed):
            outward = decide_outward(self.state, service, server, facts, flow_in, now)
            if outward is not None:
                return outward
        return decide(self.state, service, facts, flow_in, now)

    def _request(self, service: VirtualService, data: bytes, flow_in: Flow, now: float) -> Datagram | None:
        if data[:1] < b"A":  # no method begins so: keep-alives, STUN, line ends before a request (RFC 3261 7.5)
            if is_keepalive(data):
                service.dropped["keepalive"] += 1
                return None
            data = data.lstrip(b"\r\n")
        facts = scan_request(data)
        hops = facts[12]
        if facts[1] == b"OPTIONS" and is_for_us(service, facts):
            status = 200 if takes_work(service) else 503
            service.dropped["options to us"] += 1
            return self._answer(service, facts, flow_in, status, b"", now)
        if hops == 0:
            return self._refuse(service, facts, flow_in, 483, "max-forwards", now)
        decision = self.decide(service, facts, flow_in, now)
        if isinstance(decision, Outward):
            return self._to_client(service, decision, facts, flow_in, now)
        return self._to_server(service, decision, facts, flow_in, now)

    def _to_server(
        self, service: VirtualService, decision: Decision, facts: RequestFacts, flow_in: Flow, now: float
    ) -> Datagram | None:
        server = decision.server
        if server is None:
            service.chosen["none"] += 1
            return self._not_forwarded(service, decision, facts, flow_in, now)
        if decision.by != "transaction":
            said = self.state.transactions.answered.get(decision.key, now)
            if said is not None:
                return self._say_again(service, facts, flow_in, said, now)
        return self.commit(service, decision, facts, flow_in, now)

    def _say_again(
        self, service: VirtualService, facts: RequestFacts, flow_in: Flow, said: bytes, now: float
    ) -> Datagram | None:
        """A repeat of what we answered; a CANCEL of it comes too late (RFC 3261 9.2), an ACK ends here."""
        service.dropped["repeat of answered"] += 1
        if facts[1] == b"CANCEL":
            return self._answer(service, facts, flow_in, 481, b"", now)
        return None if facts[1] == b"ACK" else (said, self._way_back(service, facts, flow_in)[0])

    def commit(
        self, service: VirtualService, decision: Decision, facts: RequestFacts, flow_in: Flow, now: float
    ) -> Datagram:
        """Forward to the chosen server: remember the choice, count it, edit the bytes."""
        data, method, _, head, rport, via_end, _, _, _, _, _, _, hops, hops_start, hops_end, routes, _ = facts
        server, by, key = decision.server, decision.by, decision.key
        assert server is not None
        service.chosen[by] += 1
        server.requests[method if method in METHODS else b"OTHER"] += 1
        if rport >= 0:
            at, back, received = rport, flow_in, flow_in[2]
        else:
            back, at, received = self._way_back(service, facts, flow_in)
        if by != "transaction" and method != b"ACK":
            self._remember(service, decision, facts, back, now)
        top = b"%b%b%b\r\n" % (service.via, key, server.tag)
        if method in RECORD_ROUTED:
            top += self.state.route_line(b"Record-Route", service, server, back[1])
        elif method == b"REGISTER":
            top += self.state.route_line(b"Path", service, server, back[1])
            if not names_path(data, head, facts[16]):
                top += b"Supported: path\r\n"
        edits = cut_routes(routes, decision.cut) if decision.cut else None
        if service.client_header:
            edits = self._client_header(service, facts, flow_in, edits)
        return forward_request(data, head, top, at, received, hops, hops_start, hops_end, edits), server.flow

    def _remember(
        self, service: VirtualService, decision: Decision, facts: RequestFacts, back: Flow, now: float
    ) -> None:
        """The first copy of a request: its transaction, and the unconfirmed pins beside it."""
        data, method, _, _, _, _, _, _, call_id, _, _, to_value, *_ = facts
        server = decision.server
        assert server is not None
        state = self.state
        transaction = Transaction(decision.key, method, service, server, back, True, data, call_id, now)
        if method == b"REGISTER":
            transaction.contact = b"?"
            transaction.aor = decision.aor
            transaction.pin = decision.pin
            if not decision.aor or service.config.persistencekey is not PersistenceKey.AOR:
                transaction.aor = read_aor(to_value, service.hosts)
                transaction.pin = state.binding_key(service, transaction.aor)
            if state.pins.get(transaction.pin, now) != server.serial:
                state.provisional.put(transaction.aor + back[1], server.number, now)
        elif not tag(to_value):
            state.recent_calls.put(state.call_key(service, call_id), server.number, now)
        elif decision.token is not None and decision.token.client != back[1]:
            transaction.token = flow_of(service.leg, decision.token.client)
        learn.persist(state, service, server, decision.pin, now)
        state.transactions.begin(transaction)

    def _to_client(
        self, service: VirtualService, outward: Outward, facts: RequestFacts, flow_in: Flow, now: float
    ) -> Datagram | None:
        """Forward a server's request to a client's flow (design 4.3)."""
        data, method, uri, head, rport, via_end, _, _, call_id, _, _, _, hops, hops_start, hops_end, routes, _ = facts
        server = service.source(flow_in[1])
        if outward.client is None or server is None:
            service.chosen["none"] += 1
            return self._refuse(service, facts, flow_in, outward.refusal, outward.reason, now)
        if server.packed != flow_in[1]:
            flow_in = flow_of(service.leg, flow_in[1])
        service.chosen["client_" + outward.by] += 1
        if method != b"ACK" and outward.by != "transaction":
            transaction = Transaction(outward.key, method, service, server, outward.client, False, data, call_id, now)
            self.state.transactions.begin(transaction)
        at, received = (rport, flow_in[2]) if rport >= 0 else (via_end, b";rport" + flow_in[2])
        top = b"%b%b%b\r\n" % (service.via, outward.key, server.tag)
        if method in RECORD_ROUTED:
            top += self.state.route_line(b"Record-Route", service, server, outward.client[1])
        edits: list[Edit] = cut_routes(routes, outward.cut)
        if outward.uri and outward.uri != uri:
            edits.append(replace_uri(data, uri, outward.uri))
        out = forward_request(data, head, top, at, received, hops, hops_start, hops_end, edits or None)
        server.sent[method if method in METHODS else b"OTHER"] += 1
        return out, outward.client

    # Responses.

    def _response(self, service: VirtualService, data: bytes, flow_in: Flow, now: float) -> Datagram | None:
        """Pop our Via and send to the next one (RFC 3261 16.7, 18.2.2); learn in passing. Needs no memory."""
        status, sent_by, start, end, branch, next_start, next_end = scan_response(data)
        if sent_by != service.sent_by and read_place(sent_by) not in service.places:
            service.dropped["foreign via"] += 1
            return None
        if next_start < 0:
            service.dropped["response to us"] += 1
            return None
        back = self._return_flow(service, data, next_start, next_end)
        sender = service.source(flow_in[1])
        server = sender or service.source(back[1])
        if server is None:
            service.dropped["response from a stranger"] += 1
            return None
        server.responses[status // 100] += 1
        transaction = self.state.transactions.pending.get(branch[_BRANCH : _BRANCH + TRANSACTION_KEY])
        if transaction is not None and (
            transaction.inward is not (sender is not None) or not branch.endswith(transaction.server.tag)
        ):
            transaction = None  # not from the side that was asked, or of a try given up
        if status >= 200:
            self._learn(service, server, sender is not None, status, data, transaction, back, now)
        elif transaction is not None:
            learn.provisional(self.state, transaction, status, now)
        return pop_via(data, start, end), back

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
            learn.final(self.state, service, server, method, status, data, transaction, client, now)
        except MalformedMessage as error:
            service.dropped[f"not learned: {error.reason}"] += 1

    def _return_flow(self, service: VirtualService, data: bytes, start: int, end: int) -> Flow:
        """Where the next Via wants its response. The usual spelling, ours, is looked up whole."""
        match = RETURN_ADDRESS.search(data, start, end)
        if match is None:
            return _read_return(service, data[start:end])
        text = match[0] + service.salt
        flow = self._back.get(text)
        if flow is None:
            try:
                flow = flow_of(service.leg, pack_address(match[2].decode(), int(match[1])))
            except ValueError:
                raise MalformedMessage("via") from None
            if len(self._back) >= _CACHED:
                self._back = {}
            self._back[text] = flow
        return flow

    # What is not forwarded.

    def _not_forwarded(
        self, service: VirtualService, decision: Decision, facts: RequestFacts, flow_in: Flow, now: float
    ) -> Datagram | None:
        if decision.reason == "stray ack":
            own = is_own_ack(self.state, facts, flow_in) or self.state.transactions.answered.get(decision.key, now)
            service.dropped["ack to us" if own else "stray ack"] += 1
            return None
        if decision.reason == "foreign route":
            self._tell_foreign(service, facts)
        return self._refuse(service, facts, flow_in, decision.refusal, decision.reason, now)

    def _tell_foreign(self, service: VirtualService, facts: RequestFacts) -> None:
        uri = facts[15][0][0].decode("ascii", "replace")
        host = uri.split(":", 1)[-1].split("@")[-1].split(";", 1)[0]
        self.state.tell(
            f"{service.key}: a client's Route to {host} was refused (403); if that is a name of this balancer, "
            f"add  alias = {host}  to its section"
        )

    def _refuse(
        self, service: VirtualService, facts: RequestFacts, flow_in: Flow, status: int, reason: str, now: float
    ) -> Datagram | None:
        service.dropped[reason] += 1
        return self._answer(service, facts, flow_in, status, transaction_key(self.state, facts, flow_in), now)

    def _answer(
        self, service: VirtualService, facts: RequestFacts, flow_in: Flow, status: int, key: bytes, now: float
    ) -> Datagram | None:
        if facts[4] >= 0:
            back, received = flow_in, (facts[4], flow_in[2])
        else:
            back, at, text = self._way_back(service, facts, flow_in)
            received = (at, text)
        return answer(self.state, facts, flow_in, back, received, status, key, now)

    def _malformed(
        self, service: VirtualService, data: bytes, flow_in: Flow, reason: str, now: float
    ) -> Datagram | None:
        """Count it; say 400 where the request is whole enough to be answered (RFC 3261 21.4.1)."""
        service.dropped[f"malformed: {reason}"] += 1
        if data.startswith((b"SIP/2.0 ", b"ACK ")) or service.source(flow_in[1]) is not None:
            return None
        try:
            out = reply(data, 400, self.state.keys.to_tag(data[:64], b"", flow_in[1]))
        except MalformedMessage:
            return None
        return (out, flow_in) if len(out) <= len(data) and out.count(b"\r\nVia:") else None

    def _way_back(self, service: VirtualService, facts: RequestFacts, flow_in: Flow) -> tuple[Flow, int, bytes]:
        """(flow to answer to, where to write, what) for a top Via that does not ask for rport (RFC 3581, design 4.2).

        `nat = auto`: another address than it says is behind NAT and treated as if it had asked; the same address with
        another port listens where its Via says (old phones). `no`: always as the Via says. `force`: never.
        """
        if facts[4] >= 0:
            return flow_in, facts[4], flow_in[2]
        via_end, sent_by, nat = facts[5], facts[6], service.config.nat
        host, port = read_place(sent_by)
        address = flow_in[2].rpartition(b"=")[2]
        if nat is Nat.FORCE or (nat is Nat.AUTO and host.strip(b"[]") != address):
            return flow_in, via_end, b";rport" + flow_in[2]
        back = flow_of(flow_in[0], port.to_bytes(2, "big") + flow_in[1][2:])
        return back, via_end, b";received=" + address

    def _client_header(
        self, service: VirtualService, facts: RequestFacts, flow_in: Flow, edits: list[Edit] | None
    ) -> list[Edit]:
        """`clientheader`: the client's true address, and nobody else's word for it."""
        data, head = facts[0], facts[3]
        name = service.client_header
        address = flow_in[2].rpartition(b"=")[2]
        line = b"%b: %b\r\n" % (name, address)
        spoofed = [
            (header.line, header.next, b"") for header in read_message(data).headers if header.name == name.lower()
        ]
        return [*(edits or []), (head, head, line), *spoofed]


def _cseq_method(data: bytes) -> bytes:
    """The method of a response's CSeq; b"" when it cannot be read."""
    at = data.find(b"\nCSeq: ")
    if at >= 0:
        return data[at + 7 : data.find(b"\r\n", at)].partition(b" ")[2].strip()
    value = read_message(data).first(b"cseq") or b""
    return value.split()[-1] if value else b""


def _read_return(service: VirtualService, via: bytes) -> Flow:
    """received and rport of any spelling, else sent-by (18.2.2); maddr is never followed."""
    params = via[via.find(b";") :] if b";" in via else b""
    place = via.split(b";", 1)[0].split(None, 1)
    host, port = read_place(place[1] if len(place) > 1 else b"")
    received, rport = parameter(params, b"received"), parameter(params, b"rport")
    try:
        number = int(rport) if rport else port
        return flow_of(service.leg, pack_address((received or host).decode(), number))
    except ValueError:
        raise MalformedMessage("via") from None
