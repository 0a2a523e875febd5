"""What would happen to a datagram, and why: the forwarder at work on a shadow of its state, written down.

`explain` changes nothing and decides nothing: the choice is `Forwarder.decide`'s, what leaves is what
`Forwarder.datagram_received` returns, both on a copy that is thrown away. What is added here are words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import NamedTuple

from sipbalancer.director.answers import is_for_us, is_keepalive
from sipbalancer.director.chain import Asked, Step, chain, server_text
from sipbalancer.director.forwarder import Forwarder
from sipbalancer.director.from_client import Decision
from sipbalancer.director.from_server import Outward
from sipbalancer.director.reading import (
    NOWHERE,
    Facts,
    guess_services,
    guess_source,
    is_response,
    request_facts,
    response_facts,
    text,
)
from sipbalancer.director.reasons import ANSWERED, NO_LONGER, REASONS, RULES
from sipbalancer.director.service import VirtualService
from sipbalancer.director.shadow import shadow_of
from sipbalancer.director.state import State
from sipbalancer.director.taught import taught
from sipbalancer.director.toward_client import outward_steps, response_steps
from sipbalancer.director.twin import twin
from sipbalancer.errors import AdminError, MalformedMessage
from sipbalancer.sip.flow import Datagram, Flow, address_text, flow_of
from sipbalancer.sip.scan import Request, scan_request

LARGEST = 65535
"""Bytes of a datagram."""


class Change(NamedTuple):
    """A line of the head that leaves otherwise than it came; "" = not there."""

    before: str
    after: str


class Sent(NamedTuple):
    """One datagram that would leave."""

    to: str
    whom: str
    start_line: str
    changes: tuple[Change, ...]
    """Against what came in; empty where it is a message of our own."""
    data: bytes


class Explanation(NamedTuple):
    """All of it, as text; `by` and `reason` are the labels of the metrics that would count it."""

    virtual: str
    source: str
    source_by: str
    sender: str
    facts: Facts
    steps: tuple[Step, ...]
    outcome: str
    by: str
    reason: str
    sends: tuple[Sent, ...]
    learns: tuple[str, ...]


def service_for(state: State, virtual: str, data: bytes) -> tuple[int, str]:
    """(leg, how it was found) of the service named, the only one, or the one the datagram names. AdminError: none."""
    services = list(state.services.values())
    keys = ", ".join(service.key for service in services)
    if virtual:
        named = [service for service in services if virtual in _names_of(service)]
        if len(named) != 1:
            raise AdminError(f"virtual: {virtual} is {'none' if not named else 'several'} of {keys or 'no service'}")
        return named[0].leg, "as given"
    if len(services) == 1:
        return services[0].leg, "the only one"
    guessed = guess_services(services, data)
    if len(guessed) != 1:
        raise AdminError(f"virtual: say which of {keys} with --virtual" if keys else "virtual: the file has none")
    return guessed[0].leg, "named by the datagram"


def _names_of(service: VirtualService) -> set[str]:
    return {service.key, service.config.host, *service.config.alias, text(service.sent_by)}


def explain(real: State, leg: int, data: bytes, source: bytes | None, now: float) -> Explanation:
    """What `datagram_received` of the service on `leg` would do. `source`: a packed address; None = guess it."""
    state = shadow_of(real, now)
    service = state.services[leg]
    packed, source_by = (source, "as given") if source is not None else guess_source(service, data)
    flow = flow_of(leg, packed)
    sender = _sender(service, packed)
    forwarder = Forwarder(state)
    facts, steps = _described(forwarder, service, data, flow, now)
    chosen, dropped = dict(service.chosen), dict(service.dropped)
    out = forwarder.datagram_received(data, flow, now)
    sends = tuple(_sent(service, data, each) for each in ([out] if out else []) + forwarder.outbox)
    reason = _counted(dropped, service.dropped)
    return Explanation(
        virtual=service.key,
        source=address_text(packed) if packed != NOWHERE else "unknown",
        source_by=source_by,
        sender=sender,
        facts=facts,
        steps=steps,
        outcome=_outcome(data, out, sends, reason, len(state.transactions.held) > len(real.transactions.held)),
        by=_counted(chosen, service.chosen),
        reason=reason,
        sends=sends,
        learns=taught(real, state, service, now),
    )


def _counted(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    return ", ".join(name for name, count in after.items() if count != before.get(name, 0))


def _sender(service: VirtualService, packed: bytes) -> str:
    server = service.source(packed)
    return f"server {server_text(server)}" if server is not None else "a client"


# What is read, and the steps of the choice.


def _described(
    forwarder: Forwarder, service: VirtualService, data: bytes, flow: Flow, now: float
) -> tuple[Facts, tuple[Step, ...]]:
    facts: Facts = ()
    try:
        if is_response(data):
            facts = response_facts(service, data)
            return facts, response_steps(forwarder.state, service, data, flow, now)
        if data[:1] < b"A":
            if is_keepalive(data):
                return (), ()
            data = data.lstrip(b"\r\n")
        facts = request_facts(forwarder.state, service, data)
        return facts, _request_steps(forwarder, service, data, flow, now)
    except MalformedMessage as error:
        why = f"{error.reason}: {RULES.get(error.reason, 'not the SIP it claims to be')}"
        return facts, (Step("malformed", True, why),)


def _request_steps(
    forwarder: Forwarder, service: VirtualService, data: bytes, flow: Flow, now: float
) -> tuple[Step, ...]:
    raw = scan_request(data)
    request = Request(*raw)
    if is_for_us(service, raw):
        return (Step("to us", True, "an OPTIONS to a name of ours without a user: the balancer answers for itself"),)
    if request.hops == 0:
        return (Step("max-forwards", True, REASONS["max-forwards"]),)
    turn, service.scheduling = service.scheduling, twin(service.scheduling)
    decision = forwarder.decide(service, raw, flow, now)
    service.scheduling = turn
    if isinstance(decision, Outward):
        return outward_steps(forwarder.state, service, request, decision, now)
    steps = chain(Asked(forwarder.state, service, request, flow, decision, now))
    return (*steps, *_answered(forwarder.state, decision, now))


def _answered(state: State, decision: Decision, now: float) -> tuple[Step, ...]:
    """A transaction the balancer has answered itself stays answered, whoever is chosen."""
    said = None
    if decision.by != "transaction" and (decision.server is not None or decision.reason == "no server"):
        said = state.transactions.answered.get(decision.key, now)
    return (Step("answered", True, f"the balancer has said {_start_line(said)!r} to it"),) if said else ()


# What leaves.


def _sent(service: VirtualService, data: bytes, datagram: Datagram) -> Sent:
    out, flow = datagram
    server = service.by_packed.get(flow[1])
    whom = f"server {server.name}" if server is not None else f"client {address_text(flow[1])}"
    changes = tuple(_changes(data, out)) if _is_copy(data, out) else ()
    return Sent(address_text(flow[1]), whom, _start_line(out), changes, out)


def _is_copy(data: bytes, out: bytes) -> bool:
    """Whether `out` is the datagram that came, edited; else it is a message of our own."""
    return is_response(data) == is_response(out) and _body(data) == _body(out) and _verb(data) == _verb(out)


def _verb(data: bytes) -> bytes:
    return data.lstrip(b"\r\n").split(None, 2)[1 if is_response(data) else 0]


def _body(data: bytes) -> bytes:
    return data.partition(b"\r\n\r\n")[2]


def _changes(before: bytes, after: bytes) -> Iterator[Change]:
    old, new = _head(before), _head(after)
    for what, start, stop, begin, end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if what != "equal":
            yield from _pairs(old[start:stop], new[begin:end])


def _pairs(old: list[str], new: list[str]) -> Iterator[Change]:
    """Lines of one header beside each other: the last old Via is the last new one, with a new one above it."""
    rest = list(old)
    for place, line in enumerate(new):
        left = [each for each in new[place:] if _name(each) == _name(line)]
        mine = [each for each in rest if _name(each) == _name(line)]
        if mine and len(left) <= len(mine):
            rest.remove(mine[0])
            yield Change(mine[0], line)
        else:
            yield Change("", line)
    yield from (Change(line, "") for line in rest)


def _head(data: bytes) -> list[str]:
    return [text(line.rstrip(b"\r")) for line in data.lstrip(b"\r\n").partition(b"\r\n\r\n")[0].split(b"\n")]


def _name(line: str) -> str:
    return line.partition(":")[0].strip().lower() if not line.endswith(" SIP/2.0") else ""


def _start_line(data: bytes) -> str:
    return text(data.partition(b"\r\n")[0])


def _outcome(data: bytes, out: Datagram | None, sends: tuple[Sent, ...], reason: str, held: bool) -> str:
    why = ", ".join(_reason(each) for each in reason.split(", ") if each)
    if out is not None:
        first = sends[0]
        if is_response(out[0]) and not is_response(data):
            return f"answered by the balancer with {first.start_line[8:]}: {why}"
        return f"goes to {first.whom}" + (f"; {why}" if why else "")
    if held:
        return "is held back until a probe tells whether this 503 speaks for the whole server"
    if sends:
        return f"is not passed on; instead the balancer sends {len(sends)} of its own" + (f": {why}" if why else "")
    too_long = reason in ANSWERED and not data.startswith(b"ACK ")
    return f"nothing is sent: {why or 'it ends here'}{NO_LONGER if too_long else ''}"


def _reason(reason: str) -> str:
    kind, _, rule = reason.partition(": ")
    return f"malformed, {RULES.get(rule, rule)}" if kind == "malformed" else REASONS.get(reason, reason)
