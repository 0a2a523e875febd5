"""Whatever bytes come from whatever address in whatever order, no verb of the forwarder raises, none of them counts an
internal error, and what a client sends leaves only to a server of its service, or back to its own address and then not
longer than it came by more than what an answer must add.

    python -m tests.fuzz.fuzz_forwarder [SECONDS] [SEED]

Guided by the forwarder's own counters: an input after which a counter exists that did not before is kept and mutated
further, and so is whatever the forwarder itself sends. A failing seed is written to tests/fuzz/failures.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from random import Random

from sipbalancer.config.model import Config, RealServerConfig, VirtualServiceConfig
from sipbalancer.director.pins import PinTable
from sipbalancer.director.table import ServiceTable
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult
from sipbalancer.sip.flow import Datagram, address_text, flow_of, pack_address
from tests.sip.messages import ADDRESSES, NUMBERS, OUR_VIAS, REQUEST_URIS, ROUTES, VIAS

FAILURES = Path(__file__).parent / "failures"
KEY = bytes(range(32))
ADDED = 100
"""Octets: received, rport and a To tag in an answer to a request that a server had; to others we add nothing at all."""
STEPS = 400
"""What one seed does before the world is made anew."""

SERVERS = ["192.0.2.11", "192.0.2.12", "192.0.2.13"]
CLIENTS = [("10.1.0.1", 5060), ("10.1.0.2", 5062), ("10.1.0.2", 40000), ("192.0.2.11", 5099), ("192.0.2.99", 5060)]
METHODS = [
    b"INVITE",
    b"INVITE",
    b"REGISTER",
    b"REGISTER",
    b"ACK",
    b"CANCEL",
    b"BYE",
    b"OPTIONS",
    b"SUBSCRIBE",
    b"UPDATE",
]
STATUSES = [100, 180, 183, 200, 200, 200, 302, 401, 403, 404, 407, 408, 481, 487, 500, 503, 503, 603, 699, 999]
HEADERS = [
    *(b"Route: " + route for route in ROUTES),
    *(b"Max-Forwards: " + number for number in NUMBERS),
    *(b"Contact: " + address for address in ADDRESSES),
    *(b"P-Asserted-Identity: " + address for address in ADDRESSES),
    b"Contact: *",
    b"Contact: <sip:1001@10.1.0.1:5060>;expires=0, <sip:1001@10.1.0.2>;expires=99999999999",
    b"Expires: 0",
    b"Expires: x",
    b"Session-Expires: 90;refresher=uac",
    b"x: 0",
    b"Supported: path",
    b"k: path,timer",
    b"Replaces: call1@10.1.0.1;to-tag=a;from-tag=b",
    b"Target-Dialog: ;x",
    b"Retry-After: 3",
    b'Authorization: Digest username="1001", realm="x"',
    b"X-Client: 6.6.6.6",
    b"Subject: " + b"a" * 3000,
]
SERVICES = (
    VirtualServiceConfig(
        host="192.0.2.1",
        real=tuple(RealServerConfig(host=host) for host in SERVERS),
        fallback=RealServerConfig(host="192.0.2.20"),
        alias=("pbx.example.com",),
    ),
    VirtualServiceConfig.model_validate(
        {
            "host": "192.0.2.2",
            "real": tuple(RealServerConfig(host=host) for host in SERVERS[:2]),
            "clientheader": "X-Client",
            "persistencekey": "source",
            "scheduler": "wlc",
            "nat": "no",
            "quiescent": True,
        }
    ),
)


class World:
    """Two services that share servers, clients, and everybody's bytes."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.now = 1_000_000.0
        self.config = Config(virtual=SERVICES, registrations=500, calls=500)
        self.table = ServiceTable(
            self.config, (KEY,), PinTable(bytearray(PinTable.size_for(500)), KEY[:8], self.now), self.now, 1
        )
        self.corpus: list[bytes] = []
        self.sent: list[Datagram] = []
        self._known = 0

    # One step.

    def step(self) -> None:
        self.now += self.random.choice([0.0, 0.001, 0.02, 0.3, 0.3, 2.0, 9.0, 40.0])
        what = self.random.random()
        if what < 0.55:
            self.client_speaks()
        elif what < 0.88:
            self.server_speaks()
        elif what < 0.93:
            self.probe()
        elif what < 0.97 and self.sent:
            self.table.forwarder.refused(self.random.choice(self.sent)[1], self.now)
        elif what < 0.98:
            self.operate()
        self.sent += self.table.forwarder.due(self.now)
        del self.sent[:-200]
        self.check_state()

    def check_state(self) -> None:
        state = self.table.state
        assert state.last_error == "", state.last_error
        pending = state.transactions.pending.values()
        for server in state.servers:
            held = sum(transaction.server is server for transaction in pending)
            assert server.transactions == held, f"{server.name}: counts {server.transactions} transactions, has {held}"

    def client_speaks(self) -> None:
        host, port = self.random.choice(CLIENTS)
        data, leg = self.client_bytes(), self.random.randrange(2)
        out = self.deliver(data, leg, host, port)
        if out is not None:
            service = self.table.state.services[leg]
            to = out[1][1]
            if to not in service.by_packed and service.source(pack_address(host, port)) is None:
                is_server = to[2:] in service.by_address and data.startswith(b"SIP/2.0 ")
                assert is_server or to[2:] == pack_address(host, 0)[2:], f"{host} made us send to {address_text(to)}"
                assert is_server or len(out[0]) <= len(data) + ADDED, f"{len(data)} octets answered by {len(out[0])}"

    def server_speaks(self) -> None:
        service = self.table.state.services[self.random.randrange(2)]
        server = self.random.choice(list(service.by_packed.values()))
        host, _, port = server.key.rpartition(":")
        self.deliver(self.server_bytes(), service.leg, host, int(port))

    def deliver(self, data: bytes, leg: int, host: str, port: int) -> Datagram | None:
        out = self.table.forwarder.datagram_received(data, flow_of(leg, pack_address(host, port)), self.now)
        if out is not None:
            self.sent.append(out)
        counters = sum(
            len(service.dropped) + sum(map(bool, service.chosen.values()))
            for service in self.table.state.services.values()
        )
        if counters > self._known:
            self._known = counters
            self.corpus.append(data)
        return out

    def probe(self) -> None:
        health = self.random.choice(self.table.healths)
        result = self.random.choice([ProbeResult.OK, ProbeResult.OK, *ProbeResult])
        self.table.probed(health, ProbeOutcome(result, "x", 0.001), self.now)

    def operate(self) -> None:
        verb = self.random.choice([self.table.drain, self.table.enable])
        if self.random.random() < 0.5:
            verb(self.random.choice(SERVERS[:2]), self.now)
            return
        some = tuple(sorted(self.random.sample(SERVICES[0].real, self.random.randint(1, 3)), key=str))
        first = SERVICES[0].model_copy(update={"real": some})
        self.table.apply(self.config.model_copy(update={"virtual": (first, SERVICES[1])}), self.now)

    # Bytes.

    def client_bytes(self) -> bytes:
        return self.mutated(self.seed_bytes(self.request, 0.3))

    def server_bytes(self) -> bytes:
        what = self.random.random()
        if what < 0.6 and self.sent:
            return self.mutated(self.answered(self.random.choice(self.sent)[0]), 0.2)
        return self.mutated(self.seed_bytes(self.request, 0.3))

    def seed_bytes(self, fresh: object, kept: float) -> bytes:
        pools = [self.corpus, [data for data, _ in self.sent[-20:]]]
        pool = self.random.choice(pools)
        if pool and self.random.random() < kept:
            data = self.random.choice(pool)
            return self.answered(data) if self.random.random() < 0.4 else data
        return self.request()

    def request(self) -> bytes:
        pick = self.random.choice
        method, number = pick(METHODS), self.random.randrange(6)
        via = pick(VIAS[:4]) if self.random.random() < 0.8 else pick([*VIAS, *OUR_VIAS])
        lines = [
            b"%b %b SIP/2.0" % (method, pick(REQUEST_URIS)),
            b"Via: " + via.replace(b"abc", b"%d" % number),
            b"Max-Forwards: 70",
            b"From: <sip:100%d@192.0.2.1>;tag=f" % number,
            b"To: <sip:100%d@192.0.2.1>%b" % (number, pick([b"", b"", b";tag=t"])),
            b"Call-ID: call%d@10.1.0.1" % number,
            b"CSeq: 1 " + method,
            *self.random.sample(HEADERS, self.random.choice([0, 0, 1, 2, 4])),
            b"Contact: <sip:100%d@10.1.0.%d:5060>" % (number, number % 3),
            b"",
            b"",
        ]
        return b"\r\n".join(lines)

    def answered(self, request: bytes) -> bytes:
        """What a server would say to this request: its lines under a status line."""
        head, _, rest = request.partition(b"\r\n")
        return b"SIP/2.0 %d Whatever\r\n%b" % (self.random.choice(STATUSES), rest)

    def mutated(self, data: bytes, often: float = 0.5) -> bytes:
        while self.random.random() < often:
            data = self.random.choice(
                [self.cut, self.insert, self.line_out, self.line_twice, self.line_in, self.spelled]
            )(data)
        return data

    def cut(self, data: bytes) -> bytes:
        at = self.random.randint(0, len(data))
        return data[:at] + data[at + self.random.randint(0, 20) :]

    def insert(self, data: bytes) -> bytes:
        at = self.random.randint(0, len(data))
        piece = self.random.choice(
            [b"\r\n", b"\n", b'"', b"<", b">", b",", b";", b"\\", b" ", b"\0", self.random.randbytes(3)]
        )
        return data[:at] + piece + data[at:]

    def line_out(self, data: bytes) -> bytes:
        lines = data.split(b"\r\n")
        del lines[self.random.randrange(len(lines))]
        return b"\r\n".join(lines)

    def line_twice(self, data: bytes) -> bytes:
        lines = data.split(b"\r\n")
        lines.insert(self.random.randrange(len(lines)), self.random.choice(lines))
        return b"\r\n".join(lines)

    def line_in(self, data: bytes) -> bytes:
        lines = data.split(b"\r\n")
        lines.insert(self.random.randint(1, max(1, len(lines) - 2)), self.random.choice(HEADERS))
        return b"\r\n".join(lines)

    def spelled(self, data: bytes) -> bytes:
        lines = data.split(b"\r\n")
        at = self.random.randrange(len(lines))
        line = lines[at]
        lines[at] = self.random.choice([line.lower(), line.upper(), line.replace(b": ", b" :\r\n ", 1)])
        return b"\r\n".join(lines)


def run(seed: int, steps: int = STEPS) -> None:
    """One world; AssertionError (or whatever escaped) when the invariant does not hold."""
    world = World(Random(seed))
    for _ in range(steps):
        world.step()


def main(seconds: float, seed: int) -> int:
    """Run seeds until the time is over; 1 and a file in `failures` for the first that fails."""
    end = time.monotonic() + seconds
    first = seed
    while time.monotonic() < end:
        try:
            run(seed)
        except Exception as error:
            FAILURES.mkdir(exist_ok=True)
            (FAILURES / f"{seed}.txt").write_text(f"{type(error).__name__}: {error}\n")
            sys.stdout.write(f"seed {seed}: {type(error).__name__}: {error}\n")
            return 1
        seed += 1
    sys.stdout.write(f"{seed - first} worlds of {STEPS} steps, nothing found\n")
    return 0


if __name__ == "__main__":
    duration = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    sys.exit(main(duration, int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())))
