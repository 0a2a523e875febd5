"""`registerrate`: no server gets more REGISTERs a second than it may, however many phones lost theirs.

Beyond the rate a REGISTER is first not forwarded: the phone's own retransmissions are the queue. Only one that has
waited `PATIENCE` is answered 503 with a Retry-After. The answer to a challenge always passes (its nonce would age)
and is paid for by later ones; credentials alone make none, for phones send old ones with every refresh.
"""

from __future__ import annotations

from sipbalancer.director.answers import refuse
from sipbalancer.director.from_client import Decision
from sipbalancer.director.service import VirtualService
from sipbalancer.director.state import State
from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.flow import Datagram, Flow
from sipbalancer.sip.grammar import CREDENTIALS
from sipbalancer.sip.headers import read_message
from sipbalancer.sip.scan import RequestFacts

PATIENCE = 8.0
"""Seconds from the first copy; a phone's fifth comes after 7.5 (RFC 3261 17.1.2.2)."""


def admits(state: State, service: VirtualService, decision: Decision, facts: RequestFacts, now: float) -> bool:
    """Whether the chosen server takes this REGISTER now."""
    server, asked = decision.server, state.call_key(service, facts[8])
    assert server is not None
    answers_challenge = state.challenged.get(asked, now) == server.number and _has_credentials(facts[0])
    if answers_challenge:
        state.challenged.drop(asked)
    return server.bucket.take(service.config.registerrate, now, must=answers_challenge)


def hold_off(
    state: State, service: VirtualService, decision: Decision, facts: RequestFacts, flow_in: Flow, now: float
) -> Datagram | None:
    """A REGISTER that is not admitted: silence, or 503 when it has waited long enough."""
    first = state.waiting.get(decision.key, now)
    if first is None:
        state.waiting.put(decision.key, now, now)
    elif now - first >= PATIENCE:
        return refuse(state, service, facts, flow_in, 503, "registerrate", now)
    service.dropped["register held off"] += 1
    return None


def _has_credentials(data: bytes) -> bool:
    if CREDENTIALS.search(data) is None:
        return False
    try:
        message = read_message(data)
    except MalformedMessage:
        return False
    return message.first(b"authorization") is not None or message.first(b"proxy-authorization") is not None
