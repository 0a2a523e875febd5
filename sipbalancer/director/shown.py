"""Running state to snapshot values. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from sipbalancer.director.drain import drain_of
from sipbalancer.director.pins import PinKind
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.service import VirtualService
from sipbalancer.director.snapshot import (
    ContactSnapshot,
    ServerSnapshot,
    ServiceSnapshot,
    Snapshot,
    WhereSnapshot,
)
from sipbalancer.director.state import State
from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.aor import uri_aor
from sipbalancer.sip.flow import address_text


def show(state: State, started: float, reloads: Mapping[str, int], now: float) -> Snapshot:
    """The whole director at one moment."""
    services = tuple(_service(state, service, now) for service in state.services.values())
    return Snapshot(now, started, services, dict(reloads))


def _service(state: State, service: VirtualService, now: float) -> ServiceSnapshot:
    servers = [*service.servers, *([service.fallback] if service.fallback else [])]
    retired = [server for server in service.by_packed.values() if server.retired and server.connections]
    return ServiceSnapshot(
        key=service.key,
        scheduler=str(service.config.scheduler),
        servers=tuple(_server(state, service, server, now) for server in [*servers, *retired]),
        chosen=dict(service.chosen),
        dropped=dict(service.dropped),
        pins=_pins(state, service),
        notes=(),
        resort=tuple(server.name for server in service.resort),
    )


def _pins(state: State, service: VirtualService) -> Mapping[str, int]:
    """Confirmed pins are the service's own; transactions and unconfirmed ones are kept for all services together."""
    serials = [server.serial for server in service.by_packed.values()]
    return {
        "call": sum(server.calls for server in service.by_packed.values()),
        "ended": sum(state.pins.count(PinKind.ENDED, serial) for serial in serials),
        "binding": sum(state.pins.count(PinKind.BINDING, serial) for serial in serials),
        "persistent": sum(state.pins.count(PinKind.PERSISTENT, serial) for serial in serials),
        "transaction": sum(server.transactions for server in service.by_packed.values()),
        "provisional": len(state.provisional) + len(state.recent_calls) + state.provisional_elsewhere,
    }


def _server(state: State, service: VirtualService, server: RealServer, now: float) -> ServerSnapshot:
    health = server.health
    return ServerSnapshot(
        name=server.name,
        key=server.key,
        verdict=server.verdict,
        reason=server.reason,
        since=server.since,
        latency=health.latency,
        weight=server.weight,
        fallback=server.fallback,
        drained=server.drained,
        calls=server.calls,
        registrations=server.registrations,
        transactions=server.transactions,
        requests={method.decode(): count for method, count in server.requests.items()},
        responses={f"{number}xx": server.responses[number] for number in range(1, 7)},
        probes={str(result): count for result, count in health.probes.items()},
        probe_buckets=tuple(health.probe_buckets),
        probe_sum=health.probe_sum,
        drain=drain_of(state, service, server, now),
        full=server.full,
    )


def show_where(state: State, aor: str, now: float) -> tuple[WhereSnapshot, ...]:
    """One entry per service that has a binding pin or a Contact of that AoR."""
    found = (_where(state, service, aor, now) for service in state.services.values())
    return tuple(where for where in found if where is not None)


def _where(state: State, service: VirtualService, text: str, now: float) -> WhereSnapshot | None:
    try:
        uri = text if text.lower().startswith(("sip:", "sips:")) else f"sip:{text}"
        named = uri.encode("utf-8", "surrogateescape")
        aor = uri_aor(named, service.hosts) if "@" in text else named.partition(b":")[2] + b"@"
    except MalformedMessage:
        return None
    key = state.binding_key(service, aor)
    bound = state.bindings[service.leg].of_aor(key, now)
    server = state.server_of_pin(service, state.pins.get(key, now))
    if server is None and not bound:
        return None
    life = state.pins.life(key, now)
    return WhereSnapshot(
        aor=text,
        virtual=service.key,
        server=server.name if server is not None else "",
        contacts=tuple(
            ContactSnapshot(
                one.uri.decode("utf-8", "replace"), address_text(one.client), min(one.expires - now, life or inf)
            )
            for one in bound
        ),
        expires=life,
    )
