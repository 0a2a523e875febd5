"""Answers of our own (design 4.5): what is not forwarded and yet deserves a word. Never longer than the request.

An ACK to one of them ends here, by the To tag; a transaction we answered stays answered for 32 s.
"""

from __future__ import annotations

from sipbalancer.config.model import Nat
from sipbalancer.director.from_client import transaction_key
from sipbalancer.director.repeats import final_key
from sipbalancer.director.service import VirtualService
from sipbalancer.director.state import State
from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.aor import tag
from sipbalancer.sip.compose import reply
from sipbalancer.sip.flow import Datagram, Flow, flow_of
from sipbalancer.sip.scan import RequestFacts
from sipbalancer.sip.uri import read_place, read_uri

KEPT = 4096
"""Octets of an answer that is kept for repeats; a longer one is made anew, so that strangers cannot fill the memory."""
NO_BODY = b"Content-Length: 0\r\n\r\n"
RETRY_AFTER = 5
RETRY_SPREAD = 10
"""Seconds: a 503 of ours asks for 5 to 14, spread by the keyed To tag so that phones do not return together."""


def answer(
    state: State,
    service: VirtualService,
    facts: RequestFacts,
    flow: Flow,
    back: Flow,
    received: tuple[int, bytes],
    status: int,
    key: bytes,
    now: float,
    *,
    proven: bool = False,
) -> Datagram | None:
    """The datagram for the client, remembered for its repeats (`key` b"": not); None for an ACK, or an amplifier.

    `proven`: a server has this transaction, or had it: the answer may be longer than the request, as its own would be.
    """
    data, method, _, _, _, _, _, _, call_id, cseq, *_ = facts
    if method == b"ACK":
        return None
    at, text = received
    to_tag = state.keys.to_tag(call_id, cseq, flow[1][2:])
    extra = b"Retry-After: %d\r\n" % (RETRY_AFTER + to_tag[0] % RETRY_SPREAD) if status == 503 else b""
    try:
        out = reply(data[:at] + text + data[at:], status, to_tag, extra)
    except MalformedMessage:
        return None
    if len(out) > len(data) and not proven and service.source(flow[1]) is None:
        out = out.removesuffix(NO_BODY) + b"\r\n"  # a datagram can do without (RFC 3261 18.3), and a CANCEL is short
        if len(out) > len(data):
            return None
    if key and method != b"CANCEL" and len(out) <= KEPT:
        state.transactions.answered.put(key, out, now)
    return out, back


def is_own_ack(state: State, facts: RequestFacts, flow: Flow) -> bool:
    """Whether an ACK answers a final of ours: its To tag is our keyed hash."""
    _, _, _, _, _, _, _, _, call_id, cseq, _, to_value, *_ = facts
    return tag(to_value) == state.keys.to_tag(call_id, cseq, flow[1][2:])


def is_for_us(service: VirtualService, facts: RequestFacts) -> bool:
    """OPTIONS to a URI of ours without a user, outside a dialog: a question to the balancer itself."""
    _, method, uri, _, _, _, _, _, _, _, _, to_value, _, _, _, routes, _ = facts
    if method != b"OPTIONS" or tag(to_value):
        return False
    try:
        read = read_uri(uri)
        return (
            not read.user and service.is_ours(read.place) and all(service.is_ours(read_uri(r[0]).place) for r in routes)
        )
    except MalformedMessage:
        return False


def takes_work(service: VirtualService) -> bool:
    """Whether anybody would take a new request."""
    return bool(service.eligible or service.resort) or service.fallback is not None


def is_keepalive(data: bytes) -> bool:
    """CRLF keep-alives (RFC 5626 3.5.1) and STUN (RFC 8489 5): taken silently."""
    return not data.strip(b"\r\n\0 ") or (data[0] < 4 and data[4:8] == b"\x21\x12\xa4\x42")


def answer_to(
    state: State,
    service: VirtualService,
    facts: RequestFacts,
    flow_in: Flow,
    status: int,
    key: bytes,
    now: float,
    *,
    proven: bool = False,
) -> Datagram | None:
    """`answer` with the way back worked out."""
    back, at, text = way_back(service, facts, flow_in)
    return answer(state, service, facts, flow_in, back, (at, text), status, key, now, proven=proven)


def refuse(
    state: State, service: VirtualService, facts: RequestFacts, flow_in: Flow, status: int, reason: str, now: float
) -> Datagram | None:
    """Count by reason and answer; repeats get the same answer."""
    service.dropped[reason] += 1
    return answer_to(state, service, facts, flow_in, status, transaction_key(state, facts, flow_in), now)


def say_again(
    state: State, service: VirtualService, facts: RequestFacts, flow_in: Flow, said: bytes, key: bytes, now: float
) -> Datagram | None:
    """A repeat of what we answered; a CANCEL of it changes nothing and gets its 200 (9.2), an ACK ends here."""
    service.dropped["repeat of answered"] += 1
    proven = state.transactions.given_up.get(key, now) is not None
    if facts[1] == b"CANCEL":
        return answer_to(state, service, facts, flow_in, 200, b"", now, proven=proven)
    if facts[1] == b"ACK":
        state.repeats.end(final_key(key))
        return None
    if len(said) > len(facts[0]) and not proven and service.source(flow_in[1]) is None:
        return None
    return said, way_back(service, facts, flow_in)[0]


def answer_malformed(state: State, service: VirtualService, data: bytes, flow_in: Flow, reason: str) -> Datagram | None:
    """Count it; say 400 where the request is whole enough to be answered (RFC 3261 21.4.1)."""
    service.dropped[f"malformed: {reason}"] += 1
    if data.startswith((b"SIP/2.0 ", b"ACK ")) or service.source(flow_in[1]) is not None:
        return None
    try:
        out = reply(data, 400, state.keys.to_tag(data[:64], b"", flow_in[1]))
    except MalformedMessage:
        return None
    return (out, flow_in) if len(out) <= len(data) and out.count(b"\r\nVia:") else None


def way_back(service: VirtualService, facts: RequestFacts, flow_in: Flow) -> tuple[Flow, int, bytes]:
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
