"""The prober of the lab: real OPTIONS on the lab's wire, so that what the network loses it loses too (design 5.2).

One probe per `interval` and server, or at once for a suspect; silence after `wait` begins the burst of fresh probes
every 50 ms, twenty in a row unanswered are its outcome; a refusal is confirmed by a second one.
"""

from __future__ import annotations

from random import Random

from sipbalancer.demo.message import Address, Datagram, parse
from sipbalancer.director.health import Health, judge
from sipbalancer.director.table import ServiceTable
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult, Transition
from sipbalancer.sip.probe import IDENTITY_BYTES, compose_options, identity_of, read_answer

FRESH = 0.05
ROW = 20


class Watch:
    """What is under way for one server."""

    def __init__(self, server: Address, first: float) -> None:
        self.server = server
        self.next = first
        self.begun = 0.0
        """When the first probe of the present row was sent; 0.0 = none is under way."""
        self.sent: dict[str, float] = {}
        """Branch -> when, of the last seconds."""
        self.row = 0
        self.refusals = 0


class Prober:
    """A node of its own beside the balancer."""

    def __init__(self, address: Address, table: ServiceTable, interval: float, now: float) -> None:
        self.address = address
        self.transitions: list[Transition] = []
        self._table = table
        self._interval = interval
        self._random = Random(7)
        self._watched: dict[Health, Watch] = {}
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
        if watch is not None and not watch.begun:
            self._probe(watch, now)
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
        for health, watch in self._watched.items():
            if answer is not None and answer.branch in watch.sent:
                said = judge(answer.status, answer.reason, answer.retry_after, data, None)
                if said is not None:
                    self._over(health, watch, ProbeOutcome(*said, now - watch.sent[answer.branch]), now)
        return self._out()

    def refused(self, data: bytes, now: float) -> None:
        """ICMP for one of our probes."""
        message = parse(data)
        for health, watch in self._watched.items():
            if message is not None and message.branch in watch.sent and watch.begun:
                watch.refusals += 1
                if watch.refusals > 1:
                    self._over(health, watch, ProbeOutcome(ProbeResult.REFUSED, "port refused"), now)
                else:
                    watch.next = now + FRESH

    def _step(self, health: Health, watch: Watch, now: float) -> None:
        wait = health.evidence.wait
        if watch.begun and watch.row == 1:
            self._table.probe_silent(health, watch.begun)
        if watch.row < ROW:
            self._probe(watch, now)
            watch.next = now + (wait if watch.row in (1, ROW) else FRESH)
        else:
            lasted = now - watch.begun
            self._over(health, watch, ProbeOutcome(ProbeResult.TIMEOUT, "silence", 0.0, ROW, lasted), now)

    def _probe(self, watch: Watch, now: float) -> None:
        identity = identity_of(self._random.randbytes(IDENTITY_BYTES))
        self._outbox.append((compose_options(watch.server, self.address, identity), watch.server))
        watch.begun = watch.begun or now
        watch.row += 1
        watch.sent = {branch: sent for branch, sent in watch.sent.items() if now - sent < 5.0}
        watch.sent[identity.branch] = now
        watch.next = now + 0.1

    def _over(self, health: Health, watch: Watch, outcome: ProbeOutcome, now: float) -> None:
        if not watch.begun:
            return
        watch.begun, watch.row, watch.refusals = 0.0, 0, 0
        watch.next = now + self._interval
        self.transitions.extend(self._table.probed(health, outcome, now))

    def _out(self) -> list[Datagram]:
        out, self._outbox = self._outbox, []
        return out
