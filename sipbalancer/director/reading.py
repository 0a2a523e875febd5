"""What a datagram says of itself, for people: the facts that choices are made by, read by the same scanner.

Reads only. Also the guesses `explain` makes where nobody said where a datagram came from, and to which service.
"""

from __future__ import annotations

from sipbalancer.director.own_routes import read_own_routes
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.service import VirtualService
from sipbalancer.director.state import State
from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.aor import read_aor, tag
from sipbalancer.sip.flow import address_text, pack_address
from sipbalancer.sip.flow_token import FlowToken, looks_like_token
from sipbalancer.sip.grammar import MAGIC_COOKIE
from sipbalancer.sip.scan import Request, Response, scan_request, scan_response
from sipbalancer.sip.uri import parameter, read_place, read_uri

Facts = tuple[tuple[str, str], ...]
"""(name, value), in the order they are shown."""

NOWHERE = pack_address("0.0.0.0", 0)
"""The source of a datagram that does not say and of which nobody said."""

_BRANCH = len(MAGIC_COOKIE)
_TRANSACTION_KEY = 12


def text(value: bytes) -> str:
    """Bytes of the network as text; what is no UTF-8 is shown escaped."""
    return value.decode("utf-8", "backslashreplace")


def is_response(data: bytes) -> bool:
    return data.startswith(b"SIP/2.0 ")


def request_facts(state: State, service: VirtualService, data: bytes) -> Facts:
    """What the scan reads of a request. MalformedMessage as the scan says it."""
    request = Request(*scan_request(data))
    return (
        ("method", text(request.method)),
        ("Request-URI", text(request.uri)),
        ("Call-ID", text(request.call_id)),
        ("CSeq", text(request.cseq)),
        ("AoR", _aor(service, request)),
        ("in a dialog", "yes, To has a tag" if tag(request.to_value) else "no, To has no tag"),
        ("top Via", f"{text(request.sent_by)}, branch {text(request.branch) or 'none'}{_asks(request)}"),
        ("Max-Forwards", str(request.hops) if request.hops >= 0 else "absent"),
        *(("Route", line) for line in _routes(state, service, request)),
    )


def _asks(request: Request) -> str:
    return ", asks for rport" if request.rport >= 0 else ", no rport"


def _aor(service: VirtualService, request: Request) -> str:
    which, value = ("To", request.to_value) if request.method == b"REGISTER" else ("From", request.from_value)
    try:
        aor = text(read_aor(value, service.hosts))
    except MalformedMessage as error:
        return f"none: {which} cannot be read ({error.reason})"
    if not aor:
        return f"none: {which} has no user"
    return f"{aor[:-1]} at a name of ours ({which})" if aor.endswith("@") else f"{aor} ({which})"


def _routes(state: State, service: VirtualService, request: Request) -> list[str]:
    if not request.routes:
        return ["none"]
    cut = read_own_routes(state, service, request.routes).cut
    return [_route(state, text(uri), number < cut, uri) for number, (uri, _, _) in enumerate(request.routes)]


def _route(state: State, shown: str, ours: bool, uri: bytes) -> str:
    if not ours:
        return f"{shown}: not ours, stays"
    user = read_uri(uri).user
    token = state.sealer.open(user) if user else None
    if token is not None:
        return f"{shown}: ours, {token_text(token)}"
    broken = ": has the form of our token but not our seal" if looks_like_token(user) else ", no token"
    return f"{shown}: ours{broken}"


def token_text(token: FlowToken) -> str:
    return f"the token names server {address_text(token.server)} and client {address_text(token.client)}"


def response_facts(service: VirtualService, data: bytes) -> Facts:
    """What the scan reads of a response. MalformedMessage as the scan says it."""
    response = Response(*scan_response(data))
    following = data[response.next_start : response.next_end] if response.next_start >= 0 else b""
    server = server_of_branch(service, response.branch)
    tail = f", the branch was made for server {server.name}" if server is not None else ""
    return (
        ("status", str(response.status)),
        ("top Via", f"{text(response.sent_by)}, branch {text(response.branch) or 'none'}{tail}"),
        ("next Via", text(following) or "none"),
    )


def server_of_branch(service: VirtualService, branch: bytes) -> RealServer | None:
    """The server a branch of ours was made for: its tag is the branch's end."""
    if len(branch) <= _BRANCH + _TRANSACTION_KEY:
        return None
    return next((each for each in service.by_packed.values() if branch.endswith(each.tag)), None)


# Guesses, always told.


def guess_source(service: VirtualService, data: bytes) -> tuple[bytes, str]:
    """(packed address, how it was found) where nobody says where the datagram came from."""
    try:
        return _source_of_response(service, data) if is_response(data) else _source_of_request(data)
    except (MalformedMessage, ValueError):
        return NOWHERE, "say it with --from"


def _source_of_request(data: bytes) -> tuple[bytes, str]:
    request = Request(*scan_request(data.lstrip(b"\r\n")))
    host, port = read_place(request.sent_by)
    return pack_address(host.decode("ascii"), port), "what its top Via says"


def _source_of_response(service: VirtualService, data: bytes) -> tuple[bytes, str]:
    """A response came from the server its branch was made for, unless that is who it goes to."""
    response = Response(*scan_response(data))
    server = server_of_branch(service, response.branch)
    if server is None or response.next_start < 0:
        raise MalformedMessage("via")
    via = data[response.next_start : response.next_end]
    if server is service.source(return_address(via)):
        raise MalformedMessage("via")
    return server.packed, "the server its branch was made for"


def return_address(via: bytes) -> bytes:
    """The packed address a Via wants its response at (RFC 3261 18.2.2). ValueError when it names none."""
    place = via.split(b";", 1)[0].split(None, 1)
    host, port = read_place(place[1] if len(place) > 1 else b"")
    params = via[via.find(b";") :] if b";" in via else b""
    received, rport = parameter(params, b"received"), parameter(params, b"rport")
    return pack_address((received or host).decode("ascii", "replace"), int(rport) if rport else port)


def guess_services(services: list[VirtualService], data: bytes) -> list[VirtualService]:
    """Those of several services that the datagram itself names: by its top Via, its Routes or its Request-URI."""
    try:
        places = _places(data)
    except MalformedMessage:
        return []
    return [service for service in services if any(service.is_ours(place) for place in places)]


def _places(data: bytes) -> list[tuple[bytes, int]]:
    if is_response(data):
        return [read_place(Response(*scan_response(data)).sent_by)]
    request = Request(*scan_request(data.lstrip(b"\r\n")))
    if request.routes:
        return [read_uri(request.routes[0][0]).place]
    return [read_uri(request.uri).place]
