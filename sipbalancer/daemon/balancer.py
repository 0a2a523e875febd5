"""The balancer at work: the director's table joined to sockets, probes and a clock. Lives in the loop's thread.

Here: what a whole configuration means for legs, probes and table, at start and at each reload, and what is shown of
it. Never here: files, signals, the order of starting and stopping (main.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Protocol

from sipbalancer.config.diff import plan
from sipbalancer.config.model import Config
from sipbalancer.daemon.clock import Clock
from sipbalancer.daemon.explained import explain_document
from sipbalancer.daemon.fleet_reports import WorkerShown
from sipbalancer.daemon.leg import Leg, kernel_drops, open_leg
from sipbalancer.daemon.log import say
from sipbalancer.daemon.prober import HealthKey, Prober, ProbeTarget
from sipbalancer.daemon.shedding import Shedding, Watched
from sipbalancer.daemon.standby import LOOK_EVERY, Standby
from sipbalancer.daemon.status import Document
from sipbalancer.daemon.suspects import SuspectingCore
from sipbalancer.daemon.udp import Edge
from sipbalancer.daemon.web import split_address
from sipbalancer.director.evidence import SHORTEST_WAIT
from sipbalancer.director.health import Health
from sipbalancer.director.pins import PinTable
from sipbalancer.director.snapshot import Snapshot, WhereSnapshot
from sipbalancer.director.table import LegSpec, ServiceTable
from sipbalancer.director.verdict import ProbeOutcome, Transition, Verdict

PLAIN_EDGE = "plain edge: one system call per datagram (the batched one needs 64-bit little-endian Linux and cffi)"
TAKES_NOTHING_NEW = frozenset((Verdict.DRAINING, Verdict.OVERLOADED, Verdict.DOWN))
AWAITED = frozenset((Verdict.STARTING, Verdict.OVERLOADED, Verdict.DOWN))
AWAITED_EVERY = 2.0
"""Seconds between two probes at most of a server whose return is awaited."""
STANDBY_SLOWER = 3.0
STANDBY_EVERY = 10.0
"""A standby probes at so many times the interval, and at least so many seconds apart."""


class Watcher(Protocol):
    """Who is told of changes as they happen; must not raise, and must not wait."""

    def changed(self) -> None:
        """Some verdict is another now."""

    def probed(self, health: Health, outcome: ProbeOutcome) -> None:
        """A check has ended."""

    def applied(self) -> None:
        """There is a new configuration."""


class Balancer:
    """One table, one edge, one prober. All verbs are synchronous but `close`."""

    def __init__(self, config: Config, keys: tuple[bytes, ...], pins: PinTable, clock: Clock, seed: int) -> None:
        """`config` holds address literals only. EnvironmentFault when a virtual address cannot be opened."""
        self._clock = clock
        self.config = config
        self.table = self._make_table(config, keys, pins, seed)
        self._open_front()
        self._prober = Prober(self._probed, clock=clock, silent=self._silent, wait=self._wait, interval=self._interval)
        self._healths: dict[HealthKey, Health] = {}
        self.watcher: Watcher | None = None
        self._standby = Standby()
        self._looking: asyncio.TimerHandle | None = None
        self._tidying: asyncio.Handle | None = None
        self._standby.look(self._hosts())

    # Who moves the datagrams: here this process itself.

    def _make_table(self, config: Config, keys: tuple[bytes, ...], pins: PinTable, seed: int) -> ServiceTable:
        return ServiceTable(config, keys, pins, self._clock(), seed)

    def _open_front(self) -> None:
        core = SuspectingCore(self.table.forwarder, self._hurry)
        self.edge = Edge(_open(self.table.legs), core, self._clock)
        self._shedding = Shedding(
            self._watched, self.table.addresses_of, lambda: self.edge.counters.received, self._clock, self.table.behind
        )

    def _start_front(self, loop: asyncio.AbstractEventLoop) -> None:
        self.edge.start(loop)
        self._shedding.start(loop)

    async def _close_front(self) -> None:
        self._shedding.close()
        self.edge.close()

    async def gather(self) -> None:
        """Know what all processes have counted."""

    async def ready(self) -> None:
        """Until datagrams are forwarded."""

    def workers(self) -> tuple[WorkerShown, ...]:
        """None where this process forwards."""
        return ()

    # Starting and stopping.

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on datagrams are read and servers probed."""
        self._start_front(loop)
        self._sync_probes()
        self._looking = loop.call_later(LOOK_EVERY, self._look_again, loop)

    async def close(self) -> None:
        """Stop reading at once, then the probes."""
        for handle in (self._looking, self._tidying):
            if handle is not None:
                handle.cancel()
        await self._close_front()
        await self._prober.close()

    # A new configuration.

    def apply(self, config: Config) -> tuple[str, ...]:
        """Become `config` (literals only); what changed, one line each.

        EnvironmentFault when a new virtual address cannot be opened: then nothing has changed.
        """
        commit_legs = self._new_legs(config)
        changes = tuple(str(change) for change in plan(self.config, config))
        transitions = self.table.apply(config, self._clock())
        self.config = config
        self._standby.look(self._hosts())
        commit_legs()
        self._sync_probes()
        self._tell(transitions)
        if self.watcher is not None:
            self.watcher.applied()
        return changes

    def _new_legs(self, config: Config) -> Callable[[], None]:
        """Open what `config` asks for beyond what is held (EnvironmentFault: nothing has changed); what it gives is
        called when the table has become it."""
        held = {service.key for service in self.config.virtual}
        fresh = _open_all((each.host, each.port) for each in config.virtual if each.key not in held)
        return lambda: self._sync_legs(fresh)

    def _sync_legs(self, fresh: dict[tuple[str, int], Leg]) -> None:
        wanted = {spec.index: spec for spec in self.table.legs}
        held = {index for index, leg in enumerate(self.edge.legs) if leg is not None}
        for index in sorted(held - wanted.keys()):
            self.edge.remove_leg(index)
        for index in sorted(wanted.keys() - held):
            spec = wanted[index]
            added = self.edge.add_leg(fresh[spec.host, spec.port])
            assert added == index, "edge and table number their legs alike"

    # Probes.

    def _sync_probes(self) -> None:
        self._healths = {(health.key, health.check): health for health in self.table.healths}
        self._prober.sync([self._target(health) for health in self.table.healths])

    def _target(self, health: Health) -> ProbeTarget:
        """Asked from the first virtual address that has the server, of those that are on this host if any is."""
        host, port = split_address(health.key)
        users = [service.config for service in self.table.users_of(health)]
        virtual = next((each for each in users if each.host not in self._standby.away), users[0])
        return ProbeTarget(
            key=health.key,
            host=host,
            port=health.check.checkport or port,
            source=virtual.host,
            check=health.check,
            virtual_host=virtual.host,
            virtual_port=virtual.port,
        )

    def _probed(self, target: ProbeTarget, outcome: ProbeOutcome) -> None:
        health = self._healths.get(target.health_key)
        if health is not None:
            self._tell(self.table.probed(health, outcome, self._clock()))
            if self.watcher is not None:
                self.watcher.probed(health, outcome)
            if self.table.let_go(health, self._clock()):
                self._tidying = asyncio.get_running_loop().call_soon(self._sync_probes)  # not from its own task

    def _silent(self, target: ProbeTarget, sent: float) -> None:
        health = self._healths.get(target.health_key)
        if health is not None:
            self.table.probe_silent(health, sent)

    def _wait(self, target: ProbeTarget) -> float:
        health = self._healths.get(target.health_key)
        return health.evidence.wait if health is not None else SHORTEST_WAIT

    def _interval(self, target: ProbeTarget) -> float:
        interval, health = target.check.checkinterval, self._healths.get(target.health_key)
        if target.source in self._standby.away:
            return max(STANDBY_SLOWER * interval, STANDBY_EVERY)
        if health is not None and health.verdict in AWAITED:
            return min(interval, AWAITED_EVERY)
        return interval

    def _hurry(self) -> None:
        """Probe the suspects. One that is down is past suspicion: its own pace is quick enough."""
        for health in self.table.suspects():
            if health.verdict is not Verdict.DOWN:
                self._prober.hurry((health.key, health.check))

    # Standby.

    def standby(self, service: str) -> bool:
        """Whether this virtual service (`host:port`) waits for its address: no alerts then, another host has it."""
        return any(each.key == service and each.host in self._standby.away for each in self.config.virtual)

    def look(self) -> None:
        """See which virtual addresses are on this host now. One that has come is live: all its servers are probed."""
        arrived, gone = self._standby.look(self._hosts())
        if not arrived and not gone:
            return
        for each in self.config.virtual:
            if each.host in arrived:
                say(logging.INFO, "active: the virtual address is on this host now", virtual=each.key)
            elif each.host in gone:
                say(logging.WARNING, "standby: the virtual address is not on this host any more", virtual=each.key)
        self._sync_probes()
        self._prober.repace()
        for health in self._healths.values():
            if any(user.config.host in arrived for user in self.table.users_of(health)):
                self._prober.hurry((health.key, health.check))

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._looking = loop.call_later(LOOK_EVERY, self._look_again, loop)
        self.look()

    def _hosts(self) -> frozenset[str]:
        return frozenset(service.host for service in self.config.virtual)

    # The operator.

    def drain(self, server: str) -> tuple[Transition, ...]:
        """AdminError when there is no such server."""
        return self._tell(self.table.drain(server, self._clock()))

    def enable(self, server: str) -> tuple[Transition, ...]:
        """AdminError when there is no such server."""
        return self._tell(self.table.enable(server, self._clock()))

    def maintain(self, files: Mapping[str, str]) -> None:
        """`maintenancedir`: server key -> the file that drains it; the others are not drained by one."""
        self._tell(self.table.maintain(files, self._clock()))

    def _tell(self, transitions: tuple[Transition, ...]) -> tuple[Transition, ...]:
        if transitions:
            _log(transitions)
            if self.watcher is not None:
                self.watcher.changed()
        return transitions

    def named(self, server: str) -> tuple[str, ...]:
        """AdminError when there is no such server."""
        return self.table.named(server)

    def where(self, aor: str) -> tuple[WhereSnapshot, ...]:
        return self.table.where(aor, self._clock())

    def explain(self, data: bytes, source: str, virtual: str) -> Document:
        """AdminError for a source or service that cannot be."""
        return explain_document(self.table, data, source, virtual, self._clock())

    def snapshot(self) -> Snapshot:
        """The table's, with what only the sockets know as the services' notes."""
        snapshot = self.table.snapshot(self._clock())
        notes = self._leg_notes()
        services = (
            service._replace(
                notes=(*service.notes, *notes[service.key]),
                standby=self.standby(service.key),
                dropped={**service.dropped, **self._shed(service.key)},
            )
            for service in snapshot.services
        )
        return snapshot._replace(services=tuple(services))

    def _leg_notes(self) -> dict[str, tuple[str, ...]]:
        notes: dict[str, tuple[str, ...]] = {service.key: () for service in self.config.virtual}
        for key, leg in self._legs():
            notes[key] = (*filter(None, [self._shedding.note(key)]), *leg_notes(leg, self.standby(key)))
        return notes

    def _shed(self, key: str) -> Mapping[str, int]:
        """Reason -> datagrams of a virtual service that the kernel dropped for overload."""
        return self._shedding.dropped(key)

    def notes(self) -> Iterator[str]:
        """What the operator must know of the edge as a whole."""
        if not self.edge.batched:
            yield PLAIN_EDGE

    def _legs(self) -> Iterator[tuple[str, Leg]]:
        legs = self.edge.legs
        for spec, service in zip(self.table.legs, self.config.virtual, strict=True):
            leg = legs[spec.index] if spec.index < len(legs) else None
            if leg is not None:
                yield service.key, leg

    def _watched(self) -> Iterator[Watched]:
        return (Watched(key, leg) for key, leg in self._legs())

    def unserved(self) -> tuple[str, ...]:
        """Virtual addresses without an open socket."""
        served = {key for key, _ in self._legs()}
        return tuple(service.key for service in self.config.virtual if service.key not in served)

    def edge_counters(self) -> dict[str, int | dict[str, int]]:
        """A copy of what the edge counts."""
        return asdict(self.edge.counters)

    def kernel_drops(self) -> dict[str, int]:
        """Per virtual address."""
        return {key: kernel_drops(leg.sock) for key, leg in self._legs()}


def _open(specs: Iterable[LegSpec]) -> list[Leg]:
    return list(_open_all((spec.host, spec.port) for spec in specs).values())


def _open_all(places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Leg]:
    """All or none."""
    opened: dict[tuple[str, int], Leg] = {}
    try:
        for host, port in places:
            opened[host, port] = open_leg(host, port)
    except BaseException:
        for leg in opened.values():
            leg.sock.close()
        raise
    return opened


def leg_notes(leg: Leg, standby: bool) -> Iterator[str]:
    """The leg's own, but whether the address is here is asked anew: under keepalived it comes and goes."""
    if standby:
        yield (
            f"{leg.name} IS NOT ON THIS HOST now: standby (no traffic, no alerts, probes are slower and from another "
            "address) until it is added to an interface"
        )
    yield from leg.notes if leg.present else leg.notes[1:]


def _log(transitions: tuple[Transition, ...]) -> None:
    for each in transitions:
        level = logging.WARNING if each.new in TAKES_NOTHING_NEW else logging.INFO
        say(level, f"server {each.new.value}", server=each.server, old=each.old.value, reason=each.reason)
