"""The one mutable root: services, servers, their health. Touched only from the loop's thread.

Whoever changes something here gets back what changed (transitions), as values to log; nothing is called back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain

from sipbalancer.config.model import CheckConfig, Config, RealServerConfig, VirtualServiceConfig
from sipbalancer.director.bindings import BindingRow, Bindings
from sipbalancer.director.forwarder import Forwarder
from sipbalancer.director.health import Health, check_of, same_question
from sipbalancer.director.pins import PinTable
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.seat import ALONE, Seat
from sipbalancer.director.service import VirtualService
from sipbalancer.director.shown import show, show_where
from sipbalancer.director.snapshot import Snapshot, WhereSnapshot
from sipbalancer.director.state import State
from sipbalancer.director.verdict import ProbeOutcome, Transition, Verdict
from sipbalancer.errors import AdminError

_ENDED_BY = 60.0
"""Seconds in which the calls of a server that has left the file are ended, from the proof on."""
HealthKey = tuple[str, CheckConfig]


@dataclass(frozen=True, slots=True)
class LegSpec:
    """A socket the daemon must hold: `index` is the flow's leg and is never used again for another address."""

    index: int
    host: str
    port: int


class ServiceTable:
    """Apply a configuration, take probe outcomes, drain, show."""

    def __init__(
        self, config: Config, keys: tuple[bytes, ...], pins: PinTable, now: float, seed: int, seat: Seat = ALONE
    ) -> None:
        """`config` has address literals only; `keys` newest first; `seed` any integer (where round robin starts)."""
        self.state = State(keys, pins, now)
        self.forwarder = Forwarder(self.state)
        self.legs: tuple[LegSpec, ...] = ()
        self.healths: tuple[Health, ...] = ()
        self.reloads = {"ok": 0, "failed": 0}
        self.started = now
        self._seed = seed
        self._seat = seat
        self._next_leg = 0
        self._limit = config.registrations
        self._by_health: dict[HealthKey, Health] = {}
        self._checked: dict[Health, list[RealServer]] = {}
        """Whose they are in the file: each probe asks, and hundreds of servers are not looked through for it."""
        self._taken: list[BindingRow] = []
        self.apply(config, now)

    # Configuration.

    def apply(self, config: Config, now: float) -> tuple[Transition, ...]:
        """Take a whole new configuration: what did not change keeps pins, counters and health."""
        before = self._verdicts()
        held = {service.key: service for service in self.state.services.values()}
        healths: dict[HealthKey, Health] = {}
        services = [self._service(virtual, held.get(virtual.key)) for virtual in config.virtual]
        for service, virtual in zip(services, config.virtual, strict=True):
            service.readdquiescent = config.readdquiescent
            self._publish(service, virtual, healths, now)
        for service in services:
            if service.config.endcalls:
                self._linger(service, healths)
        self._by_health = healths
        self._healths_changed()
        self.state.services = {service.leg: service for service in services}
        self._checked = {}
        for service in services:
            for server in self._servers(service):
                self._checked.setdefault(server.health, []).append(server)
        self.state.by_leg = {leg: service for service in services for leg in (service.leg, service.server_leg)}
        self.state.bindings = {
            leg: self.state.bindings.get(leg) or Bindings(service.key, self.state.keys.pin, self._limit)
            for leg, service in self.state.services.items()
        }
        self.legs = tuple(spec for service in services for spec in self._legs(service))
        return self._changes(before, now)

    def _service(self, virtual: VirtualServiceConfig, held: VirtualService | None) -> VirtualService:
        if held is not None:
            held.configure(virtual)
            return held
        service = VirtualService(virtual, self._next_leg, self.state.keys, self.state.pins, self._seat)
        self._next_leg = service.server_leg + 1
        return service

    def _legs(self, service: VirtualService) -> Iterator[LegSpec]:
        config, seat = service.config, self._seat
        yield LegSpec(service.leg, config.host, config.port)
        if not seat.alone:
            yield LegSpec(service.server_leg, config.host, config.leg_ports(seat.of)[seat.number])

    def _publish(
        self, service: VirtualService, virtual: VirtualServiceConfig, healths: dict[HealthKey, Health], now: float
    ) -> None:
        held = dict(service.by_packed)
        servers = tuple(self._server(service, real, held, healths, now) for real in virtual.real)
        fallback = None
        if virtual.fallback is not None:
            fallback = self._server(service, virtual.fallback, held, healths, now, fallback=True)
        service.publish(servers, fallback)

    def _server(
        self,
        service: VirtualService,
        real: RealServerConfig,
        held: dict[bytes, RealServer],
        healths: dict[HealthKey, Health],
        now: float,
        *,
        fallback: bool = False,
    ) -> RealServer:
        health = self._health(real, service.config.check, healths, now)
        server = RealServer(real, service, health, self.state.number(), fallback)
        old = held.get(server.packed)
        if old is None or old.fallback is not fallback:
            self.state.servers.append(server)
            return server
        old.configure(real, health)
        return old

    def _health(
        self, real: RealServerConfig, check: CheckConfig, healths: dict[HealthKey, Health], now: float
    ) -> Health:
        own = check_of(check, real)
        key = (real.key, own)
        health = healths.get(key) or self._by_health.get(key) or self._at_new_pace(real, own)
        healths[key] = health = health or Health(real.key, own, now)
        return health

    def _at_new_pace(self, real: RealServerConfig, check: CheckConfig) -> Health | None:
        """What another pace of the same check has found out; with several, any will do."""
        known = (held for (key, old), held in self._by_health.items() if key == real.key and same_question(old, check))
        return next((held.at_pace(check) for held in known), None)

    # Health.

    def probed(self, health: Health, outcome: ProbeOutcome, now: float) -> tuple[Transition, ...]:
        """Take a finished probe; what changed, for every service that has the server."""
        before = [(server, server.verdict) for server in self._checked.get(health, ())]
        health.probe_result(outcome, now)
        if health.undecided:
            self.state.suspects[health] = None
        changes = self._changes(before, now)
        servers = [server for server, _ in before]
        for server, old in before:
            if old is not Verdict.DOWN and server.verdict is Verdict.DOWN:
                self.forwarder.retries.server_down(server, now)
            elif old is not Verdict.OVERLOADED and server.verdict is Verdict.OVERLOADED:
                self.forwarder.retries.server_overloaded(server, now)
        self.forwarder.retries.probed(servers, now)
        return changes

    def probe_silent(self, health: Health, sent: float) -> None:
        """A probe sent at `sent` is unanswered after `health.evidence.wait` seconds; others follow it."""
        health.evidence.probe_silent(sent)

    def addresses_of(self, key: str) -> Iterator[bytes]:
        """The addresses of a virtual service's servers, 4 or 16 octets each."""
        services = (each for each in self.state.services.values() if each.key == key)
        return (packed[2:] for service in services for packed in service.by_packed)

    def behind(self, seconds: float) -> None:
        """What comes now waits this long in our own queues before we read it."""
        self.state.unread = seconds

    def suspects(self) -> tuple[Health, ...]:
        """Servers to probe at once, since the last call: the daemon asks after each `due`."""
        suspects = tuple(self.state.suspects)
        self.state.suspects.clear()
        return suspects

    def _linger(self, service: VirtualService, healths: dict[HealthKey, Health]) -> None:
        """`endcalls`: a server that has left the file while it was down is probed on, until its calls can be ended."""
        for server in service.by_packed.values():
            health = server.health
            if server.retired and health.verdict is Verdict.DOWN and health in self.state.probed:
                healths.setdefault((health.key, health.check), health)

    def let_go(self, health: Health, now: float) -> bool:
        """Whether this one, of no server in the file, needs no more probes: then it is not in `healths` any more."""
        if health in self._checked:
            return False
        proof = max((service.config.deaddialogs for service in self.users_of(health)), default=0.0) + _ENDED_BY
        if health.verdict is Verdict.DOWN and now - max(health.since, health.evidence.sign) < proof:
            return False
        self._by_health = {key: held for key, held in self._by_health.items() if held is not health}
        self._healths_changed()
        return True

    def _healths_changed(self) -> None:
        self.healths = tuple(self._by_health.values())
        self.state.probed = frozenset(self.healths)

    def users_of(self, health: Health) -> tuple[VirtualService, ...]:
        """The services that have this server under this check, in the file's order; else those that had it."""
        services = self.state.services.values()
        users = [each for each in services if any(server.health is health for server in self._servers(each))]
        had = (each for each in services if any(server.health is health for server in each.by_packed.values()))
        return tuple(users or had)

    def _verdicts(self) -> list[tuple[RealServer, Verdict]]:
        services = self.state.services.values()
        return [(server, server.verdict) for service in services for server in self._servers(service)]

    def _changes(self, before: list[tuple[RealServer, Verdict]], now: float) -> tuple[Transition, ...]:
        """One transition per server address whose verdict is another now; the services' lists are published anew."""
        changed: dict[str, Transition] = {}
        for server, old in before:
            new = server.verdict
            if new is not old and not server.retired:
                server.since = now
                if new is Verdict.UP and server.fell:
                    server.recovered, server.fell = now, False
                elif new in (Verdict.DOWN, Verdict.DRAINING):
                    server.fell = True
                changed.setdefault(server.name, Transition(server.name, old, new, server.reason, now))
        if changed:
            for service in self.state.services.values():
                service.refresh()
                if service.resort:
                    names = ", ".join(server.name for server in service.resort)
                    self.state.tell(f"{service.key}: nobody else takes work: what is new goes to {names}, draining")
        return tuple(changed.values())

    @staticmethod
    def _servers(service: VirtualService) -> Iterator[RealServer]:
        yield from service.servers
        if service.fallback is not None:
            yield service.fallback

    # The operator.

    def drain(self, server: str, now: float) -> tuple[Transition, ...]:
        """Nothing new for this server (name or address, with or without port) in any service. AdminError: no such."""
        return self._set_drained(server, True, now)

    def enable(self, server: str, now: float) -> tuple[Transition, ...]:
        """Undo `drain`."""
        return self._set_drained(server, False, now)

    def maintain(self, files: Mapping[str, str], now: float) -> tuple[Transition, ...]:
        """`maintenancedir`: server key -> the file that drains it; every other server is not drained by a file."""
        before = self._verdicts()
        for server, _ in before:
            server.maintenance = files.get(server.key, "")
        return self._changes(before, now)

    def named(self, name: str) -> tuple[str, ...]:
        """The keys of the servers an operator means by `name`. AdminError: none."""
        return tuple(dict.fromkeys(server.key for server in self._named(name)))

    def _set_drained(self, name: str, drained: bool, now: float) -> tuple[Transition, ...]:
        named = self._named(name)
        before = self._verdicts()
        for server in named:
            server.drained = drained
        return self._changes(before, now)

    def _named(self, name: str) -> list[RealServer]:
        everyone = [server for service in self.state.services.values() for server in self._servers(service)]
        found = [server for server in everyone if name in server.names]
        if found:
            return found
        near = get_close_matches(name, sorted({text for server in everyone for text in server.names}), 1, 0.0)
        raise AdminError(f"{name}: no such server; did you mean {near[0]}?" if near else f"{name}: no such server")

    # Showing.

    def snapshot(self, now: float) -> Snapshot:
        """Everything `status` and the metrics show, as values."""
        return show(self.state, self.started, self.reloads, now)

    def requests(self) -> dict[tuple[str, str], int]:
        """(virtual, server) -> requests forwarded to it so far, also those that have left the file."""
        services = self.state.services.values()
        return {
            (service.key, server.key): sum(server.requests.values())
            for service in services
            for server in service.by_packed.values()
        }

    def where(self, aor: str, now: float) -> tuple[WhereSnapshot, ...]:
        """Where an AoR (`1001`, `1001@host` or a SIP URI) lives, in each service that knows it."""
        return show_where(self.state, aor, now)

    def events(self) -> tuple[str, ...]:
        """Rare things worth one log line, since the last call."""
        return self.state.told()

    # Contacts, for the state folder.

    def binding_changes(self, limit: int) -> tuple[BindingRow, ...]:
        """What changed and was not told yet, so many of each service at most; none when all is told."""
        taken, self._taken = self._taken[:limit], self._taken[limit:]
        each = [bindings.changes(self._server_name, limit) for bindings in self.state.bindings.values()]
        return (*taken, *chain.from_iterable(each))

    def binding_rows(self) -> Iterator[BindingRow]:
        """All Contacts; may be handed out in pieces while the table goes on."""
        for bindings in list(self.state.bindings.values()):
            yield from bindings.rows(self._server_name)

    def _server_name(self, serial: int) -> str:
        return self.state.pins.server_name(serial).partition("/")[2]

    def take_bindings(self, rows: Iterable[BindingRow], now: float) -> None:
        """What a worker has learned: known here from now on, and given by the next `binding_changes`."""
        rows = list(rows)
        self.load_bindings(rows, now, forget=True)
        self._taken += rows

    def load_bindings(self, rows: Iterable[BindingRow], now: float, *, forget: bool = False) -> None:
        """Take what another process knows; rows of services that are gone, or expired, are passed over. `forget`:
        what has expired is forgotten here too."""
        for row, bindings, key, serial in self._bound(rows):
            if row.expires > now or forget:
                bindings.take(row, key, serial, now)

    def restore_bindings(self, rows: Iterable[BindingRow], now: float) -> None:
        """Take back what the state folder kept; what has been learned since then is newer, and stays."""
        for row, bindings, key, serial in self._bound(rows):
            if row.expires > now:
                bindings.restore(row, key, serial, now)

    def _bound(self, rows: Iterable[BindingRow]) -> Iterator[tuple[BindingRow, Bindings, int, int]]:
        """Each row with where it belongs, its AoR's key and its server's number; none of services that are gone."""
        by_key = {service.key: service for service in self.state.services.values()}
        for row in rows:
            service = by_key.get(row.virtual)
            if service is not None:
                key = self.state.binding_key(service, row.aor.encode("utf-8", "surrogateescape"))
                serial = self.state.pins.server_id(service.pin_name(row.server))
                yield row, self.state.bindings[service.leg], key, serial
