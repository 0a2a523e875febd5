"""One worker as a process, told what to be by a test."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from sipbalancer.config.model import CheckConfig, CheckType, Config, RealServerConfig, VirtualServiceConfig
from sipbalancer.daemon.crew_memory import new_crew_memory
from sipbalancer.daemon.fleet_legs import FleetLegs
from sipbalancer.daemon.handed import config_body
from sipbalancer.daemon.link import new_pair
from sipbalancer.daemon.shared_memory import new_memory
from sipbalancer.director.leader import Leader
from sipbalancer.director.pins import PinTable
from sipbalancer.director.seat import Seat
from sipbalancer.director.table import ServiceTable
from tests.daemon.answerer import header
from tests.daemon.test_link import End

KEY, CHECK = b"k" * 32, b"12345678"
NET = f"127.{192 + os.getpid() % 32}.{os.getpid() // 32 % 256}"
HOSTS = itertools.count(220)
LIMIT = 30.0


class Stand:
    """A worker, the memory it shares with us, a server and a phone."""

    def __init__(self) -> None:
        self.host, server = f"{NET}.{next(HOSTS)}", f"{NET}.{next(HOSTS)}"
        self.server = self._socket(server, 5060)
        self.phone = self._socket(self.host, 0)
        real = RealServerConfig(host=server)
        service = VirtualServiceConfig(host=self.host, real=(real,), check=CheckConfig(checktype=CheckType.ON))
        self.config = Config(virtual=(service,))
        self.crew = new_crew_memory(new_memory("pins", PinTable.size_for(100)), 2)
        now = time.time()
        pins = self.crew.control_pins(2, CHECK, now)
        self.table = ServiceTable(self.config, (KEY,), pins, now, 0, Seat(0, 2))
        Leader(self.table, self.crew.words, self.crew.stripes).publish()
        self.legs = FleetLegs(2)
        self.legs.keep(self.legs.open(self.config.virtual), [service.key])
        ours, theirs = new_pair()
        with theirs:
            argv = [sys.executable, "-m", "sipbalancer.daemon.worker", str(theirs.fileno())]
            self.process = subprocess.Popen(argv, pass_fds=(theirs.fileno(),))
        self.end = End(ours)

    @staticmethod
    def _socket(host: str, port: int) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((host, port))
        made.setblocking(False)
        return made

    def begin(self, number: int = 1) -> None:
        body = {"number": number, "of": 2, "keys": [KEY.hex()], "check": CHECK.hex()}
        send, (service,) = self.end.link.send, self.config.virtual
        send("begin", {**body, "offset": time.time() - time.monotonic()}, self.crew.files)
        send("leg", service.key, self.legs.held[service.key].files(number))
        send("config", config_body(self.config, 2))

    async def next(self, kind: str) -> Any:
        """The next message of that kind; others are passed over."""
        while True:
            message = await self.end.next()
            if message[0] == kind:
                return message[1]

    async def read(self, sock: socket.socket) -> tuple[bytes, tuple[str, int]]:
        async with asyncio.timeout(LIMIT):
            data: tuple[bytes, tuple[str, int]] = await asyncio.get_running_loop().sock_recvfrom(sock, 65536)
            return data

    def register(self) -> None:
        """From the phone; the kernel may give it to the worker that nobody holds, so it is handed to ours directly."""
        port = self.phone.getsockname()[1]
        lines = [
            f"REGISTER sip:{self.host} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.host}:{port};branch=z9hG4bK{time.monotonic_ns()};rport",
            "Max-Forwards: 70",
            f"From: <sip:1@{self.host}>;tag=f",
            f"To: <sip:1@{self.host}>",
            "Call-ID: c",
            "CSeq: 1 REGISTER",
            f"Contact: <sip:1@{self.host}:{port}>",
            "Content-Length: 0",
        ]
        self.phone.sendto(("\r\n".join(lines) + "\r\n\r\n").encode(), (self.host, 5060))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.end.link.close()
        self.legs.close()
        self.table.state.pins.close()
        self.crew.close()
        for sock in (self.server, self.phone):
            sock.close()


def with_stand(work: Callable[[Stand], Any]) -> None:
    async def run() -> None:
        stand = Stand()
        try:
            await work(stand)
        finally:
            stand.close()

    asyncio.run(run())


def only(stand: Stand, number: int) -> None:
    """The other worker's socket goes, so that all comes to this one."""
    (legs,) = stand.legs.held.values()
    legs.clients[1 - number].sock.close()


def test_it_forwards_on_what_it_was_handed_and_says_what_it_learned() -> None:
    async def work(stand: Stand) -> None:
        stand.begin()
        await stand.next("ready")
        only(stand, 1)
        stand.register()
        data, source = await stand.read(stand.server)
        assert source == (stand.host, 15061)
        assert header(data, "Via").startswith(f"SIP/2.0/UDP {stand.host}:15061;branch=")
        kept = [
            line for line in data.split(b"\r\n") if line.split(b":")[0] in (b"Via", b"From", b"To", b"Call-ID", b"CSeq")
        ]
        contact = f"Contact: {header(data, 'Contact')};expires=60".encode()
        stand.server.sendto(b"\r\n".join((b"SIP/2.0 200 OK", *kept, contact, b"", b"")), source)
        answer, _ = await stand.read(stand.phone)
        assert answer.startswith(b"SIP/2.0 200 ")
        ((virtual, aor, contact_uri, _, server, _),) = await stand.next("bindings")
        assert (virtual, aor, server) == (f"{stand.host}:5060", "1@", f"{stand.config.virtual[0].real[0].host}:5060")
        assert contact_uri == f"sip:1@{stand.host}:{stand.phone.getsockname()[1]}"
        (registered,) = stand.table.state.services[0].servers
        assert registered.registrations == 1, "the pin is everybody's"
        stand.end.link.send("report")
        report = await stand.next("report")
        while report["edge"]["received"] < 2:
            report = await stand.next("report")
        counted = report["numbers"]["services"][f"{stand.host}:5060"]["servers"][registered.key]
        assert counted["requests"] == {"REGISTER": 1}

    with_stand(work)


def test_the_words_of_the_control_process_are_its_verdicts() -> None:
    async def work(stand: Stand) -> None:
        stand.begin()
        await stand.next("ready")
        only(stand, 1)
        host = stand.config.virtual[0].real[0].host
        stand.table.drain(host, time.time())
        for health in stand.table.healths:
            health.refused = True
        leader = Leader(stand.table, stand.crew.words, stand.crew.stripes)
        (server,) = stand.table.state.services[0].servers
        server.health.verdict = list(type(server.health.verdict))[-1]
        leader.publish()
        stand.register()
        answer, _ = await stand.read(stand.phone)
        assert answer.startswith(b"SIP/2.0 503 ")

    with_stand(work)


def test_only_its_link_stops_it() -> None:
    async def work(stand: Stand) -> None:
        stand.begin(0)
        await stand.next("ready")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            stand.process.send_signal(number)
        stand.end.link.send("report")
        await stand.next("report")
        assert stand.process.poll() is None
        stand.end.link.send("stop")
        await stand.next("report")
        async with asyncio.timeout(LIMIT):
            await stand.end.over.wait()
        assert stand.process.wait(LIMIT) == 0

    with_stand(work)


def test_a_worker_nobody_needs_ends_with_its_link() -> None:
    async def work(stand: Stand) -> None:
        stand.end.link.close()
        assert stand.process.wait(LIMIT) == 0

    with_stand(work)
