"""What a datagram would teach the balancer: the difference between the state and a shadow it was done to, in words."""

from __future__ import annotations

from collections.abc import Iterator

from sipbalancer.director.bindings import Bound, read_bounds
from sipbalancer.director.pins import PinKind
from sipbalancer.director.reading import text
from sipbalancer.director.service import VirtualService
from sipbalancer.director.shadow import Overlay, binding_changes, recent_changes
from sipbalancer.director.shadow_pins import PinChange, ShadowPins
from sipbalancer.director.state import State
from sipbalancer.sip.flow import address_text

_KINDS = {
    PinKind.CALL: "call pin",
    PinKind.BINDING: "binding pin",
    PinKind.ENDED: "pin of a call that is over",
    PinKind.PERSISTENT: "persistent pin",
}


def taught(real: State, shadow: State, service: VirtualService, now: float) -> tuple[str, ...]:
    """One line per thing remembered or forgotten."""
    return (
        *_transactions(shadow, now),
        *_recent(shadow),
        *(_pin(shadow, service, change, now) for change in _pin_changes(shadow)),
        *_contacts(shadow, service, now),
        *(f"log: {each}" for each in shadow.told() if each not in real._told),
    )


def _transactions(shadow: State, now: float) -> Iterator[str]:
    pending = shadow.transactions.pending
    if isinstance(pending, Overlay):
        for _, before, after in pending.changes():
            if before is None and after is not None:
                life = after.deadline - now
                yield f"transaction {text(after.method)}, of {after.server.name}: until its final, {life:.0f} s at most"
            elif after is None and before is not None:
                yield f"transaction {text(before.method)} ends; its server and branch stay known for 32 s"


def _recent(shadow: State) -> Iterator[str]:
    for _, before, number in recent_changes(shadow.provisional):
        if number is not None:
            yield f"provisional pin (AoR and address) to {shadow.servers[number].name} for 32 s"
        elif before is not None:
            yield "the provisional pin ends"
    for _, _, number in recent_changes(shadow.recent_calls):
        if number is not None:
            yield f"the Call-ID goes to {shadow.servers[number].name} for 32 s, until a 2xx confirms it"
    for _, _, number in recent_changes(shadow.unproved):
        if number is not None:
            yield f"persistencekey: it goes to {shadow.servers[number].name} for 32 s, until a 2xx confirms it"
    for _, _, client in recent_changes(shadow.moved):
        if client is not None:
            yield f"the phone's address in this dialog is {address_text(client)}"


def _pin_changes(shadow: State) -> list[PinChange]:
    return shadow.pins.changes if isinstance(shadow.pins, ShadowPins) else []


def _pin(shadow: State, service: VirtualService, change: PinChange, now: float) -> str:
    if not change.kind:
        return "the binding pin ends: no Contact is left"
    server = service.by_serial.get(change.serial)
    name = server.name if server is not None else shadow.pins.server_name(change.serial).partition("/")[2]
    kind = _KINDS.get(PinKind(change.kind), "call pin")
    return f"{kind} to {name} for {change.until - now:.0f} s"


def _contacts(shadow: State, service: VirtualService, now: float) -> Iterator[str]:
    for _, before, after in binding_changes(shadow.bindings[service.leg]):
        held, kept = _by_identity(before), _by_identity(after)
        for identity, bound in kept.items():
            old = held.get(identity)
            if old is None or (old.uri, old.client, old.expires) != (bound.uri, bound.client, bound.expires):
                life = bound.expires - now
                yield f"Contact {text(bound.uri)} is at {address_text(bound.client)} for {life:.0f} s"
        for identity, bound in held.items():
            if identity not in kept:
                yield f"Contact {text(bound.uri)} is forgotten"


def _by_identity(record: bytes | None) -> dict[bytes, Bound]:
    return {bound.identity: bound for bound in read_bounds(record)}
