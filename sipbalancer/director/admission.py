"""`registerrate`: no server gets more REGISTERs a second than it may, however many phones lost theirs.

Beyond the rate a REGISTER waits in line for its server, the answer to a challenge (its nonce ages) before the others;
credentials alone make none, for phones send old ones with every refresh. A line is as long as what can pass within
`PATIENCE`: phones that lost their server together repeat together, at 0.5, 1.5, 3.5, 7.5 ... s, and without it the rate
would be used at those moments only. Who finds no place there is met by silence, the phone's own retransmissions bring
it back; when it has found none for `PATIENCE`, 503 with a Retry-After.
"""

from __future__ import annotations

from sipbalancer.director.answers import refuse
from sipbalancer.director.from_client import Decision
from sipbalancer.director.lines import PATIENCE, Held
from sipbalancer.director.service import VirtualService
from sipbalancer.director.state import State
from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.flow import Datagram, Flow
from sipbalancer.sip.grammar import CREDENTIALS
from sipbalancer.sip.headers import read_message
from sipbalancer.sip.scan import RequestFacts


def admits(state: State, service: VirtualService, decision: Decision, facts: RequestFacts, now: float) -> bool:
    """Whether the chosen server takes this REGISTER now."""
    server, key = decision.server, decision.key
    assert server is not None
    must = _answers_challenge(state, service, decision, facts, now)
    if not must and state.lines.before(server, key):
        return False
    if not server.bucket.take(service.config.registerrate, now, must=must):
        return False
    state.lines.leave(server, key)
    if must:
        state.challenged.drop(state.call_key(service, facts[8]))
    return True


def _answers_challenge(
    state: State, service: VirtualService, decision: Decision, facts: RequestFacts, now: float
) -> bool:
    assert decision.server is not None
    asked = state.challenged.get(state.call_key(service, facts[8]), now)
    return asked == decision.server.number and _has_credentials(facts[0])


def hold_off(
    state: State, service: VirtualService, decision: Decision, facts: RequestFacts, flow_in: Flow, now: float
) -> Datagram | None:
    """A REGISTER that is not admitted: a place in line, silence, or 503 when it has waited long enough."""
    server, key = decision.server, decision.key
    assert server is not None
    since = state.waiting.get(key, now)
    if since is None:
        since = now
        state.waiting.put(key, now, now)
    if decision.by == "scheduler" and decision.aor:  # its next copy must not choose again, and wait in two lines
        state.provisional.put(decision.pin ^ hash(flow_in[1]), server.number, now)
    if not state.lines.holds(server, key):
        first = _answers_challenge(state, service, decision, facts, now)
        joined = state.lines.join(server, key, Held(service, facts[0], flow_in, since), first=first)
        if not joined and now - since >= PATIENCE:
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
