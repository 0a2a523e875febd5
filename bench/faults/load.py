"""The load: one process with all phones, on uvloop. Driven by lines on stdin, says on stdout when all are registered.

    python -m bench.faults.load '{"proxy": ["10.71.0.1", 5060], ...}'

`call NUMBER PART` sends that part of the calls to another number; `stop` ends: no new calls, wait for what is
unanswered (at most 33 s), write the book (JSON) and go. Times in it are CLOCK_MONOTONIC, as in the orchestrator.
Of the other calls a part goes from phone to phone, of those that registered at the same server: that one knows both.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import uvloop

from bench.faults.phones import Book, BookedPhone, BookedStation, CallRecord, Op, plain
from bench.faults.servers import ECHO, JOIN
from sipbalancer.demo.station import bound_socket

LIMIT = 33.0
"""Seconds after which a transaction without a final is lost (RFC 3261 timer F, and a bit)."""
TRACED = 12
"""Traces written, of the worst ops."""
TICK = 0.01
"""Seconds between two looks at the clock: what is missing there was missing to the phones too."""


@dataclass(frozen=True)
class Plan:
    """What the orchestrator asks for; seconds, and phones or calls per second (0: none; registers 0: once)."""

    proxy: tuple[str, int]
    bind: str
    book: str
    phones: int = 200
    first: int = 1001
    registers: float = 100.0
    calls: float = 10.0
    between: float = 0.3
    """Part of the calls that go from phone to phone."""
    talk: float = 8.0
    expires: int = 60
    seed: int = 1

    @classmethod
    def read(cls, text: str) -> Plan:
        given: dict[str, Any] = json.loads(text)
        host, port = given.pop("proxy")
        return cls(proxy=(host, port), **given)


@dataclass
class Load:
    plan: Plan
    book: Book = field(default_factory=Book)
    phones: list[BookedPhone] = field(default_factory=list)
    stations: dict[str, BookedStation] = field(default_factory=dict)
    other: str = ""
    part: float = 0.0

    def __post_init__(self) -> None:
        self.random = Random(self.plan.seed)
        self.loop = asyncio.get_running_loop()
        self.stopping = asyncio.Event()
        self.late = 0.0
        """Seconds the loop was behind at worst, since the phones were registered."""

    async def run(self) -> None:
        await self._open()
        listening = asyncio.create_task(self._listen())
        await self._all_registered()
        gc.disable()  # a look through all that the book keeps would hold every phone up; 1 MB/s of cycles stays
        busy = [asyncio.create_task(self._watch()), asyncio.create_task(self._call())]
        await self.stopping.wait()
        stopped = self.loop.time()
        for task in busy:
            task.cancel()
        await self._settle(stopped)
        listening.cancel()
        self.write(stopped)

    def write(self, stopped: float) -> None:
        Path(self.plan.book).write_text(json.dumps(self._document(stopped)))

    async def _open(self) -> None:
        plan = self.plan
        every = plan.phones / plan.registers if plan.registers else None
        for index in range(plan.phones):
            sock = bound_socket((plan.bind, 20000 + index))
            phone = BookedPhone(
                str(plan.first + index), sock.getsockname(), plan.proxy, plan.proxy[0], self.random, self.book,
                refresh=every, expires=plan.expires, talk=plan.talk,
            )  # fmt: skip
            _, station = await self.loop.create_datagram_endpoint(_station(phone), sock=sock)
            self.phones.append(phone)
            self.stations[phone.user] = station
            self.loop.call_later((every or 1.0) * index / plan.phones, self._register, phone)

    def _register(self, phone: BookedPhone) -> None:
        self.stations[phone.user].send(phone.register(self.loop.time()))

    async def _all_registered(self) -> None:
        while not all(phone.registered for phone in self.phones):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        sys.stdout.write("registered\n")
        sys.stdout.flush()

    async def _call(self) -> None:
        """An open loop: so many calls a second, however long the last ones take."""
        began, placed = self.loop.time(), 0
        while self.plan.calls:
            placed += 1
            await asyncio.sleep(max(0.0, began + placed / self.plan.calls - self.loop.time()))
            registered = [phone for phone in self.phones if phone.registered] or self.phones
            idle = [phone for phone in registered if phone.idle] or registered
            phone = self.random.choice(idle)
            self.stations[phone.user].send(phone.call(self._target(phone, idle), self.loop.time()))

    def _target(self, phone: BookedPhone, idle: list[BookedPhone]) -> str:
        if self.random.random() < self.part:
            return self.other
        if self.random.random() >= self.plan.between:
            return ECHO
        server = phone.registration.server
        near = [other for other in idle if other is not phone and other.registration.server == server]
        return JOIN + self.random.choice(near).user if near else ECHO

    async def _watch(self) -> None:
        while True:
            due = self.loop.time() + TICK
            await asyncio.sleep(TICK)
            self.late = max(self.late, self.loop.time() - due)

    async def _listen(self) -> None:
        reader = asyncio.StreamReader()
        await self.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            verb, *words = line.decode().split()
            if verb == "call":
                self.other, self.part = words[0], float(words[1])
            elif verb == "stop":
                self.stopping.set()
        self.stopping.set()

    async def _settle(self, stopped: float) -> None:
        while self.loop.time() < stopped + LIMIT:
            if not self.book.open_before(stopped) and all(phone.idle for phone in self.phones):
                break
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)

    # What is written.

    def _document(self, stopped: float) -> dict[str, Any]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        calls = [CallRecord.of(phone.user, call) for phone in self.phones for call in phone.history]
        return {
            "stopped": stopped,
            "ops": [plain(op) for op in self.book.ops if op.began <= stopped],
            "calls": [plain(call) for call in calls],
            "doubles": sum(phone.doubles for phone in self.phones),
            "retransmissions": sum(phone.retransmissions for phone in self.phones),
            "late": self.late,
            "kernel_drops": sum(_drops(self.stations[phone.user]) for phone in self.phones),
            "cpu": used.ru_utime + used.ru_stime,
            "traces": self._traces(stopped),
        }

    def _traces(self, stopped: float) -> list[dict[str, Any]]:
        phones = {phone.user: phone for phone in self.phones}
        ops = [op for op in self.book.ops if op.began <= stopped]
        worst = sorted(ops, key=_badness, reverse=True)[:TRACED]
        return [{"op": plain(op), "trace": phones[op.user].told(op)} for op in worst]


def _badness(op: Op) -> tuple[bool, bool, float]:
    return (not op.status, op.status >= 300, op.ended - op.began)


def _station(phone: BookedPhone) -> Any:
    return lambda: BookedStation(phone)


def _drops(station: BookedStation) -> int:
    """Datagrams the kernel threw away because the phone did not read in time: the generator's own fault."""
    sock: socket.socket | None = station._transport.get_extra_info("socket") if station._transport else None
    if sock is None:
        return 0
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, 55, 36)[32:36], "little")  # SO_MEMINFO: drops


async def main() -> None:
    await Load(Plan.read(sys.argv[1])).run()


if __name__ == "__main__":
    uvloop.run(main())
