"""The director as a node of the lab: packed flows outside, addresses inside, due every 50 ms; its prober beside it."""

from __future__ import annotations

from sipbalancer.config.model import Config, RealServerConfig, VirtualServiceConfig
from sipbalancer.demo.lab import Lab, Packet
from sipbalancer.demo.message import Address, Datagram
from sipbalancer.director.pins import PinTable
from sipbalancer.director.table import ServiceTable
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult, Transition
from sipbalancer.sip.flow import flow_of, pack_address, unpack_address
from tests.flows.prober import Prober

VIP: Address = ("10.0.0.1", 5060)
PROBER: Address = ("10.0.0.1", 40000)
KEY = bytes(range(32))


def config_of(servers: list[Address], weights: dict[Address, int] | None = None, **words: object) -> Config:
    """A file of one service on the VIP with these servers."""
    weights = weights or {}
    reals = tuple(RealServerConfig(host=host, port=port, weight=weights.get((host, port), 1)) for host, port in servers)
    service = VirtualServiceConfig.model_validate({"host": VIP[0], "port": VIP[1], "real": reals, **words})
    return Config(virtual=(service,), registrations=1000, calls=1000)


class Balancer:
    """A node at the VIP. `restart` keeps what a state folder keeps and nothing else."""

    def __init__(self, lab: Lab, config: Config, interval: float = 10.0) -> None:
        self.lab = lab
        self.config = config
        self.interval = interval
        self.memory = bytearray(PinTable.size_for(2000))
        self._start()
        lab.add(VIP, self)
        lab.refused = self._refused

    def _start(self) -> None:
        pins = PinTable(self.memory, KEY[:8], self.lab.now)
        self.table = ServiceTable(self.config, (KEY,), pins, self.lab.now, 1)
        self.prober = Prober(PROBER, self.table, self.interval, self.lab.now)
        self.lab.add(PROBER, self.prober)
        self._next = self.lab.now + 0.05

    @property
    def transitions(self) -> list[Transition]:
        """Verdicts that probes have changed."""
        return self.prober.transitions

    def restart(self, keep_contacts: bool = True) -> None:
        rows = self.table.binding_changes(65536) if keep_contacts else ()
        self._start()
        self.table.restore_bindings(rows, self.lab.now)
        self.judge(*(server.key for service in self.table.state.services.values() for server in service.servers))

    def reload(self, config: Config) -> None:
        """SIGHUP."""
        self.config = config
        self.table.apply(config, self.lab.now)
        self.prober.sync(self.lab.now)

    def judge(self, *keys: str, result: ProbeResult = ProbeResult.OK, text: str = "200 OK") -> None:
        """Give these servers a probe's outcome."""
        for health in self.table.healths:
            if health.key in keys:
                self.table.probed(health, ProbeOutcome(result, text, 0.001), self.lab.now)

    def receive_datagram(self, data: bytes, source: Address, now: float) -> list[Datagram]:
        forwarder = self.table.forwarder
        out = forwarder.datagram_received(data, flow_of(0, pack_address(*source)), now)
        assert self.table.state.last_error == ""
        more = forwarder.due(now) if forwarder.outbox else []
        return [(text, unpack_address(flow[1])) for text, flow in ([out] if out else []) + more]

    def due(self, now: float) -> list[Datagram]:
        if now < self._next:
            return []
        self._next = now + 0.05
        out = [(text, unpack_address(flow[1])) for text, flow in self.table.forwarder.due(now)]
        for health in self.table.suspects():
            self.lab.send(PROBER, self.prober.hurry(health, now))
        return out

    def next_due(self) -> float | None:
        return self._next

    def _refused(self, packet: Packet, now: float) -> None:
        if packet.source == PROBER:
            self.prober.refused(packet.destination, now)
        elif packet.source == VIP:
            self.table.forwarder.refused(flow_of(0, pack_address(*packet.destination)), now)

    def counts(self, kind: str) -> dict[str, int]:
        """`chosen` or `dropped`, without the zeros."""
        service = self.table.snapshot(self.lab.now).services[0]
        return {name: count for name, count in getattr(service, kind).items() if count}

    def pins(self, kind: str) -> int:
        """How many pins of a kind there are (`call`, `binding` ...)."""
        return self.table.snapshot(self.lab.now).services[0].pins[kind]
