"""Answers of our own (design 4.5): what is not forwarded and yet deserves a word. Never longer than the request.

An ACK to one of them ends here, by the To tag; a transaction we answered stays answered for 32 s.
"""

from __future__ import annotations

from sipbalancer.director.service import VirtualService
from sipbalancer.director.state import State
from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.aor import tag
from sipbalancer.sip.compose import reply
from sipbalancer.sip.flow import Datagram, Flow
from sipbalancer.sip.scan import RequestFacts
from sipbalancer.sip.uri import read_uri

RETRY_AFTER = 5
RETRY_SPREAD = 10
"""Seconds: a 503 of ours asks for 5 to 14, spread by the transaction's key so that phones do not return together."""


def answer(
    state: State,
    facts: RequestFacts,
    flow: Flow,
    back: Flow,
    received: tuple[int, bytes],
    status: int,
    key: bytes,
    now: float,
) -> Datagram | None:
    """The datagram for the client, remembered for its repeats; None for an ACK, or when it would be an amplifier."""
    data, method, _, _, _, _, _, _, call_id, cseq, *_ = facts
    if method == b"ACK":
        return None
    at, text = received
    extra = b"Retry-After: %d\r\n" % (RETRY_AFTER + key[0] % RETRY_SPREAD) if status == 503 else b""
    to_tag = state.keys.to_tag(call_id, cseq, flow[1][2:])
    try:
        out = reply(data[:at] + text + data[at:], status, to_tag, extra)
    except MalformedMessage:
        return None
    if len(out) > len(data) + len(text):
        return None
    if key:
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
    return bool(service.eligible) or service.fallback is not None


def is_keepalive(data: bytes) -> bool:
    """CRLF keep-alives (RFC 5626 3.5.1) and STUN (RFC 8489 5): taken silently."""
    return not data.strip(b"\r\n\0 ") or (data[0] < 4 and data[4:8] == b"\x21\x12\xa4\x42")
