"""Why each link of the chain (design 4.2) did not choose a client's request, and why the one that did, did.

The choice itself is `from_client.decide`'s and is taken from its Decision; here are only the reasons, read from the
same tables. Called on a shadow of the state, before anything is done to it.
"""

from __future__ import annotations

from typing import NamedTuple

from sipbalancer.config.model import PersistenceKey
from sipbalancer.director.from_client import Decision
from sipbalancer.director.own_routes import read_own_routes
from sipbalancer.director.reading import text, token_text
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.service import VirtualService
from sipbalancer.director.state import State
from sipbalancer.director.verdict import Verdict
from sipbalancer.sip.aor import tag
from sipbalancer.sip.flow import Flow, address_text
from sipbalancer.sip.headers import read_message
from sipbalancer.sip.scan import Request

LINKS = ("transaction", "token", "call", "related", "binding", "scheduler", "fallback", "draining", "none")
"""In the order they are asked; the last is the 503."""


class Step(NamedTuple):
    """One link of a chain: whether it chose, and why (not)."""

    link: str
    chose: bool
    why: str


class Asked(NamedTuple):
    """What the reasons are read from."""

    state: State
    service: VirtualService
    request: Request
    flow: Flow
    decision: Decision
    now: float

    def pinned(self, key: int) -> RealServer | None:
        """The server that a confirmed pin names."""
        return self.state.server_of_pin(self.service, self.state.pins.get(key, self.now))


def chain(asked: Asked) -> tuple[Step, ...]:
    """The links up to the one that decided."""
    if asked.decision.reason in _REFUSED_AT:
        last = _REFUSED_AT[asked.decision.reason]
        before = LINKS[: LINKS.index(last)]
        return (*(Step(link, False, _WHY[link](asked)) for link in before), Step(last, True, _refused(asked)))
    last = asked.decision.by
    return tuple(Step(link, link == last, _WHY[link](asked)) for link in LINKS[: LINKS.index(last) + 1])


_REFUSED_AT = {"foreign route": "token", "bad token": "call", "stray ack": "call"}
"""Refusals that end the chain at a link."""


def _refused(asked: Asked) -> str:
    if asked.decision.reason == "foreign route":
        uri = asked.request.routes[asked.decision.cut][0]
        return f"refused: the first Route that is left, {text(uri)}, is neither ours nor a server's (no open relay)"
    if asked.decision.reason == "bad token":
        return (
            "refused: inside a dialog, its Route has a token of another key, no pin knows the Call-ID, "
            "and the Request-URI is no server's address"
        )
    return "an ACK that belongs to no call known here: it ends here"


def server_text(server: RealServer) -> str:
    """`192.0.2.11:5060 (up)`, with the reason where it is not up."""
    verdict = server.verdict
    return f"{server.name} ({verdict}{'' if verdict is Verdict.UP and not server.full else ': ' + server.reason})"


# One function per link: why it chose when it is the decision's, else why not.


def _transaction(asked: Asked) -> str:
    key = asked.decision.key
    held = asked.state.transactions.pending.get(key)
    if held is not None:
        copies = f", {asked.now - held.first:.1f} s ago, still without final answer"
        return f"the same top Via, Call-ID and CSeq went to {server_text(held.server)}{copies}"
    if asked.decision.by == "transaction" and asked.decision.server is not None:
        return f"it ended within the last minute, at {server_text(asked.decision.server)}: same server, same branch"
    return "its first copy: nothing with this top Via, Call-ID and CSeq from that address is in progress"


def _token(asked: Asked) -> str:
    if not asked.request.routes:
        return "no Route"
    own = read_own_routes(asked.state, asked.service, asked.request.routes)
    if own.token is not None:
        passed = ""
        if asked.decision.by not in ("transaction", "token"):
            known = own.token.server in asked.service.by_packed
            passed = ", which takes nothing new outside a dialog" if known else ", a server of another service of ours"
        return f"{token_text(own.token)}{passed}"
    if own.broken:
        return "a Route has the form of our token, but not under a key of ours"
    return "the Routes of ours carry no token" if own.cut else f"the first Route, {text(own.foreign)}, is a server's"


def _call(asked: Asked) -> str:
    if asked.request.method == b"REGISTER":
        return "not for a REGISTER: phones use one Call-ID for ever"
    key = asked.state.call_key(asked.service, asked.request.call_id)
    number = asked.state.recent_calls.get(key, asked.now)
    pinned = asked.pinned(key)
    if asked.decision.by == "call":
        if number is not None:
            return f"this Call-ID went to {server_text(asked.state.servers[number])} a moment ago"
        if pinned is not None:
            return f"the Call-ID is pinned to {server_text(pinned)}"
        return "inside a dialog that no pin knows; the Request-URI is that server's address"
    if number is not None or pinned is not None:
        server = asked.state.servers[number] if number is not None else pinned
        assert server is not None
        return f"the Call-ID is pinned to {server_text(server)}, and this is no request inside its dialog"
    return "no pin knows the Call-ID" + (", nor is the Request-URI a server's" if tag(asked.request.to_value) else "")


def _related(asked: Asked) -> str:
    if asked.request.method == b"REGISTER" or tag(asked.request.to_value):
        return "only for a request that begins something"
    message = read_message(asked.request.data)
    for name in ("Replaces", "Join", "Target-Dialog"):
        value = message.first(name.lower().encode())
        if value is not None:
            call = text(value.split(b";", 1)[0].strip())
            if asked.decision.by == "related":
                return f"{name} names the call {call}"
            return f"{name} names the call {call}, which no pin knows or whose server is down"
    return "no Replaces, Join or Target-Dialog"


def _binding(asked: Asked) -> str:
    decision, state, service = asked.decision, asked.state, asked.service
    chosen = decision.server if decision.by == "binding" else None
    if not decision.aor:
        return _other_names(asked, "From has no user to look for")
    number = state.provisional.get(decision.pin ^ hash(asked.flow[1]), asked.now)
    name = _key_text(service, decision.aor)
    if number is not None and state.servers[number] is chosen:
        return f"a REGISTER of {name} from this address went to {server_text(chosen)} a moment ago"
    pinned = asked.pinned(decision.pin)
    number = state.unproved.get(decision.pin, asked.now)
    if pinned is None and number is not None and state.servers[number] is chosen:
        return f"a request of {name} went to {server_text(chosen)} a moment ago"
    if pinned is None:
        return _other_names(asked, f"no pin for {name}")
    life = _span(state.pins.life(decision.pin, asked.now))
    if pinned is chosen:
        return f"{name} is pinned to {server_text(chosen)} for {life} more"
    if decision.by == "scheduler" and pinned in service.taking:
        return f"{name} is pinned to {server_text(pinned)}, which has more than its share: it goes home (rebalance)"
    return f"{name} is pinned to {server_text(pinned)}, which takes no such request now"


def _key_text(service: VirtualService, aor: bytes) -> str:
    if service.config.persistencekey is PersistenceKey.SOURCE:
        return "the client's address (persistencekey = source)"
    return text(aor[:-1]) if aor.endswith(b"@") else text(aor)


def _other_names(asked: Asked, first: str) -> str:
    """From (or To) found nothing: what the other names of the caller found."""
    if asked.request.method == b"REGISTER" or asked.service.config.persistencekey is not PersistenceKey.AOR:
        return first
    bound = asked.state.bindings[asked.service.leg].by_client(asked.flow[1], asked.now)
    server = asked.decision.server
    if asked.decision.by == "binding" and server is not None:
        how = "a name of the caller (P-Asserted-Identity, P-Preferred-Identity or digest user)"
        if bound is not None and asked.pinned(asked.state.binding_key(asked.service, bound.aor)) is server:
            how = f"{text(bound.aor).rstrip('@')} registered from this address, or {how},"
        return f"{first}; {how} is pinned to {server_text(server)}"
    flow = address_text(asked.flow[1])
    nobody = f"nobody registered from {flow}" if bound is None else "its server takes nothing new"
    return f"{first}; no other name of the caller (asserted identity, digest user) helps; {nobody}"


def _scheduler(asked: Asked) -> str:
    service = asked.service
    if not service.eligible:
        return f"{service.config.scheduler}: nobody takes new work: {_others(service) or 'there is no server'}"
    takes = ", ".join(_candidate(server) for server in service.eligible)
    others = _others(service)
    return f"{service.config.scheduler} among {takes}{'; not ' + others if others else ''}"


def _candidate(server: RealServer) -> str:
    return f"{server.name} (weight {server.weight}, {server.connections} connections)"


def _others(service: VirtualService) -> str:
    eligible = set(service.eligible)
    return ", ".join(
        f"{server.name} (priority {server.config.priority}: a better group works)"
        if server.verdict is Verdict.UP and not server.full
        else server_text(server)
        for server in service.servers
        if server not in eligible
    )


def _fallback(asked: Asked) -> str:
    fallback = asked.service.fallback
    if fallback is None:
        return "no fallback in the file"
    return f"the fallback server, {server_text(fallback)}"


def _draining(asked: Asked) -> str:
    resort = asked.service.resort
    if asked.decision.by == "draining" and asked.decision.server is not None:
        others = ", ".join(server.name for server in resort if server is not asked.decision.server)
        return f"nobody else takes work: {server_text(asked.decision.server)}{'; so would ' + others if others else ''}"
    return "no draining server would take it"


def _none(asked: Asked) -> str:
    return "nobody is left: 503 with Retry-After"


_WHY = {
    "transaction": _transaction,
    "token": _token,
    "call": _call,
    "related": _related,
    "binding": _binding,
    "scheduler": _scheduler,
    "fallback": _fallback,
    "draining": _draining,
    "none": _none,
}


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s"
