"""What the leading Routes of a request say: which of them are ours, and the token under our seal (design 4.1).

The Routes of a call are the same in each of its requests, and opening a seal costs more than all else that is done with
one, so what was read is kept in a small cache of the service. Nothing here changes what is decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sipbalancer.sip.flow_token import FlowToken, looks_like_token
from sipbalancer.sip.uri import read_uri

if TYPE_CHECKING:
    from sipbalancer.director.service import VirtualService
    from sipbalancer.director.state import State
    from sipbalancer.sip.scan import RouteElement

LONGEST_CACHED = 160
"""Octets: what strangers write must not fill the memory."""


class OwnRoute(NamedTuple):
    """What the leading Routes of a request say."""

    cut: int
    token: FlowToken | None
    broken: bool
    """One of them has the form of our token but not our seal."""
    foreign: bytes
    """The URI of the first Route that is not ours, b"" when none is left."""


def read_own_routes(state: State, service: VirtualService, routes: tuple[RouteElement, ...]) -> OwnRoute:
    """Take the leading Routes of ours: the first good seal counts (design 4.1). MalformedMessage for no URI."""
    if len(routes) != 1:
        return _read(state, service, routes)
    uri = routes[0][0]
    own = service.routes.get(uri)
    if own is None:
        own = service.routes.again(uri)
    if own is None:
        own = _read_usual(state, service, uri) or _read(state, service, routes)
        if len(uri) <= LONGEST_CACHED:
            service.routes.keep(uri, own)
    return own


def _read_usual(state: State, service: VirtualService, uri: bytes) -> OwnRoute | None:
    """`sip:TOKEN@us;lr` as we write it; None for any other."""
    if not uri.startswith(b"sip:") or not uri.endswith(service.route_end):
        return None
    token = state.sealer.open(uri[4 : -len(service.route_end)])
    return None if token is None else OwnRoute(1, token, False, b"")


def _read(state: State, service: VirtualService, routes: tuple[RouteElement, ...]) -> OwnRoute:
    token: FlowToken | None = None
    broken = False
    for cut, (uri, _, _) in enumerate(routes):
        read = read_uri(uri)
        opened = state.sealer.open(read.user) if read.user else None
        if opened is None and not service.is_ours(read.place):
            return OwnRoute(cut, token, broken, uri)
        if token is not None and opened is not None and _of_another(state, service, opened, read.place):
            return OwnRoute(cut, token, broken, b"")
        broken = broken or (opened is None and looks_like_token(read.user))
        token = token or opened
    return OwnRoute(len(routes), token, broken, b"")


def _of_another(state: State, service: VirtualService, token: FlowToken, place: tuple[bytes, int]) -> bool:
    """Whether it is the token of another service of ours, before or behind this one in a chain: it has this one for its
    client or server, or its Route has the other's name."""
    if service.virtual in (token.server, token.client):
        return True
    return not service.was_ours(place) and any(other.is_ours(place) for other in state.services.values())


def brings_nobody(
    state: State, service: VirtualService, token: FlowToken, routes: tuple[RouteElement, ...], cut: int
) -> bool:
    """Whether a token that names no server of this service is another service's: its server is not adopted here."""
    places = [
        read.place for read in (read_uri(uri) for uri, _, _ in routes[:cut]) if state.sealer.open(read.user) == token
    ]
    return any(_of_another(state, service, token, place) for place in places)
