"""A server's request on its way to a client's flow (design 4.3): what is remembered, and the bytes as they leave."""

from __future__ import annotations

from sipbalancer.director.from_server import Outward
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.service import VirtualService
from sipbalancer.director.state import State
from sipbalancer.director.transactions import Transaction
from sipbalancer.sip.aor import tag
from sipbalancer.sip.edit import Edit, cut_routes, forward_request, replace_uri
from sipbalancer.sip.flow import Datagram, Flow
from sipbalancer.sip.grammar import METHODS, RECORD_ROUTED
from sipbalancer.sip.scan import RequestFacts


def commit_outward(
    state: State,
    service: VirtualService,
    server: RealServer,
    outward: Outward,
    client: Flow,
    facts: RequestFacts,
    flow_in: Flow,
    now: float,
) -> Datagram:
    """Forward to the client's flow; Via and Record-Route name the server the request came from."""
    data, method, uri, head, rport, via_end, _, _, call_id, _, _, to_value, hops, hops_start, hops_end, routes, _ = (
        facts
    )
    service.chosen["client_" + outward.by] += 1
    server.health.evidence.own = now
    server.sent[method if method in METHODS else b"OTHER"] += 1
    if method != b"ACK" and outward.by != "transaction":
        transaction = Transaction(outward.key, method, service, server, client, flow_in, False, data, call_id, now)
        transaction.in_dialog = bool(tag(to_value))
        if outward.uri:
            transaction.uri = outward.uri
        if transaction.in_dialog and service.config.endcalls:
            state.dialogs.seen(state.call_key(service, call_id), data)
        state.transactions.begin(transaction)
    at, received = (rport, flow_in[2]) if rport >= 0 else (via_end, b";rport" + flow_in[2])
    top = b"%b%b%b\r\n" % (service.via, outward.key, server.tag)
    if method in RECORD_ROUTED:
        top += state.route_line(b"Record-Route", service, server, client[1])
    edits: list[Edit] = cut_routes(routes, outward.cut)
    if outward.uri and outward.uri != uri:
        edits.append(replace_uri(data, uri, outward.uri))
    out = forward_request(data, head, top, at, received, hops, hops_start, hops_end, edits or None)
    return out, client
