"""A control process and its workers, in one: tables of their own over shared memory, and nothing else in common.

What the daemon's processes tell each other is passed on by `tick`, as they do 20 times a second.
"""

from __future__ import annotations

from contextlib import nullcontext

from sipbalancer.config.model import Config, VirtualServiceConfig
from sipbalancer.director.crossing import Crossings
from sipbalancer.director.follower import Follower
from sipbalancer.director.leader import Leader
from sipbalancer.director.pins import PinTable
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.seat import Seat
from sipbalancer.director.shared_pins import ControlPins, WorkerPins, tally_size
from sipbalancer.director.stripes import Stripes, stripes_size
from sipbalancer.director.table import ServiceTable
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult
from sipbalancer.director.words import WORDS_SIZE, Words
from sipbalancer.sip.flow import Datagram, address_text, flow_of
from tests.director.stage import KEY, PHONE, START, packed, service_of

CLIENTS, SERVERS = 0, 1
"""The two legs of the one service."""


class Member:
    """One worker."""

    def __init__(self, crew: Crew, seat: Seat) -> None:
        self._crew = crew
        pins = WorkerPins(crew.pins, crew.tally, seat, KEY[:8], START, nullcontext())
        self.table = ServiceTable(crew.config, (KEY,), pins, START, 1, seat)
        self.table.state.crossings = Crossings()
        self.follower = Follower(self.table, Words(crew.words), Stripes(crew.stripes), seat)
        self.follower.configured(crew.now)

    def send(self, data: bytes, source: str = PHONE, leg: int = CLIENTS) -> Datagram | None:
        """As the edge does: the words are looked at, then the datagram."""
        self.follower.look(self._crew.now)
        out = self.table.forwarder.datagram_received(data, flow_of(leg, packed(source)), self._crew.now)
        assert self.table.state.last_error == ""
        return out

    def sent(self, data: bytes, source: str = PHONE, leg: int = CLIENTS) -> tuple[bytes, str]:
        out = self.send(data, source, leg)
        assert out is not None
        return out[0], address_text(out[1][1])

    def server(self, address: str) -> RealServer:
        return self.table.state.services[0].by_packed[packed(address)]

    @property
    def dropped(self) -> dict[str, int]:
        return self.table.state.services[0].dropped


class Crew:
    """`workers` of them, all servers up."""

    def __init__(self, *services: VirtualServiceConfig, workers: int = 2) -> None:
        self.now = START
        self.config = Config(virtual=services or (service_of(),), registrations=1000, calls=1000)
        self.pins = bytearray(PinTable.size_for(2000))
        self.tally = bytearray(tally_size(workers))
        self.words = bytearray(WORDS_SIZE)
        self.stripes = bytearray(stripes_size(workers))
        control = ControlPins(self.pins, self.tally, workers, KEY[:8], START, nullcontext())
        self.table = ServiceTable(self.config, (KEY,), control, START, 1, Seat(0, workers))
        self.leader = Leader(self.table, Words(self.words), Stripes(self.stripes))
        self.judge()
        self.members = [Member(self, Seat(number, workers)) for number in range(workers)]

    def judge(
        self, *servers: str, result: ProbeResult = ProbeResult.OK, probes: int = 1, duration: float = 0.0
    ) -> None:
        """Give these (or all) servers a probe's outcome, as the control process does."""
        self.leader.gather()
        for health in self.table.healths:
            if not servers or health.key in servers:
                self.table.probed(health, ProbeOutcome(result, str(result), 0.001, probes, duration), self.now)
                self.leader.probed(health)
        self.leader.publish()

    def tick(self, seconds: float = 0.05) -> list[Datagram]:
        """Time passes; everybody does what is done every 50 ms. What the workers send of their own accord."""
        self.now += seconds
        out: list[Datagram] = []
        for member in self.members:
            member.follower.look(self.now)
            out += member.table.forwarder.due(self.now)
            member.follower.give()
        for member in self.members:
            self._pass_on(member)
        self.leader.gather()
        self.table.forwarder.due(self.now)
        self.leader.publish()
        return out

    def _pass_on(self, member: Member) -> None:
        others = [each for each in self.members if each is not member]
        if doubts := member.follower.doubts():
            self.leader.suspect(doubts, self.now)
        rows = member.table.binding_changes(1000)
        self.table.take_bindings(rows, self.now)
        assert member.table.state.crossings is not None
        crossed = member.table.state.crossings.take()
        for other in others:
            other.table.load_bindings(rows, self.now, forget=True)
            other.table.forwarder.heard_elsewhere(*crossed, self.now)
            assert other.table.state.last_error == ""
