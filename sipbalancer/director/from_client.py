"""A request from a client: which server it goes to (design 4.2). `decide` only reads; `commit` remembers.

The chain, first match wins, one counter each:
transaction -> token (in our Route) -> call pin -> Replaces/Join/Target-Dialog's call -> binding pin -> scheduler ->
fallback -> a draining server -> 503.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

from sipbalancer.config.model import PersistenceKey, Scheduler
from sipbalancer.director.own_routes import LONGEST_CACHED, OwnRoute, brings_nobody, read_own_routes
from sipbalancer.director.pace import ramp
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.service import VirtualService
from sipbalancer.director.state import State
from sipbalancer.director.verdict import Verdict
from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.aor import digest_aors, read_aor, tag, uri_aor
from sipbalancer.sip.contacts import contact_uri
from sipbalancer.sip.flow import Flow
from sipbalancer.sip.flow_token import FlowToken
from sipbalancer.sip.grammar import CALLER_NAMED, MAGIC_COOKIE, RELATED
from sipbalancer.sip.headers import Message, read_message
from sipbalancer.sip.scan import RequestFacts
from sipbalancer.sip.uri import addr_spec, parameter, read_uri, split_values

_NO_ROUTE = OwnRoute(0, None, False, b"")


class Decision(NamedTuple):
    """Where a request from a client goes and why; `refusal` instead when it goes nowhere."""

    server: RealServer | None
    by: str
    key: bytes
    """Of the transaction."""
    cut: int
    """Leading Routes of ours to remove."""
    refusal: int = 0
    """The status of our own answer; 0 = forward."""
    reason: str = ""
    """Of the refusal: a metric label."""
    aor: bytes = b""
    pin: int = 0
    """The binding pin's key, where one was looked for."""
    token: FlowToken | None = None
    in_dialog: bool = False
    """Its To has a tag; not looked for in a REGISTER."""
    call: int = 0
    """The call pin's key, where one was looked for."""


def _decided(
    server: RealServer,
    by: str,
    key: bytes,
    cut: int,
    aor: bytes,
    pin: int,
    token: FlowToken | None,
    in_dialog: bool,
    call: int = 0,
) -> Decision:
    """A Decision to forward; past the named tuple's own constructor, which costs 300 ns more on every request."""
    return tuple.__new__(Decision, (server, by, key, cut, 0, "", aor, pin, token, in_dialog, call))


def transaction_key(state: State, facts: RequestFacts, flow: Flow) -> bytes:
    """The key of a request's transaction; without the magic cookie From tag and Request-URI tell (16.11)."""
    _, _, uri, _, _, _, sent_by, branch, call_id, cseq, from_value, *_ = facts
    if not branch.startswith(MAGIC_COOKIE):
        branch = b"%b %b %b" % (branch, tag(from_value), uri)
    return state.keys.transaction(sent_by, branch, call_id, cseq, state.by_leg[flow[0]].salt + flow[1][2:])


def decide(state: State, service: VirtualService, facts: RequestFacts, flow: Flow, now: float) -> Decision:
    """Choose. MalformedMessage for what must not be forwarded."""
    _, method, uri, _, _, _, sent_by, branch, call_id, cseq, _, to_value, _, _, _, routes, _ = facts
    if branch.startswith(MAGIC_COOKIE):
        key = state.keys.transaction(sent_by, branch, call_id, cseq, service.salt + flow[1][2:])
    else:
        key = transaction_key(state, facts, flow)
    in_dialog = method != b"REGISTER" and bool(tag(to_value))
    cut, token, broken, foreign = read_own_routes(state, service, routes) if routes else _NO_ROUTE
    if foreign and not _is_server(service, foreign):
        return Decision(None, "none", key, cut, 403, "foreign route")
    transactions = state.transactions
    transaction = transactions.pending.get(key)
    if transaction is not None:
        return _decided(transaction.server, "transaction", key, cut, b"", 0, token, in_dialog)
    number = transactions.ended.get(key, now)
    if number is not None:
        return _decided(state.servers[number], "transaction", key, cut, b"", 0, token, in_dialog)
    if token is not None and token.server not in service.by_packed:
        if brings_nobody(state, service, token, routes, cut):
            broken, token = True, None
    if token is not None:
        server = state.server_at(service, token.server)
        if server is None:
            return Decision(None, "none", key, cut, 481, "too many old servers")
        # Outside a dialog (a Route of a call that is over) it takes nothing new to a server that leaves.
        if in_dialog or _usable(service, server, method == b"REGISTER"):
            return _decided(server, "token", key, cut, b"", 0, token, in_dialog)
    call = 0
    if method != b"REGISTER":
        call = state.call_key(service, call_id)
        server = _of_call(state, service, call, in_dialog, now)
        if server is None and in_dialog:
            server = _of_uri(service, uri)
        if server is not None:
            return _decided(server, "call", key, cut, b"", 0, None, in_dialog, call)
        if in_dialog and broken:
            return Decision(None, "none", key, cut, 481, "bad token")
        if method == b"ACK":
            return Decision(None, "none", key, cut, 0, "stray ack")
        server = None if in_dialog else _of_related(state, service, facts, now)
        if server is not None:
            return Decision(server, "related", key, cut, call=call)
    return _decide_new(state, service, facts, flow, now, key, cut, in_dialog, call)


def _decide_new(
    state: State,
    service: VirtualService,
    facts: RequestFacts,
    flow: Flow,
    now: float,
    key: bytes,
    cut: int,
    in_dialog: bool,
    call: int,
) -> Decision:
    value = facts[11] if facts[1] == b"REGISTER" else facts[10]
    aor, pin = service.names.get(value) or _name(state, service, facts, flow)
    if aor and now >= state.provisional.until:  # nobody is registering for the first time: what `_of_binding` finds
        server = service.by_serial.get(state.pins.get(pin, now))
        if server is not None and server in service.taking and not service.returned:
            return _decided(server, "binding", key, cut, aor, pin, None, in_dialog, call)
    server = _of_binding(state, service, facts, flow, now, aor, pin)
    if server is not None:
        if service.returned and facts[1] == b"REGISTER" and state.provisional.get(pin ^ hash(flow[1]), now) is None:
            home = _home(state, service, server, key, now)
            if home is not None:
                return _decided(home, "scheduler", key, cut, aor, pin, None, in_dialog)
        return _decided(server, "binding", key, cut, aor, pin, None, in_dialog, call)
    if service.eligible:
        server = _scheduled(state, service, facts, flow, now, key, pin)
        if server is not None:
            return _decided(server, "scheduler", key, cut, aor, pin, None, in_dialog, call)
    if service.resort:
        turn = _hash_key(state, service, facts, flow, pin) or crc32(key)
        server = service.resort[turn % len(service.resort)]
        return _decided(server, "draining", key, cut, aor, pin, None, in_dialog, call)
    if service.fallback is not None:
        return Decision(service.fallback, "fallback", key, cut, aor=aor, pin=pin, in_dialog=in_dialog, call=call)
    return Decision(None, "none", key, cut, 503, "no server", aor, pin)


def _scheduled(
    state: State, service: VirtualService, facts: RequestFacts, flow: Flow, now: float, key: bytes, pin: int
) -> RealServer | None:
    """The scheduler's choice; a server that returned a moment ago passes most of its turns on (`slowstart`)."""
    hashed = _hash_key(state, service, facts, flow, pin)
    server = service.schedule(service.eligible, service.scheduling, hashed)
    if server is None or not server.recovered or not service.config.slowstart:
        return server
    dice = crc32(key)
    if dice % 1000 < 1000 * ramp(server.recovered, service.config.slowstart, now):
        return server
    others = [other for other in service.eligible if ramp(other.recovered, service.config.slowstart, now) >= 1.0]
    return others[dice // 1000 % len(others)] if others else server


def _home(state: State, service: VirtualService, server: RealServer, key: bytes, now: float) -> RealServer | None:
    """`rebalance`: where a registration goes at its refresh that is on a server with more than its share (by weight):
    to one that has returned and has less, as fast as `slowstart` and `registerrate` let it. None: it stays."""
    if not service.config.rebalance or server not in service.taking:
        return None
    weights = sum(other.weight for other in service.eligible)
    total = sum(other.registrations for other in service.eligible)
    if server.registrations * weights <= total * server.weight:
        return None
    rate, dice = service.config.registerrate, crc32(key) % 1000
    short = [
        other
        for other in service.eligible
        if other.recovered
        and other.registrations * weights < total * other.weight
        and dice < 1000 * ramp(other.recovered, service.config.slowstart, now)
        and (not rate or (other.bucket.has(rate, now) and not state.lines.before(other, key)))
    ]
    return min(short, key=lambda other: other.registrations / other.weight, default=None)


def _of_call(state: State, service: VirtualService, key: int, in_dialog: bool, now: float) -> RealServer | None:
    """The call's server; for a request that only repeats the Call-ID not one that is down."""
    number = state.recent_calls.get(key, now)
    if number is not None:
        server: RealServer | None = state.servers[number]
    else:
        server = state.server_of_pin(service, state.pins.get(key, now))
    if server is None or (not in_dialog and server.verdict is Verdict.DOWN and not service.waits_for(server)):
        return None
    return server


def _of_uri(service: VirtualService, uri: bytes) -> RealServer | None:
    """In a dialog without a token of ours: the server whose address is the Request-URI's."""
    try:
        host, port = read_uri(uri).place
    except MalformedMessage:
        return None
    return service.by_text.get(b"%b:%d" % (host, port))


def _is_server(service: VirtualService, route: bytes) -> bool:
    return _of_uri(service, route) is not None


def _of_related(state: State, service: VirtualService, facts: RequestFacts, now: float) -> RealServer | None:
    """The server of the call that Replaces (3891), Join (3911) or Target-Dialog (4538) names."""
    data, *_, end = facts
    if RELATED.search(data, 0, end) is None:
        return None
    message = read_message(data)
    for name in (b"replaces", b"join", b"target-dialog"):
        value = message.first(name)
        if value is not None:
            named = state.call_key(service, value.split(b";", 1)[0].strip())
            return _of_call(state, service, named, False, now)
    return None


def _name(state: State, service: VirtualService, facts: RequestFacts, flow: Flow) -> tuple[bytes, int]:
    """What binding pins are kept by, and the pin's key (0 where there is none): To of a REGISTER, else From; or what
    `persistencekey` says."""
    value = facts[11] if facts[1] == b"REGISTER" else facts[10]
    found = service.names.again(value)
    if found is not None:
        return found
    found = _read_name(state, service, value, facts, flow)
    if found[0] and service.config.persistencekey is PersistenceKey.AOR and len(value) <= LONGEST_CACHED:
        service.names.keep(value, found)
    return found


def _read_name(
    state: State, service: VirtualService, value: bytes, facts: RequestFacts, flow: Flow
) -> tuple[bytes, int]:
    which = service.config.persistencekey
    if which is PersistenceKey.SOURCE:
        aor = b"source " + _masked(service, flow[1][2:])
    elif which is PersistenceKey.CALLID:
        aor = b"callid " + facts[8]
    else:
        try:
            aor = read_aor(value, service.hosts)
        except MalformedMessage:
            if facts[1] == b"REGISTER":
                raise
            return b"", 0
        if which is PersistenceKey.DOMAIN:
            aor = b"domain " + aor.partition(b"@")[2]
    return aor, state.binding_key(service, aor) if aor else 0


def persistence_pin(state: State, service: VirtualService, facts: RequestFacts, flow: Flow) -> int:
    """The pin that any request keeps under a `persistencekey` other than aor; 0 where it has none."""
    return _name(state, service, facts, flow)[1]


def _masked(service: VirtualService, address: bytes) -> bytes:
    mask = service.netmask
    return bytes(a & b for a, b in zip(address, mask, strict=True)) if len(mask) == len(address) else address


def _of_binding(
    state: State, service: VirtualService, facts: RequestFacts, flow: Flow, now: float, aor: bytes, pin: int
) -> RealServer | None:
    register = facts[1] == b"REGISTER"
    if aor:
        provisional = state.provisional
        number = provisional.get(pin ^ hash(flow[1]), now) if now < provisional.until else None
        if number is not None:
            asker = state.servers[number]
            # Who asked for the proof must get it, also when it began to drain since (design 5.1).
            if _usable(service, asker, False) or (register and asker.verdict is Verdict.DRAINING):
                return asker
        serial = state.pins.get(pin, now)
        server = service.by_serial.get(serial) or state.server_of_pin(service, serial)
        if server is not None:
            return server if _usable(service, server, register) else None
    if service.config.persistencekey is not PersistenceKey.AOR:
        number = state.unproved.get(pin, now)
        if number is None or not _usable(service, state.servers[number], register):
            return None
        return state.servers[number]
    if register:
        return None
    server = _of_other_names(state, service, facts, flow, now)
    return server if server is not None and _usable(service, server, False) else None


def _usable(service: VirtualService, server: RealServer, register: bool) -> bool:
    """Whether a binding may still choose this server (the traffic column of design 5.1)."""
    if server in service.taking:
        return True
    verdict = server.verdict
    if verdict is Verdict.UP:
        return not register
    if verdict is Verdict.DOWN:
        return service.waits_for(server)
    if service.eligible or service.saved:
        return False
    return server in service.resort if service.resort else True


def _of_other_names(
    state: State, service: VirtualService, facts: RequestFacts, flow: Flow, now: float
) -> RealServer | None:
    """From found nothing: the asserted identity, the digest user name, then the flow a phone registered from."""
    data, *_, end = facts
    named = CALLER_NAMED.search(data, 0, end) is not None
    for aor in _other_names(read_message(data), service.hosts) if named else ():
        server = state.server_of_pin(service, state.pins.get(state.binding_key(service, aor), now))
        if server is not None:
            return server
    bound = state.bindings[service.leg].by_client(flow[1], now)
    if bound is None:
        return None
    return state.server_of_pin(service, state.pins.get(state.binding_key(service, bound.aor), now))


def _other_names(message: Message, hosts: frozenset[bytes]) -> list[bytes]:
    """The AoRs that name the caller beside From, the surest first."""
    names: list[bytes] = []
    for header in (b"p-preferred-identity", b"p-asserted-identity"):
        for value in message.all(header):
            names.extend(_identities(value, hosts))
    for header in (b"authorization", b"proxy-authorization"):
        for credentials in message.all(header):
            user = parameter(b";" + credentials.partition(b" ")[2].replace(b",", b";"), b"username")
            names.extend(digest_aors((user or b"").strip(b'"'), hosts))
    return [name for name in names if name]


def _identities(value: bytes, hosts: frozenset[bytes]) -> Iterator[bytes]:
    """One URI, or a sip: and a tel: one (RFC 3325 9.1)."""
    try:
        for start, stop in split_values(value):
            uri = addr_spec(value[start:stop])
            if contact_uri(uri) is not None:
                yield uri_aor(uri, hosts)
    except MalformedMessage:
        return


def _hash_key(state: State, service: VirtualService, facts: RequestFacts, flow: Flow, pin: int) -> int:
    """What `hash`, `sh` and `dh` go by; the others look at nothing."""
    scheduler = service.config.scheduler
    if scheduler is Scheduler.HASH:
        return pin or state.keys.pin(flow[1][2:])
    if scheduler is Scheduler.SH:
        return state.keys.pin(b"s" + _masked(service, flow[1][2:]))
    if scheduler is Scheduler.DH:
        return state.keys.pin(b"d" + facts[2].split(b"@", 1)[0])
    return 0
