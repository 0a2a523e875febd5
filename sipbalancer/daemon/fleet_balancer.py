"""The balancer of several processes: this one is in control, workers forward (design 8).

What a balancer of one process does with its edge is done here with a fleet: sockets are made and handed over, a new
configuration is passed on, verdicts are published as words, what workers saw and counted is gathered before it is
judged or shown. Probes, commands, chores and everything shown are the plain balancer's, unchanged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice

from sipbalancer.config.legs import leg_clashes
from sipbalancer.config.model import Config
from sipbalancer.daemon.balancer import PLAIN_EDGE, Balancer, leg_notes
from sipbalancer.daemon.clock import Clock
from sipbalancer.daemon.crew_memory import CrewMemory
from sipbalancer.daemon.fleet import Fleet, Post
from sipbalancer.daemon.fleet_legs import FleetLegs
from sipbalancer.daemon.fleet_reports import Reports, WorkerShown
from sipbalancer.daemon.handed import config_body, rows_body, rows_of
from sipbalancer.daemon.leg import Leg, kernel_drops
from sipbalancer.daemon.link import Body, Link
from sipbalancer.daemon.log import LOGGER, say
from sipbalancer.daemon.prober import ProbeTarget
from sipbalancer.daemon.udp import TICK
from sipbalancer.director.bindings import BindingRow
from sipbalancer.director.leader import Leader
from sipbalancer.director.numbers import Numbers, set_numbers
from sipbalancer.director.pins import PinTable
from sipbalancer.director.seat import Seat
from sipbalancer.director.table import ServiceTable
from sipbalancer.director.verdict import ProbeOutcome, Transition
from sipbalancer.errors import EnvironmentFault

FEED = 200
"""Contacts in one message to a new worker."""
FED_AHEAD = 8
"""Packets that may wait for it before the next are made."""
FEED_PAUSE = 0.01
START_SECONDS = 10.0
GATHER_SECONDS = 0.5
"""How long a scrape waits for the workers' numbers; who is late is shown as it was a second ago."""


class FleetBalancer(Balancer):
    """As `Balancer`, with `workers` processes to forward."""

    def __init__(
        self,
        config: Config,
        keys: tuple[bytes, ...],
        pins: PinTable,
        clock: Clock,
        seed: int,
        workers: int,
        memory: CrewMemory,
        check: bytes,
    ) -> None:
        """`pins` are the control process's, in `memory`; `check` is what workers open them with."""
        self._workers = workers
        self._memory = memory
        self._keys = keys
        self._check = check
        self._legs_held = FleetLegs(workers)
        self._reports = Reports(workers)
        self._awaited: set[int] = set()
        self._gathered = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._fleet = Fleet(workers, self, time.monotonic)
        super().__init__(config, keys, pins, clock, seed)

    # The front.

    def _make_table(self, config: Config, keys: tuple[bytes, ...], pins: PinTable, seed: int) -> ServiceTable:
        return ServiceTable(config, keys, pins, self._clock(), seed, Seat(0, self._workers))

    def _open_front(self) -> None:
        self._leader = Leader(self.table, self._memory.words, self._memory.stripes)
        self._new_legs(self.config)()

    def _start_front(self, loop: asyncio.AbstractEventLoop) -> None:
        self._leader.publish()
        self._fleet.start(loop)
        self._timer = loop.call_later(TICK, self._tick, loop)

    async def _close_front(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._fleet.close()
        self._legs_held.close()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(TICK, self._tick, loop)
        self._leader.gather()
        self.table.forwarder.due(self._clock())  # sweeps; no transaction is ever here
        self._hurry()
        self._leader.publish()

    # A new configuration.

    def apply(self, config: Config) -> tuple[str, ...]:
        config = _with_held_legports(self.config, config)
        changes = super().apply(config)
        self._leader.publish()
        for post in self._fleet.posts:
            if post.process is not None:
                self._configure(post, post.process.link)
        return changes

    def _new_legs(self, config: Config) -> Callable[[], None]:
        for clash in leg_clashes(config, self._workers):
            line = f"{config.path}:{clash.line}: " if clash.line else ""
            raise EnvironmentFault(f"{line}legport: {clash.advice}")
        fresh = self._legs_held.open(config.virtual)
        keys = [service.key for service in config.virtual]
        return lambda: self._legs_held.keep(fresh, keys)

    def _configure(self, post: Post, link: Link) -> None:
        """Sockets that this worker has not got yet, then the configuration."""
        for service in self.config.virtual:
            legs = self._legs_held.held[service.key]
            if post.legs.get(service.key) is not legs:
                post.legs[service.key] = legs
                link.send("leg", service.key, legs.files(post.number))
        for key in post.legs.keys() - {service.key for service in self.config.virtual}:
            del post.legs[key]
        link.send("config", config_body(self.config, self._workers))

    # The fleet's owner.

    def brief(self, post: Post, link: Link) -> None:
        body = {
            "number": post.number,
            "of": self._workers,
            "keys": [key.hex() for key in self._keys],
            "check": self._check.hex(),
            "offset": self._clock() - time.monotonic(),
        }
        post.legs = {}
        link.send("begin", body, self._memory.files)
        self._configure(post, link)
        self._feed(link, self.table.binding_rows())

    def _feed(self, link: Link, rows: Iterator[BindingRow]) -> None:
        """All Contacts there are, as fast as the worker takes them and in no one's way."""
        if link.closed:
            return
        if link.waiting < FED_AHEAD:
            batch = list(islice(rows, FEED))
            if not batch:
                return
            link.send("bindings", rows_body(batch))
        asyncio.get_running_loop().call_later(FEED_PAUSE, self._feed, link, rows)

    def take(self, post: Post, kind: str, body: Body) -> None:
        if kind == "doubts":
            self._leader.suspect([(serial, bool(suspected)) for serial, suspected in body], self._clock())
            self._hurry()
            self._leader.publish()
        elif kind == "bindings":
            self._fleet.send("bindings", body, but=post)
            self.table.take_bindings(rows_of(body), self._clock())
        elif kind == "crossed":
            self._fleet.send("crossed", body, but=post)
        elif kind == "report":
            self._report(post, body)
        elif kind == "told":
            for text in body:
                self.table.state.tell(text)
        elif kind == "log":
            level, event, fields = body
            LOGGER.log(level, event, extra={"fields": {**fields, "worker": post.number}})

    def lost(self, post: Post) -> None:
        self._leader.forget(post.number)
        self._reports.lost(post.number)
        self._arrived(post.number)

    def _report(self, post: Post, body: Body) -> None:
        self._reports.take(post.number, body, time.monotonic())
        state = self.table.state
        set_numbers(state, self._reports.numbers())
        state.provisional_elsewhere = self._reports.provisional()
        state.last_error = next(iter(self._reports.errors()), "")
        self._arrived(post.number)

    # Judging.

    def _probed(self, target: ProbeTarget, outcome: ProbeOutcome) -> None:
        self._leader.gather()
        health = self._healths.get(target.health_key)
        super()._probed(target, outcome)
        if health is not None:
            self._leader.probed(health)
            self._leader.publish(health)

    def _silent(self, target: ProbeTarget, sent: float) -> None:
        self._leader.gather()
        super()._silent(target, sent)
        self._leader.publish(self._healths.get(target.health_key))

    def _tell(self, transitions: tuple[Transition, ...]) -> tuple[Transition, ...]:
        if transitions:
            self._leader.publish()
        return super()._tell(transitions)

    # Showing.

    async def ready(self) -> None:
        """Until every worker forwards, or `START_SECONDS`: who is late then is a note."""
        with suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await self._fleet.all_ready.wait()

    async def gather(self) -> None:
        """Ask all workers for their numbers; return when they are in, or after half a second."""
        self._awaited = {post.number for post in self._fleet.posts if post.ready}
        if not self._awaited:
            return
        self._gathered.clear()
        self._fleet.send("report")
        try:
            async with asyncio.timeout(GATHER_SECONDS):
                await self._gathered.wait()
        except TimeoutError:
            say(logging.WARNING, "workers are slow to report", workers=sorted(self._awaited))

    def _arrived(self, worker: int) -> None:
        self._awaited.discard(worker)
        if not self._awaited:
            self._gathered.set()

    def workers(self) -> tuple[WorkerShown, ...]:
        """Each worker now."""
        shown = []
        for post in self._fleet.posts:
            per_second, cpu = self._reports.rates(post.number)
            pid = post.process.pid if post.process is not None else 0
            lag, messages = self._reports.lag_of(post.number), self._reports.messages(post.number)
            since = self._clock() - (time.monotonic() - post.since)
            rest = per_second, cpu, lag, self._reports.pauses_of(post.number)
            shown.append(WorkerShown(post.number, pid, since, post.restarts, messages, *rest))
        return tuple(shown)

    def notes(self) -> Iterator[str]:
        if self._reports.plain():
            yield PLAIN_EDGE
        for post in self._fleet.posts:
            if not post.ready:
                yield f"worker {post.number} of {self._workers} does not forward now: what comes for it waits"

    def edge_counters(self) -> dict[str, int | dict[str, int]]:
        counted: Numbers = self._reports.edge()
        return {
            name: {error: int(each) for error, each in value.items() if isinstance(each, int)}
            if isinstance(value, Mapping)
            else int(value)
            for name, value in counted.items()
            if not isinstance(value, list)
        }

    def kernel_drops(self) -> dict[str, int]:
        drops: dict[str, int] = {}
        for key, _, leg in self._client_legs():
            drops[key] = drops.get(key, 0) + kernel_drops(leg.sock)
        return drops

    def _leg_notes(self) -> dict[str, tuple[str, ...]]:
        notes: dict[str, tuple[str, ...]] = {}
        for service in self.config.virtual:
            legs = [leg for _, _, leg in self._legs_held.clients([service.key])]
            found = [note for leg in legs for note in leg_notes(leg, self.standby(service.key))]
            notes[service.key] = tuple(dict.fromkeys((*self._reports.shed_notes(service.key), *found)))
        return notes

    def _shed(self, key: str) -> Mapping[str, int]:
        return self._reports.shed(key)

    def _legs(self) -> Iterator[tuple[str, Leg]]:
        return ((key, leg) for key, worker, leg in self._client_legs() if worker == 0)

    def _client_legs(self) -> Iterator[tuple[str, int, Leg]]:
        return self._legs_held.clients(service.key for service in self.config.virtual)


def _with_held_legports(old: Config, new: Config) -> Config:
    """Server legs stay where they are until the next start: workers hold them."""
    held = {service.key: service.legport for service in old.virtual}
    virtual = tuple(
        service.model_copy(update={"legport": held.get(service.key, service.legport)}) for service in new.virtual
    )
    for service in new.virtual:
        if held.get(service.key, service.legport) != service.legport:
            say(logging.WARNING, "legport changed in the file; takes effect at the next start", virtual=service.key)
    return new.model_copy(update={"virtual": virtual})
