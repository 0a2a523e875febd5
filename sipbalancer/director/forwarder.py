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

from collections.abc import Callable

from sipbalancer.director import learn
from sipbalancer.director.admission import admits, hold_off
from sipbalancer.director.answers import (
    answer_malformed,
    answer_to,
    is_for_us,
    is_keepalive,
    is_own_ack,
    refuse,
    say_again,
    takes_work,
)
from sipbalancer.director.crossing import Answered, Moved
from sipbalancer.director.end_calls import EndCalls
from sipbalancer.director.from_client import Decision, decide
from sipbalancer.director.from_server import Outward, decide_outward
from sipbalancer.director.lines import NOBODY
from sipbalancer.director.own_routes import read_own_routes
from sipbalancer.director.repeats import final_key
from sipbalancer.director.responses import Responses
from sipbalancer.director.retries import Retries
from sipbalancer.director.service import VirtualService
from sipbalancer.director.state import State
from sipbalancer.director.to_client import commit_outward
from sipbalancer.director.to_server import commit
from sipbalancer.director.transactions import Transaction
from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.flow import Datagram, Flow
from sipbalancer.sip.scan import RequestFacts, scan_request

_FOREIGN_TOLD = 64
"""Hosts of foreign Routes that get a log line: strangers must not use up the lines of everything else."""
_DUE_TRANSACTIONS = 512
_DUE_PINS = 4096
_DUE_BINDINGS = 256
_DUE_REGISTERS = 64
"""What one call of `due` looks at: under a millisecond each, and more than a full load makes in 50 ms."""
_UNKNOWN = ("unknown contact", "not ours")
_OF_INVITE = (b"INVITE", b"ACK", b"CANCEL")


class Forwarder:
    """See the module. The edge calls the four verbs; `explain` calls `decide` alone."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.outbox: list[Datagram] = state.outbox
        self.retries = Retries(state)
        self._foreign_told = 0
        self.end_calls = EndCalls(state)
        self._responses = Responses(state, self.retries)
        self._sweeps: tuple[Callable[[float], None], ...] = (
            lambda now: state.pins.sweep(now, _DUE_PINS),
            *(table.sweep for table in state.recent),
        )

    # The verbs of the edge.

    def datagram_received(self, data: bytes, flow_in: Flow, now: float) -> Datagram | None:
        """The hot verb."""
        service = self.state.by_leg.get(flow_in[0])
        if service is None:
            return None
        try:
            if data.startswith(b"SIP/2.0 "):
                return self._responses.received(service, data, flow_in, now)
            return self._request(service, data, flow_in, now)
        except MalformedMessage as error:  # the only place where bad input ends
            return answer_malformed(self.state, service, data, flow_in, error.reason)
        except Exception:  # a bug of ours must cost one datagram, not the service; it is counted and shown
            self.state.failed(service)
            return None

    def refused(self, flow_out: Flow, now: float) -> None:
        """ICMP: nobody listens at this address."""
        service = self.state.by_leg.get(flow_out[0])
        if service is not None:
            try:
                self._refused(service, flow_out, now)
            except Exception:  # as above: one refusal, not the loop
                self.state.failed(service)

    def due(self, now: float) -> list[Datagram]:
        """The slow verb: the outbox, then what time has brought; bounded, and a fault of one part is that part's."""
        for part in (self._say_again, self.retries.due, self._admit, self.end_calls.due, self._expire, *self._sweeps):
            try:
                part(now)
            except Exception:
                self.state.failed()
        for leg, service in self.state.services.items():
            try:
                service.measure()
                self.state.bindings[leg].sweep(now, _DUE_BINDINGS)
            except Exception:
                self.state.failed(service)
        out = self.outbox[:]
        self.outbox.clear()
        return out

    def _refused(self, service: VirtualService, flow_out: Flow, now: float) -> None:
        server = service.by_packed.get(flow_out[1])
        service.dropped["server refused" if server is not None else "client refused"] += 1
        if server is not None:
            server.refusals += 1
            if server.health.evidence.refusal(now):
                self.state.suspects[server.health] = None

    def _say_again(self, now: float) -> None:
        self.outbox.extend(self.state.acks.due(now))
        self.outbox.extend(self.state.repeats.due(now))

    def _admit(self, now: float) -> None:
        """`registerrate`: those whose turn has come, as if they came now."""
        lines = self.state.lines
        for number in lines.waiting():
            for _ in range(_DUE_REGISTERS):
                turn = lines.next(self.state.servers[number], now)
                if turn is None:
                    break
                lines.turn, held = turn
                out = self.datagram_received(held.data, held.flow, now)
                lines.turn = NOBODY
                if out is not None:
                    self.outbox.append(out)

    def _expire(self, now: float) -> None:
        for transaction in self.state.transactions.expire(now, _DUE_TRANSACTIONS):
            try:
                self._unanswered(transaction, now)
            except Exception:
                self.state.failed(transaction.service)

    def _unanswered(self, transaction: Transaction, now: float) -> None:
        transaction.service.dropped["unanswered"] += 1
        if transaction.method == b"BYE" and learn.is_party(
            self.state, transaction
        ):  # whoever hung up is gone, whatever the other side knows
            learn.call_ends(self.state, transaction.service, transaction.server, b"", transaction, now)

    def heard_elsewhere(self, answered: list[Answered], taken: list[bytes], moved: list[Moved], now: float) -> None:
        """One of several workers: what came to another and may be waited for here (`crossing`)."""
        for each in answered:
            try:
                self._responses.answered_elsewhere(each, now)
            except Exception:  # as above
                self.state.failed()
        for key in taken:
            self.state.repeats.end(key)
        for move in moved:
            self.state.moved.put(move.key, move.client, now)

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
        if flow_in[0] != service.leg and service.source(flow_in[1]) is None:
            service.dropped["stranger at a server leg"] += 1
            return None
        facts = scan_request(data)
        hops = facts[12]
        if facts[1] == b"OPTIONS" and is_for_us(service, facts):
            status = 200 if takes_work(service) else 503
            service.dropped["options to us"] += 1
            return answer_to(self.state, service, facts, flow_in, status, b"", now)
        if hops == 0:
            return refuse(self.state, service, facts, flow_in, 483, "max-forwards", now)
        packed = flow_in[1]
        if service.by_packed.get(packed) is None and service.by_address.get(packed[2:]) is None:
            decision: Decision | Outward = decide(self.state, service, facts, flow_in, now)
        else:
            decision = self.decide(service, facts, flow_in, now)
        if isinstance(decision, Outward):
            return self._to_client(service, decision, facts, flow_in, now)
        return self._to_server(service, decision, facts, flow_in, now)

    def _to_server(
        self, service: VirtualService, decision: Decision, facts: RequestFacts, flow_in: Flow, now: float
    ) -> Datagram | None:
        if decision.by == "transaction":
            return self._again(service, decision, facts, flow_in, now)
        if decision.server is not None or decision.reason == "no server":
            answered = self.state.transactions.answered
            said = answered.get(decision.key, now) if now < answered.until else None
            if said is not None:
                return say_again(self.state, service, facts, flow_in, said, decision.key, now)
        if decision.server is None:
            service.chosen["none"] += 1
            return self._not_forwarded(service, decision, facts, flow_in, now)
        if (
            service.config.registerrate
            and facts[1] == b"REGISTER"
            and not admits(self.state, service, decision, facts, now)
        ):
            return hold_off(self.state, service, decision, facts, flow_in, now)
        out, transaction = commit(self.state, service, decision, facts, flow_in, now)
        if transaction is not None:
            self.retries.watch(transaction, out[0], now)
        elif now < self.state.acks.until:
            self._acknowledged(service, True, facts, out, now)
        return out

    def _acknowledged(
        self, service: VirtualService, inward: bool, facts: RequestFacts, out: Datagram, now: float
    ) -> None:
        """The ACK of a 2xx leaves, and some 2xx came again of late: of this call?"""
        key = self.state.ack_key(service, inward, facts[8], int(facts[9]), facts[11])
        if self.state.acks.passed(key, out, now):
            service.chosen["repeat"] += 1

    def _again(
        self, service: VirtualService, decision: Decision, facts: RequestFacts, flow_in: Flow, now: float
    ) -> Datagram | None:
        """A copy, CANCEL or ACK of a request we know: the same server and branch, unless we take care of it."""
        transaction = self.state.transactions.pending.get(decision.key)
        if transaction is not None:
            method = facts[1]
            if self.retries.absorb(transaction, method):
                service.dropped["repeat absorbed"] += 1
                return None
            if method == b"CANCEL" and transaction.method == b"INVITE" and self.retries.cancelled(transaction, now):
                return answer_to(self.state, service, facts, flow_in, 200, b"", now, proven=True)
        # Its final was lost behind us: the next may be before us.
        anew = transaction is None and facts[1] not in _OF_INVITE
        if anew and facts[1] == b"REGISTER" and service.config.registerrate:
            if not admits(self.state, service, decision, facts, now):
                return hold_off(self.state, service, decision, facts, flow_in, now)
        out, begun = commit(self.state, service, decision, facts, flow_in, now, anew=anew)
        if begun is not None:
            self.retries.watch(begun, out[0], now)
        return out

    def _to_client(
        self, service: VirtualService, outward: Outward, facts: RequestFacts, flow_in: Flow, now: float
    ) -> Datagram | None:
        server = service.source(flow_in[1])
        if outward.client is None or server is None:
            if outward.reason in _UNKNOWN and facts[1] != b"ACK" and self.state.may_be_known(outward.key, now):
                service.dropped["contact not known yet"] += 1
                return None
            service.chosen["none"] += 1
            return refuse(self.state, service, facts, flow_in, outward.refusal, outward.reason, now)
        out = commit_outward(self.state, service, server, outward, outward.client, facts, flow_in, now)
        if facts[1] == b"ACK" and now < self.state.acks.until and outward.by != "transaction":
            self._acknowledged(service, False, facts, out, now)
        return out

    def _not_forwarded(
        self, service: VirtualService, decision: Decision, facts: RequestFacts, flow_in: Flow, now: float
    ) -> Datagram | None:
        if decision.reason == "stray ack":
            self.state.repeats.end(final_key(decision.key))
            own = is_own_ack(self.state, facts, flow_in) or self.state.transactions.answered.get(decision.key, now)
            service.dropped["ack to us" if own else "stray ack"] += 1
            return None
        if decision.reason == "foreign route":
            self._tell_foreign(service, facts)
        return refuse(self.state, service, facts, flow_in, decision.refusal, decision.reason, now)

    def _tell_foreign(self, service: VirtualService, facts: RequestFacts) -> None:
        if self._foreign_told >= _FOREIGN_TOLD:
            return
        uri = read_own_routes(self.state, service, facts[15]).foreign.decode("ascii", "replace")
        host = "".join(filter(str.isprintable, uri.split(":", 1)[-1].split("@")[-1].split(";", 1)[0]))[:100]
        self._foreign_told += self.state.tell(
            f"{service.key}: a client's Route to {host} was refused (403); if that is a name of this balancer, "
            f"add  alias = {host}  to its section"
        )
