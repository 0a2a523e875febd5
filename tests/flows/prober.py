"""The prober of the lab: real OPTIONS on the lab's wire, so that what the network loses it loses too (design 5.2).

One burst per `interval` and server, or at once for a suspect; what a burst does is the director's `Burst`.
"""

from __future__ import annotations

from random import Random

from sipbalancer.demo.message import Address, Datagram
from sipbalancer.director.burst import Burst
from sipbalancer.director.health import Health
from sipbalancer.director.table import ServiceTable
from sipbalancer.director.verdict import ProbeOutcome, Transition
from sipbalancer.sip.probe import IDENTITY_BYTES, compose_options, identity_of, read_answer

TIMEOUT = 30.0


class Watch:
    """What is under way for one server."""

    def __init__(self, server: Address, first: float) -> None:
        self.server = server
        self.first = first
        """When the next burst begins, where none is under way."""
        self.burst: Burst | None = None

    @property
    def next(self) -> float:
        return self.burst.next_at if self.burst is not None else self.first


class Prober:
    """A node of its own beside the balancer."""

    def __init__(self, address: Address, table: ServiceTable, interval: float, now: float) -> None:
        self.address = address
        self.transitions: list[Transition] = []
        self._table = table
        self._interval = interval
        self._random = Random(7)
        self._watched: dict[Health, Watch] = {}
        self._asked: dict[str, Health] = {}
        """By branch."""
        self._outbox: list[Datagram] = []
        self.sync(now)

    def sync(self, now: float) -> None:
        """Probe what the table has now."""
        held, self._watched = self._watched, {}
        for number, health in enumerate(self._table.healths):
            host, _, port = health.key.rpartition(":")
            first = now + self._interval * (number + 1) / len(self._table.healths)
            self._watched[health] = held.get(health) or Watch((host, int(port)), first)

    def hurry(self, health: Health, now: float) -> list[Datagram]:
        """Probe a suspect at once."""
        watch = self._watched.get(health)
        if watch is not None and watch.burst is None:
            self._step(health, watch, now)
        return self._out()

    def due(self, now: float) -> list[Datagram]:
        for health, watch in self._watched.items():
            if now >= watch.next:
                self._step(health, watch, now)
        return self._out()

    def next_due(self) -> float | None:
        return min((watch.next for watch in self._watched.values()), default=None)

    def receive_datagram(self, data: bytes, source: Address, now: float) -> list[Datagram]:
        answer = read_answer(data)
        health = self._asked.get(answer.branch) if answer is not None else None
        watch = self._watched.get(health) if health is not None else None
        if health is not None and watch is not None and watch.burst is not None:
            self._take(health, watch, watch.burst.answer(data, now), now)
        return self._out()

    def refused(self, destination: Address, now: float) -> None:
        """ICMP for one of our probes."""
        for health, watch in self._watched.items():
            if watch.server == destination and watch.burst is not None:
                self._take(health, watch, watch.burst.refused("port refused", now), now)

    def _step(self, health: Health, watch: Watch, now: float) -> None:
        if watch.burst is None:
            watch.burst = Burst(health.evidence.wait, TIMEOUT)
        silent_since = watch.burst.first_silent(now)
        if silent_since is not None:
            self._table.probe_silent(health, silent_since)
        outcome = watch.burst.silence(now)
        if outcome is not None:
            self._take(health, watch, outcome, now)
            return
        identity = identity_of(self._random.randbytes(IDENTITY_BYTES))
        self._asked[identity.branch] = health
        self._outbox.append((compose_options(watch.server, self.address, identity), watch.server))
        watch.burst.sent(identity, now)

    def _take(self, health: Health, watch: Watch, outcome: ProbeOutcome | None, now: float) -> None:
        if outcome is not None:
            watch.burst, watch.first = None, now + self._interval
            self.transitions.extend(self._table.probed(health, outcome, now))

    def _out(self) -> list[Datagram]:
        out, self._outbox = self._outbox, []
        return out
