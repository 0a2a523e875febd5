"""What is left on a server that is being emptied, and when it is safe to stop.

Counted are pins and transactions of this balancer. Not counted are subscriptions: they have no pin, phones make them
anew elsewhere when the server is gone. What was agreed before the pins began (first start, lost state folder, other
secret) is not in them until it is renewed or has run out: so long nothing is called safe.
"""

from __future__ import annotations

from sipbalancer.director.real_server import RealServer
from sipbalancer.director.service import VirtualService
from sipbalancer.director.snapshot import Drain
from sipbalancer.director.state import State
from sipbalancer.director.verdict import Verdict

SILENT_AFTER = 3600.0
"""Seconds without an answered INVITE or UPDATE after which a call without session timer is counted as silent."""
BEGAN_EMPTY = (
    "the pins began empty: a registration or call made before that may still be there;"
    " ask the server itself (core show channels); drain --vouch says that it has none"
)
FIRST_START = (
    "first start with this state folder: what the server had before, through ldirectord or alone, may still be there;"
    " ask the server itself (core show channels); drain --vouch says that it has none"
)
"""An empty folder proves nothing more: one that was deleted looks the same, and calls may be older than we are. Only
the operator knows a new pool from one that was taken over, so he may say so, once for all servers."""
TAKES_ALL_THE_SAME = "no other server takes work: what is new still goes to it"
LONGEST_REGISTRATION = 7200
"""Seconds a server grants at most unless `maxexpires` says less: the default of Asterisk's AORs."""


def drain_of(state: State, service: VirtualService, server: RealServer, now: float) -> Drain:
    """Reads only."""
    if not _leaving(server):
        return Drain(False, None, "", 0.0)
    withheld, known_at = _unknowable(state, service, server, now)
    silent = state.pins.old(server.serial) if service.config.calltimeout > SILENT_AFTER else 0
    return Drain(True, silent, withheld, known_at)


def watch_drains(state: State, now: float) -> None:
    """Once a second: have the calls of leaving servers looked at."""
    state.pins.watch_old(
        {
            server.serial: now + service.config.calltimeout - SILENT_AFTER
            for service in state.services.values()
            for server in service.by_packed.values()
            if server.serial >= 0 and _leaving(server)
        }
    )


def _leaving(server: RealServer) -> bool:
    held_back = server.drained or bool(server.maintenance) or server.weight == 0
    return held_back or server.verdict is Verdict.DRAINING


def _unknowable(state: State, service: VirtualService, server: RealServer, now: float) -> tuple[str, float]:
    pins = state.pins
    if server in service.resort:
        return TAKES_ALL_THE_SAME, 0.0
    if server.serial < 0 or pins.refused:
        return "the pin table is too small (registrations, calls): what is left was not counted", 0.0
    config = service.config
    registration = max(config.maxexpires or LONGEST_REGISTRATION, config.persistent)
    known_at = pins.born + registration + config.calltimeout
    if now < known_at:
        return FIRST_START if state.first_start else BEGAN_EMPTY, known_at
    return "", 0.0
