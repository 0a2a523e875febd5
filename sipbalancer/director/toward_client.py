"""Why a server's request goes to the client it goes to (design 4.3), and what a response's way depends on (4.4).

As in `chain.py` the choice is another's (`from_server`, `responses`); here are the reasons, read from a shadow.
"""

from __future__ import annotations

from sipbalancer.director.bindings import Bound
from sipbalancer.director.chain import Step, server_text
from sipbalancer.director.from_server import Outward
from sipbalancer.director.own_routes import read_own_routes
from sipbalancer.director.reading import return_address, server_of_branch, text, token_text
from sipbalancer.director.service import VirtualService
from sipbalancer.director.state import State
from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.contacts import contact_uri
from sipbalancer.sip.flow import Flow, address_text
from sipbalancer.sip.grammar import MAGIC_COOKIE
from sipbalancer.sip.scan import Request, Response, scan_response
from sipbalancer.sip.uri import read_place

LINKS = ("transaction", "token", "binding", "outbound")
"""In the order they are asked; after them 480 for a name of ours, 403 for anybody else's."""

_BRANCH = len(MAGIC_COOKIE)
_TRANSACTION_KEY = 12


def outward_steps(
    state: State, service: VirtualService, request: Request, outward: Outward, now: float
) -> tuple[Step, ...]:
    """The links up to the one that found the client."""
    whys = {
        "transaction": _transaction(outward),
        "token": _token(state, service, request, outward, now),
        "binding": _binding(state, service, request, outward, now),
        "outbound": _outbound(service, outward),
    }
    if outward.by in LINKS:
        return tuple(Step(link, link == outward.by, whys[link]) for link in LINKS[: LINKS.index(outward.by) + 1])
    asked = tuple(Step(link, False, whys[link]) for link in LINKS if link != "outbound" or outward.reason != _UNKNOWN)
    return (*asked, Step("none", True, f"{outward.refusal} goes back to the server"))


_UNKNOWN = "unknown contact"


def _to(outward: Outward) -> str:
    return address_text(outward.client[1]) if outward.client is not None else "nobody"


def _transaction(outward: Outward) -> str:
    if outward.by == "transaction":
        return f"a copy, CANCEL or ACK of a request that went to {_to(outward)}"
    return "its first copy"


def _token(state: State, service: VirtualService, request: Request, outward: Outward, now: float) -> str:
    own = read_own_routes(state, service, request.routes) if request.routes else None
    if own is None or own.token is None:
        return "no Route of ours with a token" if request.routes else "no Route"
    moved = state.moved.get(state.moved_key(request.call_id, own.token.client), now)
    since = f"; the phone's address in this dialog is {address_text(moved)} now" if moved else ""
    return f"{token_text(own.token)}{since}"


def _binding(state: State, service: VirtualService, request: Request, outward: Outward, now: float) -> str:
    """Which of the three rules found the Contact: itself, its user, the AoR of that user."""
    read = contact_uri(request.uri)
    if read is None:
        return "the Request-URI is no SIP URI"
    bindings = state.bindings[service.leg]
    bound = bindings.by_contact(request.uri, now)
    if bound is not None:
        return f"the Request-URI is the Contact of {_whose(bound)}"
    if not read.user or not service.is_ours(read.place):
        return f"no registered Contact is {text(request.uri)}"
    bound = bindings.by_contact_user(read.user, now)
    if bound is not None:
        return f"the Request-URI names us; its user is that of a Contact of {_whose(bound)}"
    of_aor = bindings.of_aor(state.binding_key(service, read.user + b"@"), now)
    if of_aor:
        return f"the Request-URI names us; its user is the AoR of {_whose(of_aor[-1])}"
    return f"no registered Contact is {text(request.uri)} or has its user, nor has the AoR {text(read.user)} one"


def _whose(bound: Bound) -> str:
    return f"{text(bound.aor).rstrip('@')}, {text(bound.uri)}, registered from {address_text(bound.client)}"


def _outbound(service: VirtualService, outward: Outward) -> str:
    if outward.by == "outbound":
        return f"nobody's Contact, and `outbound = yes`: straight to {_to(outward)}"
    return "`outbound = yes` is set, and the Request-URI names no address" if service.config.outbound else "not allowed"


# Responses.


def response_steps(state: State, service: VirtualService, data: bytes, flow: Flow, now: float) -> tuple[Step, ...]:
    """What a response's way and its lessons depend on. MalformedMessage as the scan says it."""
    response = Response(*scan_response(data))
    ours = response.sent_by == service.sent_by or service.was_ours(read_place(response.sent_by))
    steps = [Step("our Via", ours, f"sent-by {text(response.sent_by)} is {'ours' if ours else 'not ours'}")]
    if ours and response.next_start >= 0:
        sender = service.source(flow[1])
        steps.append(_next_via(service, data[response.next_start : response.next_end]))
        steps.append(Step("from a server", sender is not None, server_text(sender) if sender else "from a client"))
        steps.append(_asked_as(state, service, response, sender is not None, now))
    return tuple(steps)


def _next_via(service: VirtualService, via: bytes) -> Step:
    try:
        packed = return_address(via)
    except (MalformedMessage, ValueError):
        return Step("next Via", False, f"{text(via)} names no address")
    server = service.source(packed)
    return Step("next Via", True, f"wants it at {address_text(packed)}{f', server {server.name}' if server else ''}")


def _asked_as(state: State, service: VirtualService, response: Response, from_server: bool, now: float) -> Step:
    """Whether we still know what was asked, and whether this is the try that counts."""
    key = response.branch[_BRANCH : _BRANCH + _TRANSACTION_KEY]
    held = state.transactions.pending.get(key)
    if held is None:
        ended = "had its final answer" if state.transactions.ended.get(key, now) is not None else "is not known here"
        return Step("transaction", False, f"the request {ended}: the Vias alone say where it goes")
    asked = f"{text(held.method)} asked {now - held.first:.1f} s ago"
    made_for = server_of_branch(service, response.branch)
    if made_for is not None and made_for is not held.server:
        return Step("transaction", False, f"{asked}, but taken from {made_for.name} since: a try that was given up")
    if held.inward is not from_server:
        return Step("transaction", False, f"{asked}, but of the other side")
    return Step("transaction", True, f"{asked}, of {server_text(held.server) if held.inward else 'the client'}")
