"""The director with three servers and no network: datagrams in, datagrams out, one table of answers each."""

from __future__ import annotations

import re

from sipbalancer.config.model import Config, RealServerConfig, VirtualServiceConfig
from sipbalancer.director.from_client import Decision
from sipbalancer.director.from_server import Outward
from sipbalancer.director.pins import PinTable
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.service import VirtualService
from sipbalancer.director.table import ServiceTable
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult
from sipbalancer.sip.flow import Datagram, address_text, flow_of, pack_address
from sipbalancer.sip.scan import scan_request

KEY = bytes(range(32))
VIP = "192.0.2.1"
A, B, C = "192.0.2.11:5060", "192.0.2.12:5060", "192.0.2.13:5060"
PHONE, OTHER = "10.1.0.1:5060", "10.1.0.2:5060"
START = 1_000_000.0


def packed(address: str) -> bytes:
    host, _, port = address.rpartition(":")
    return pack_address(host, int(port))


def real(address: str, **words: object) -> RealServerConfig:
    host, _, port = address.rpartition(":")
    return RealServerConfig.model_validate({"host": host.strip("[]"), "port": int(port), **words})


def service_of(*servers: RealServerConfig, **words: object) -> VirtualServiceConfig:
    return VirtualServiceConfig.model_validate({"host": VIP, "real": servers or (real(A), real(B), real(C)), **words})


def message(start: str, *headers: str, body: str = "") -> bytes:
    return "\r\n".join((start, *headers, "", body)).encode("latin-1")


def request(
    method: str = "INVITE",
    *more: str,
    uri: str = f"sip:600@{VIP}",
    user: str = "1001",
    call: str = "call-1",
    branch: str = "z9hG4bK1",
    via: str = f"{PHONE};rport",
    to: str = f"<sip:600@{VIP}>",
    cseq: int = 1,
) -> bytes:
    """A request as a phone (or, with another `via`, a server) writes it. `to` is the phone itself in a REGISTER."""
    return message(
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP {via};branch={branch}",
        "Max-Forwards: 70",
        f"From: <sip:{user}@{VIP}>;tag=f",
        f"To: {to if method != 'REGISTER' else f'<sip:{user}@{VIP}>'}",
        f"Call-ID: {call}",
        f"CSeq: {cseq} {method}",
        "User-Agent: a phone that says rather much of itself, as phones do, so that answers are shorter",
        *more,
        "Content-Length: 0",
    )


def answer(forwarded: bytes, status: int, *more: str, tag: str = "t") -> bytes:
    """What a server (or a phone) answers to the request as it arrived there."""
    lines = forwarded.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")[1:]
    kept = [line for line in lines if line.startswith("Via:")]
    kept += [line for line in lines if re.match(r"(From|Call-ID|CSeq|Record-Route|Path):", line)]
    to = next(line for line in lines if line.startswith("To:"))
    to += "" if ";tag=" in to or status == 100 else f";tag={tag}"
    return message(f"SIP/2.0 {status} Whatever", *kept, to, *more, "Content-Length: 0")


def lines_of(data: bytes, name: str) -> list[str]:
    """The values of all header lines written so."""
    head = data.decode("latin-1").split("\r\n\r\n")[0]
    return [line.partition(": ")[2] for line in head.split("\r\n") if line.startswith(f"{name}: ")]


def route_of(data: bytes, name: str = "Record-Route") -> str:
    """A Route line made of our Record-Route (or Path)."""
    return f"Route: {lines_of(data, name)[0]}"


def status_of(data: bytes) -> int:
    return int(data[8:11])


class Stage:
    """One service unless told otherwise; all servers up."""

    def __init__(self, *services: VirtualServiceConfig, keys: tuple[bytes, ...] = (KEY,), up: bool = True) -> None:
        self.now = START
        self.config = Config(virtual=services or (service_of(),), registrations=1000, calls=1000)
        self.memory = bytearray(PinTable.size_for(2000))
        self.table = self._table(keys)
        if up:
            self.judge()

    def _table(self, keys: tuple[bytes, ...]) -> ServiceTable:
        return ServiceTable(self.config, keys, PinTable(self.memory, KEY[:8], self.now), self.now, 1)

    def judge(self, *servers: str, result: ProbeResult = ProbeResult.OK) -> None:
        """Give these (or all) servers a probe's outcome."""
        for health in self.table.healths:
            if not servers or health.key in servers:
                self.table.probed(health, ProbeOutcome(result, str(result), 0.001), self.now)

    def restart(self, *keys: bytes) -> None:
        """A new process: the pins are kept and nothing else."""
        self.table = self._table(keys or (KEY,))
        self.judge()

    def apply(self, *services: VirtualServiceConfig) -> None:
        self.config = self.config.model_copy(update={"virtual": services})
        self.table.apply(self.config, self.now)

    @property
    def service(self) -> VirtualService:
        return self.table.state.services[0]

    def server(self, address: str) -> RealServer:
        return self.service.by_packed[packed(address)]

    def send(self, data: bytes, source: str = PHONE, leg: int = 0) -> Datagram | None:
        out = self.table.forwarder.datagram_received(data, flow_of(leg, packed(source)), self.now)
        assert self.table.state.last_error == ""
        return out

    def sent(self, data: bytes, source: str = PHONE, leg: int = 0) -> tuple[bytes, str]:
        """(bytes, destination) of what must come out."""
        out = self.send(data, source, leg)
        assert out is not None
        return out[0], address_text(out[1][1])

    def to(self, data: bytes, source: str = PHONE, leg: int = 0) -> str:
        return self.sent(data, source, leg)[1]

    def due(self, after: float = 0.0) -> list[tuple[bytes, str]]:
        self.now += after
        return [(data, address_text(flow[1])) for data, flow in self.table.forwarder.due(self.now)]

    def decided(self, data: bytes, source: str = PHONE, leg: int = 0) -> Decision | Outward:
        service = self.table.state.services[leg]
        return self.table.forwarder.decide(service, scan_request(data), flow_of(leg, packed(source)), self.now)

    def by(self, data: bytes, source: str = PHONE) -> str:
        return self.decided(data, source).by

    def registered(
        self, user: str = "1001", phone: str = PHONE, expires: int = 3600, contact: str = "", also: str = ""
    ) -> str:
        """Register a phone; the server it is registered at. `also`: a Contact the server lists beside its own."""
        contact = contact or f"<sip:{user}@{phone}>"
        data = request(
            "REGISTER",
            f"Contact: {contact}",
            f"Expires: {expires}",
            uri=f"sip:{VIP}",
            user=user,
            call=f"reg-{user}-{phone}",
            branch=f"z9hG4bKr{user}{phone}{self.now}",
            via=f"{phone};rport",
        )
        out, server = self.sent(data, phone)
        granted = [f"Contact: {contact};expires={expires}"] if expires else []
        granted += [f"Contact: {also};expires=60"] if also else []
        back, client = self.sent(answer(out, 200, *granted), server)
        assert (status_of(back), client) == (200, phone)
        return server

    def called(self, call: str = "call-1", phone: str = PHONE) -> tuple[str, str]:
        """A phone's call that is answered: (server, its Route line inside the dialog)."""
        data = request(call=call, branch=f"z9hG4bK{call}", via=f"{phone};rport")
        out, server = self.sent(data, phone)
        self.sent(answer(out, 200, f"Contact: <sip:{server}>"), server)
        return server, route_of(out)

    def dropped(self) -> dict[str, int]:
        return {reason: count for reason, count in self.service.dropped.items() if count}
