"""A request on its way to the chosen server: what is remembered, and the bytes as they leave (design 4.2)."""

from __future__ import annotations

from sipbalancer.config.model import PersistenceKey
from sipbalancer.director import learn
from sipbalancer.director.answers import way_back
from sipbalancer.director.from_client import Decision, persistence_pin
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.service import VirtualService
from sipbalancer.director.state import State
from sipbalancer.director.transactions import Transaction
from sipbalancer.director.verdict import Verdict
from sipbalancer.sip.aor import read_aor, tag
from sipbalancer.sip.edit import Edit, cut_routes, forward_request, names_path
from sipbalancer.sip.flow import Datagram, Flow, flow_of
from sipbalancer.sip.grammar import METHODS, RECORD_ROUTED
from sipbalancer.sip.headers import read_message
from sipbalancer.sip.scan import RequestFacts


def commit(
    state: State,
    service: VirtualService,
    decision: Decision,
    facts: RequestFacts,
    flow_in: Flow,
    now: float,
    *,
    anew: bool = False,
) -> tuple[Datagram, Transaction | None]:
    """Forward to the chosen server: count it, remember the choice, edit the bytes. The transaction of a first copy.

    `anew`: a copy of what has ended begins another.
    """
    method, server, by = facts[1], decision.server, decision.by
    assert server is not None
    service.chosen[by] += 1
    server.requests[method if method in METHODS else b"OTHER"] += 1
    back, at, received = (flow_in, facts[4], flow_in[2]) if facts[4] >= 0 else way_back(service, facts, flow_in)
    transaction = None
    if (by != "transaction" or anew) and method != b"ACK":
        transaction = remember(state, service, decision, facts, flow_in, back, now)
    out = edit(state, service, server, decision.key, decision.cut, facts, flow_in, back, at, received)
    return (out, server.flow), transaction


def edit(
    state: State,
    service: VirtualService,
    server: RealServer,
    key: bytes,
    cut: int,
    facts: RequestFacts,
    flow_in: Flow,
    back: Flow,
    at: int,
    received: bytes,
) -> bytes:
    """The client's bytes as this server gets them; another try edits them anew. `back`: where answers go."""
    data, method, _, head, _, _, _, _, _, _, _, _, hops, hops_start, hops_end, routes, end = facts
    top = b"%b%b%b\r\n" % (service.server_via, key, server.tag)
    if method in RECORD_ROUTED:
        top += state.route_line(b"Record-Route", service, server, back[1])
    elif method == b"REGISTER":
        top += state.route_line(b"Path", service, server, back[1])
        if not names_path(data, head, end):
            top += b"Supported: path\r\n"
    edits = cut_routes(routes, cut) if cut else None
    if service.client_header:
        edits = client_header(service, facts, flow_in, edits)
    return forward_request(data, head, top, at, received, hops, hops_start, hops_end, edits)


def remember(
    state: State,
    service: VirtualService,
    decision: Decision,
    facts: RequestFacts,
    flow_in: Flow,
    back: Flow,
    now: float,
) -> Transaction:
    """The first copy of a request: its transaction, and the unconfirmed pins beside it."""
    data, method = facts[0], facts[1]
    server, by, key, cut, _, _, aor, pin, token, in_dialog, call = decision
    assert server is not None
    by_aor = service.config.persistencekey is PersistenceKey.AOR
    transaction = Transaction(key, method, service, server, back, flow_in, True, data, facts[8], now)
    if cut:
        transaction.cut = cut
    if method == b"REGISTER":
        if not aor or not by_aor:
            aor = read_aor(facts[11], service.hosts)
            pin = state.binding_key(service, aor)
        transaction.aor = aor
        transaction.pin = pin
        if by != "binding":
            transaction.provisional_pin = state.provisional.put(pin ^ hash(back[1]), server.number, now)
    elif not in_dialog:
        transaction.call_key = call = call or state.call_key(service, facts[8])
        state.recent_calls.put(call, server.number, now)
    else:
        transaction.call_key = call
        transaction.in_dialog = True
        if token is not None:
            transaction.sealed = True
            if token.client != back[1] and tag(facts[10]):
                transaction.token = flow_of(service.leg, token.client)
    if by == "binding" and server not in service.taking:
        transaction.stays = service.config.quiescent and server.verdict is Verdict.DOWN
    if not by_aor:
        pin = decision.pin or persistence_pin(state, service, facts, flow_in)
        learn.persist(state, service, server, transaction, pin, by, now)
    state.transactions.begin(transaction)
    return transaction


def client_header(service: VirtualService, facts: RequestFacts, flow_in: Flow, edits: list[Edit] | None) -> list[Edit]:
    """`clientheader`: the client's true address, and nobody else's word for it."""
    data, head = facts[0], facts[3]
    name = service.client_header
    address = flow_in[2].rpartition(b"=")[2]
    line = b"%b: %b\r\n" % (name, address)
    spoofed = [(header.line, header.next, b"") for header in read_message(data).headers if header.name == name.lower()]
    return [*(edits or []), (head, head, line), *spoofed]
