"""Running state beside its configuration: what the director knows of a virtual service and of each of its servers.

`VirtualServiceConfig` is what the operator asked for; `VirtualService` is what runs. Server lists that traffic reads
are tuples, published whole by `publish`; nothing edits them in place.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING
from zlib import crc32

from sipbalancer.compiled import mypyc_attr
from sipbalancer.config.model import VirtualServiceConfig
from sipbalancer.director.health import first_group
from sipbalancer.director.keys import Keys
from sipbalancer.director.pins import PinTable
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.scheduler import SCHEDULERS, SchedulerState
from sipbalancer.director.seat import ALONE, Seat
from sipbalancer.director.small_cache import SmallCache
from sipbalancer.director.verdict import Verdict
from sipbalancer.sip.flow import Flow, address_text, pack_address
from sipbalancer.sip.uri import read_place

if TYPE_CHECKING:
    from sipbalancer.director.own_routes import OwnRoute

CHOSEN_BY = (
    *("transaction", "token", "call", "related", "binding", "scheduler", "fallback", "draining", "none"),
    *("repeat", "failover"),
    *("client_transaction", "client_token", "client_binding", "client_outbound"),
)
"""How a server was chosen for a client's request; our own copies and moves; how the client was found for a server's."""


def read_netmask(text: str) -> bytes:
    """A dotted quad or a prefix length (IPv6) as packed bytes; b"" for none."""
    if not text:
        return b""
    if text.isdigit():
        return (((1 << int(text)) - 1) << 128 - int(text)).to_bytes(16, "big")
    return pack_address(text, 0)[2:]


def _via(sent_by: bytes) -> bytes:
    """The Via line up to the branch."""
    return b"Via: SIP/2.0/UDP " + sent_by + b";branch=z9hG4bK"


_FORMER = 64
"""Names kept after they left the file, for as long as we run: a call may ring, or its route set last, for hours."""


def _claim(sources: dict[bytes, RealServer | None], address: bytes, server: RealServer) -> None:
    sources[address] = None if sources.get(address, server) is not server else server


def _priority(server: RealServer) -> int:
    return server.config.priority


def _has_room(server: RealServer) -> bool:
    return not server.full


def _any(server: RealServer) -> bool:
    return True


_RELUCTANCE = {Verdict.UP: 0, Verdict.STARTING: 2, Verdict.DRAINING: 4}
"""Of a draining server by its health: one that answers, one nobody has asked, one that says 503 itself."""


def _reluctance(server: RealServer) -> int:
    """Who gets new work when all are draining: rather one drained by hand than one that has never had any weight."""
    return _RELUCTANCE[server.health.verdict] + (server.weight == 0)


def _may_serve(server: RealServer) -> bool:
    return server.verdict is Verdict.DRAINING and server.health.verdict in _RELUCTANCE


@mypyc_attr(allow_interpreted_subclasses=True)
class VirtualService:
    """One virtual service as it runs."""

    def __init__(self, config: VirtualServiceConfig, leg: int, keys: Keys, pins: PinTable, seat: Seat = ALONE) -> None:
        self.key = config.key
        self.seat = seat
        self.salt = crc32(self.key.encode()).to_bytes(4, "big")
        """Makes pin keys of different services differ."""
        self.leg = leg
        """The socket at the virtual address: all that clients see, and what servers send of their own accord."""
        self.server_leg = leg if seat.alone else leg + 1
        """The socket that servers are asked from, and answer to."""
        self.keys = keys
        self.pins = pins
        self.servers: tuple[RealServer, ...] = ()
        self.fallback: RealServer | None = None
        self.eligible: tuple[RealServer, ...] = ()
        """Servers that take new work now, by verdict, weight, thresholds and priority group."""
        self.returned = False
        """Some of `eligible` had been away: registrations may go home."""
        self.taking: frozenset[RealServer] = frozenset()
        """These and the ones at their upper threshold: what is pinned there stays, as under IPVS."""
        self.resort: tuple[RealServer, ...] = ()
        """The draining servers that take new work all the same: nobody else does, nor a fallback server. IPVS would
        refuse; but a server somebody drained for tomorrow's upgrade is better than 503 for all when the other dies."""
        self.saved = False
        """The fallback server takes work."""
        self.readdquiescent = False
        """The file's global word, see `waits_for`."""
        self._limited: tuple[RealServer, ...] = ()
        self.by_packed: dict[bytes, RealServer] = {}
        self.by_text: dict[bytes, RealServer] = {}
        """`host:port` as a URI names it."""
        self.by_address: dict[bytes, RealServer | None] = {}
        """Source IP alone -> the one server it can be; None where several share it."""
        self.by_serial: dict[int, RealServer] = {}
        self.scheduling = SchedulerState()
        self.chosen = dict.fromkeys(CHOSEN_BY, 0)
        self.dropped: defaultdict[str, int] = defaultdict(int)
        self.places: frozenset[tuple[bytes, int]] = frozenset()
        """What it is called."""
        self.former: tuple[tuple[bytes, int], ...] = ()
        """What it was called before a reload, newest first: answers to what left under that name are still ours."""
        self.names: SmallCache[bytes, tuple[bytes, int]] = SmallCache()
        """From or To value -> AoR and its pin key."""
        self.routes: SmallCache[bytes, OwnRoute] = SmallCache()
        """URI of an only Route -> what it says."""
        self.ways_back: SmallCache[bytes, Flow] = SmallCache()
        """rport and received of a Via -> the flow of this service's leg."""
        self.configure(config)

    def configure(self, config: VirtualServiceConfig) -> None:
        """Take the words of a (new) file; the servers come by `publish`."""
        self.config = config
        self.client_header = config.clientheader.encode()
        self.rewritten = self.written = b""
        """One of several workers: the end of our Record-Route as a server with `rewrite_contact` gives it back, naming
        the worker's leg, and as it was."""
        self.netmask = read_netmask(config.netmask)
        self.schedule = SCHEDULERS[config.scheduler]
        self.virtual = pack_address(config.host, config.port)
        said = (config.advertise or config.key).encode()
        self.sent_by = said if said.rfind(b":") > said.rfind(b"]") else b"%b:%d" % (said, config.port)
        places = {read_place(each) for each in (self.sent_by, config.key.encode(), *map(str.encode, config.alias))}
        self.hosts = frozenset(host for host, _ in places)
        self.via = self.server_via = _via(self.sent_by)
        """What clients see, and (a worker's own) what servers see."""
        self.sent_bys = frozenset((self.sent_by,))
        """What the top Via of an answer says, where it is written as we write it."""
        ports = config.leg_ports(self.seat.of)
        if ports:
            sent_by = b"%b:%d" % (self.sent_by.rpartition(b":")[0], ports[self.seat.number])
            self.server_via = _via(sent_by)
            leg = self.key.rpartition(":")[0].encode(), ports[self.seat.number]
            self.rewritten, self.written = b"@%b:%d;lr>" % leg, b"@%b;lr>" % self.sent_by
            self.sent_bys = frozenset((self.sent_by, sent_by))
            places.update((host, port) for host in self.hosts for port in ports)
        gone = dict.fromkeys((*sorted(self.places - places), *self.former))
        self.former = tuple(place for place in gone if place not in places)[:_FORMER]
        self.places = frozenset(places)
        self.route_end = b"@%b;lr" % self.sent_by  # of the URIs of our Record-Route and Path
        self.names.forget()
        self.routes.forget()

    def publish(self, servers: tuple[RealServer, ...], fallback: RealServer | None) -> None:
        """Replace the pool in one go. Servers that left stay known, as retired, for their dialogs."""
        retired = [server for server in self.by_packed.values() if server not in servers and server is not fallback]
        self.servers, self.fallback = servers, fallback
        known = [*servers, *([fallback] if fallback else [])]
        self.by_packed = {server.packed: server for server in [*retired, *known]}
        for server in known:
            server.was_up = server.was_up and not server.retired
            server.retired = False
        for server in retired:
            server.retired = self.by_packed[server.packed] is server
        self.by_text = {address_text(packed).encode(): server for packed, server in self.by_packed.items()}
        self.by_serial = {server.serial: server for server in self.by_packed.values() if server.serial >= 0}
        self.by_address = self._sources(known)
        self._limited = tuple(server for server in servers if server.config.upper or server.full)
        self.measure()
        self.refresh()

    def _sources(self, known: list[RealServer]) -> dict[bytes, RealServer | None]:
        """Its own address first; only where that is no server's, what `source` says."""
        own: dict[bytes, RealServer | None] = {}
        more: dict[bytes, RealServer | None] = {}
        for server in known:
            _claim(own, server.packed[2:], server)
            for text in server.config.source:
                _claim(more, pack_address(text, 0)[2:], server)
        return {**more, **own}

    def refresh(self) -> None:
        """Compute `eligible` anew: after a verdict, a weight, a threshold or the pool changed (design 5.1)."""
        up = tuple(server for server in self.servers if server.verdict is Verdict.UP)
        for server in up:
            server.was_up = True
        starting = tuple(each for each in self.servers if each.verdict is Verdict.STARTING and each.weight > 0)
        self.eligible = first_group(up, _priority, _has_room) or first_group(starting, _priority, _has_room)
        home = first_group(up, _priority, _any) or first_group(starting, _priority, _any)
        self.taking = frozenset((*self.eligible, *home))
        fallback = self.fallback
        self.saved = fallback is not None and fallback.verdict in (Verdict.UP, Verdict.STARTING)
        self.resort = () if home or self.saved else first_group(self.servers, _reluctance, _may_serve)
        self.returned = any(server.recovered for server in self.eligible)

    def measure(self) -> None:
        """Look at the thresholds of servers that have any; called every 50 ms."""
        if any([server.measure() for server in self._limited]):
            self.refresh()

    def waits_for(self, server: RealServer) -> bool:
        """Whether pins wait for this server while it is down: `quiescent`, and (ldirectord's table) it was in service
        since it is in the file or since the start, unless `readdquiescent` puts it there from the beginning."""
        return self.config.quiescent and (server.was_up or self.readdquiescent)

    def pin_name(self, key: str) -> str:
        """A server's name in the pin table: counts are per service, so the service is part of it."""
        return f"{self.salt.hex()}/{key}"

    def adopt(self, server: RealServer) -> None:
        """Know a server that is not (or no longer) in the file, for its pins and dialogs (design 4.2)."""
        server.retired = True
        self.by_packed = {**self.by_packed, server.packed: server}
        self.by_text = {**self.by_text, address_text(server.packed).encode(): server}
        if server.serial >= 0:
            self.by_serial = {**self.by_serial, server.serial: server}

    def source(self, packed: bytes) -> RealServer | None:
        """The server a datagram from this address comes from (design 4.3), None for a client."""
        return self.by_packed.get(packed) or self.by_address.get(packed[2:])

    def was_ours(self, place: tuple[bytes, int]) -> bool:
        """Whether a Via or Record-Route with that sent-by may be of our writing: its name now, or before a reload."""
        return place in self.places or place in self.former

    def is_ours(self, place: tuple[bytes, int]) -> bool:
        """Whether host and port are the virtual address, its `advertise` or an `alias` (design 4.1)."""
        return place in self.places
