"""A request from a server: which client flow it goes to (design 4.3). Only reads.

First the transaction, also one that ended: a late CANCEL or the ACK of a refusal follows its INVITE, wherever the phone
has registered since (invariant 3). Then our token in a leading Route; Asterisk loses it where it dials Contacts or
sends a MESSAGE, so else the binding whose Contact is the Request-URI; else, where the host is ours, the binding with
that Contact user, then the AoR of that user.
"""

from __future__ import annotations

from collections.abc import Reversible
from itertools import islice
from typing import NamedTuple, cast

from sipbalancer.director.bindings import Bound
from sipbalancer.director.from_client import transaction_key
from sipbalancer.director.own_routes import read_own_routes
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.service import VirtualService
from sipbalancer.director.state import State
from sipbalancer.sip.contacts import contact_uri, identity, only_contact
from sipbalancer.sip.flow import Flow, flow_of, pack_address
from sipbalancer.sip.flow_token import FlowToken
from sipbalancer.sip.scan import RequestFacts
from sipbalancer.sip.uri import Uri

_AT_ONCE = frozenset((b"OPTIONS", b"NOTIFY"))
"""What Asterisk sends as soon as it has stored a Contact: qualify, MWI."""
_A_MOMENT = 2.0
"""Seconds; measured with Asterisk 22: its qualify OPTIONS leaves 0.2 ms before the 200 to the REGISTER."""
_LOOKED_AT = 4096
"""Transactions, newest first: a millisecond."""


class Outward(NamedTuple):
    """Where a request from a server goes; `refusal` instead when it goes nowhere."""

    client: Flow | None
    by: str
    key: bytes
    cut: int
    uri: bytes = b""
    """The Request-URI to put in place of one that names us; b"" = as it came."""
    refusal: int = 0
    reason: str = ""
    token: FlowToken | None = None


def decide_outward(
    state: State, service: VirtualService, server: RealServer, facts: RequestFacts, flow: Flow, now: float
) -> Outward | None:
    """Choose the client. None when it is a client's request after all: the token says so (design 4.3)."""
    uri, call_id, routes = facts[2], facts[8], facts[15]
    key = transaction_key(state, facts, flow)
    own = read_own_routes(state, service, routes) if routes else None
    cut = own.cut if own else 0
    token = own.token if own else None
    if token is not None and token.client == flow[1] and (token.server != server.packed or flow[1] != server.packed):
        return None
    transaction = state.transactions.pending.get(key)
    if transaction is not None:
        return Outward(transaction.client, "transaction", key, cut, transaction.uri)
    went = state.transactions.outward.get(key, now)
    if went is not None:
        return Outward(went[0], "transaction", key, cut, went[1])
    read = contact_uri(uri)
    named = read is not None and service.is_ours(read.place)
    bound = None
    if read is not None and (named or token is None):
        bound = _bound(state, service, uri, read, now) or _expected(state, service, server, facts[1], uri, read, now)
    replacement = bound.uri if bound is not None and named else b""
    if token is not None:
        client = state.moved.get(state.moved_key(call_id, token.client), now) or token.client
        if read is not None and named and (bound is None or bound.client != client):
            mine = _of_flow(state, service, read.user, client, now)
            replacement = mine.uri if mine is not None else b""
        return Outward(flow_of(service.leg, client), "token", key, cut, replacement, token=token)
    if bound is not None:
        return Outward(flow_of(service.leg, bound.client), "binding", key, cut, replacement)
    if named:
        return Outward(None, "none", key, cut, refusal=480, reason="unknown contact")
    return _outbound(service, key, cut, read)


def _bound(state: State, service: VirtualService, uri: bytes, read: Uri, now: float) -> Bound | None:
    """The binding a Request-URI means."""
    bindings = state.bindings[service.leg]
    bound = bindings.by_contact(uri, now)
    if bound is not None or not read.user or not service.is_ours(read.place):
        return bound
    bound = bindings.by_contact_user(read.user, now)
    if bound is not None:
        return bound
    of_aor = bindings.of_aor(state.binding_key(service, read.user + b"@"), now)
    return of_aor[-1] if of_aor else None


def _expected(
    state: State, service: VirtualService, server: RealServer, method: bytes, uri: bytes, read: Uri, now: float
) -> Bound | None:
    """A Contact this server was asked to store a moment ago, and whose 2xx may still be on its way: good for what a
    server says of itself at once, not for calls, as nobody has proved anything yet."""
    if method not in _AT_ONCE:
        return None
    user = read.user if service.is_ours(read.place) else b""
    wanted = identity(uri)
    hint = b"" if b"%" in uri else read.user or read.host  # to read 4,096 Contacts takes 15 ms
    pending = state.transactions.pending
    for key in islice(reversed(cast("Reversible[bytes]", pending)), _LOOKED_AT):
        asked = pending[key]
        if now - asked.first > _A_MOMENT:
            break
        if asked.method == b"REGISTER" and asked.server is server and hint in asked.data and asked.inward:
            contact = only_contact(asked.data)
            if contact is None or contact.expires == 0:
                continue
            which = identity(contact.uri)
            if which == wanted or (user and which.partition(b"@")[0] == user):
                return Bound(contact.uri, which, asked.client[1], now + _A_MOMENT, asked.aor, server.serial)
    return None


def _of_flow(state: State, service: VirtualService, user: bytes, client: bytes, now: float) -> Bound | None:
    """Of several phones with that Contact user, or of that AoR, the one behind this flow."""
    bindings = state.bindings[service.leg]
    bound = bindings.by_contact_user(user, now, client)
    if bound is not None:
        return bound
    of_aor = bindings.of_aor(state.binding_key(service, user + b"@"), now)
    return next((bound for bound in reversed(of_aor) if bound.client == client), None)


def _outbound(service: VirtualService, key: bytes, cut: int, read: Uri | None) -> Outward:
    """A target that is nobody's Contact: 403, unless `outbound = yes` and it is an address."""
    if read is not None and service.config.outbound:
        try:
            packed = pack_address(read.host.decode(), read.port)
        except (ValueError, UnicodeDecodeError):
            return Outward(None, "none", key, cut, refusal=480, reason="outbound name")
        return Outward(flow_of(service.leg, packed), "outbound", key, cut)
    return Outward(None, "none", key, cut, refusal=403, reason="not ours")
