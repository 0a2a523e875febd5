"""The director as a node of the lab: packed flows outside, addresses inside, due every 50 ms."""

from __future__ import annotations

from sipbalancer.config.model import Config, RealServerConfig, VirtualServiceConfig
from sipbalancer.demo.lab import Lab
from sipbalancer.demo.message import Address, Datagram
from sipbalancer.demo.server import EmbeddedServer
from sipbalancer.director.health import Health
from sipbalancer.director.pins import PinTable
from sipbalancer.director.table import ServiceTable
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult, Transition
from sipbalancer.sip.flow import flow_of, pack_address, unpack_address

VIP: Address = ("10.0.0.1", 5060)
KEY = bytes(range(32))


def config_of(servers: list[Address], **words: object) -> Config:
    """A file of one service on the VIP with these servers."""
    reals = tuple(RealServerConfig(host=host, port=port) for host, port in servers)
    service = VirtualServiceConfig.model_validate({"host": VIP[0], "port": VIP[1], "real": reals, **words})
    return Config(virtual=(service,), registrations=1000, calls=1000)


class Balancer:
    """A node at the VIP. `restart` keeps what a state folder keeps and nothing else."""

    def __init__(self, lab: Lab, config: Config, memory: bytearray | None = None) -> None:
        self.lab = lab
        self.config = config
        self.memory = memory if memory is not None else bytearray(PinTable.size_for(2000))
        self._start()
        lab.add(VIP, self)
        lab.refused = self._refused

    def _start(self) -> None:
        pins = PinTable(self.memory, KEY[:8], self.lab.now)
        self.table = ServiceTable(self.config, (KEY,), pins, self.lab.now, 1)
        self._next = self.lab.now + 0.05
        self._bursts: dict[Health, float] = {}
        self.transitions: list[Transition] = []

    # What the prober does, without packets: ask the lab whether the server would answer.

    def _probe(self, now: float) -> None:
        for health in self.table.suspects():
            self._bursts.setdefault(health, now)
        for health, begun in list(self._bursts.items()):
            outcome = self._outcome(health, begun, now)
            if outcome is not None:
                del self._bursts[health]
                self.transitions.extend(self.table.probed(health, outcome, now))

    def _outcome(self, health: Health, begun: float, now: float) -> ProbeOutcome | None:
        host, _, port = health.key.rpartition(":")
        node = self.lab.nodes.get((host, int(port)))
        if node is None:
            return ProbeOutcome(ProbeResult.REFUSED, "port refused") if now - begun >= 0.05 else None
        if isinstance(node, EmbeddedServer) and node.hanging:
            if now - begun >= 0.1:
                self.table.probe_silent(health, begun)
            silent = now - begun >= 1.1
            return ProbeOutcome(ProbeResult.TIMEOUT, "silence", probes=20, duration=now - begun) if silent else None
        if isinstance(node, EmbeddedServer) and node.shutting_down:
            return ProbeOutcome(ProbeResult.UNAVAILABLE, "503 Service Unavailable", 0.002)
        return ProbeOutcome(ProbeResult.OK, "200 OK", 0.002)

    def restart(self, keep_contacts: bool = True) -> None:
        rows = self.table.binding_changes() if keep_contacts else ()
        self._start()
        self.table.load_bindings(rows, self.lab.now)
        self.judge(*(server.key for service in self.table.state.services.values() for server in service.servers))

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
        self._probe(now)
        return [(text, unpack_address(flow[1])) for text, flow in self.table.forwarder.due(now)]

    def next_due(self) -> float | None:
        return self._next

    def _refused(self, packet: object, now: float) -> None:
        destination = getattr(packet, "destination", None)
        if destination is not None and getattr(packet, "source", None) == VIP:
            self.table.forwarder.refused(flow_of(0, pack_address(*destination)), now)

    def counts(self, kind: str) -> dict[str, int]:
        """`chosen` or `dropped`, without the zeros."""
        service = self.table.snapshot(self.lab.now).services[0]
        return {name: count for name, count in getattr(service, kind).items() if count}
