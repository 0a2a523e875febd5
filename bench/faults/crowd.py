"""Ten thousand phones that only register, in one process: the smallest thing that follows RFC 3261 17.1.2's timers.

A phone sends REGISTER with the credentials of its last challenge, repeats after T1, doubling to T2, for 32 s, answers a
401, waits out a Retry-After (a few ignore it), and refreshes after part of the life it was granted.
"""

from __future__ import annotations

import asyncio
import heapq
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from sipbalancer.demo import digest
from sipbalancer.demo.message import Address
from sipbalancer.demo.station import bound_socket
from sipbalancer.demo.transaction import LIFETIME, T1, T2

REFRESH = 0.8
"""Of the life granted."""
RETRY = 2.0
PHONES_PER_SOCKET = 200
_LINE = re.compile(rb"\r\n(Via|Contact|WWW-Authenticate|Retry-After|Server|Call-ID|CSeq): ?([^\r]*)")
_EXPIRES = re.compile(rb";expires=(\d+)")


@dataclass(slots=True, eq=False)
class Member:
    """One phone. Times are the loop's."""

    user: str
    socket: int
    contact: str
    ignores: bool
    """Retry-After."""
    seq: int = 0
    branch: str = ""
    challenge: dict[str, str] = field(default_factory=dict)
    count: int = 0
    sent: bytes = b""
    began: float = 0.0
    """Of the refresh under way; 0.0 = none."""
    first: float = 0.0
    """Of the transaction under way."""
    interval: float = 0.0
    until: float = 0.0
    """The registration is good until then."""
    server: str = ""
    succeeded: float = 0.0
    uncovered: float = 0.0
    """Seconds without a registration, after the first."""


@dataclass(slots=True)
class Done:
    """A refresh: when, how long, by whom; status 0 is: nobody answered."""

    began: float
    ended: float
    status: int
    server: str


class Crowd:
    """All phones, their sockets, and one heap of what is to be done when."""

    def __init__(self, phones: int, bind: str, proxy: Address, expires: int, seed: int = 1) -> None:
        self.random = Random(seed)
        self.proxy, self.expires = proxy, expires
        self.loop = asyncio.get_running_loop()
        self.done: list[Done] = []
        self.late = 0.0
        """Seconds this process did not look at the clock, at worst."""
        self._transports: list[asyncio.DatagramTransport] = []
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []
        self._number = 0
        self._branches: dict[bytes, Member] = {}
        sockets = -(-phones // PHONES_PER_SOCKET)
        self.addresses = [(bind, 20000 + index) for index in range(sockets)]
        self.members = [self._member(index) for index in range(phones)]

    def _member(self, index: int) -> Member:
        user, where = f"u{index:05}", index // PHONES_PER_SOCKET
        host, port = self.addresses[where]
        return Member(user, where, f"<sip:{user}@{host}:{port}>", self.random.random() < 0.1)

    async def open(self) -> None:
        for address in self.addresses:
            sock = bound_socket(address)
            transport, _ = await self.loop.create_datagram_endpoint(lambda: _Ear(self), sock=sock)
            self._transports.append(transport)

    def start(self, within: float) -> None:
        """The first registrations, spread over so many seconds."""
        now = self.loop.time()
        for index, member in enumerate(self.members):
            self._at(now + within * index / len(self.members), _bound(self.register, member))

    async def run(self, until: Callable[[], bool]) -> None:
        """Until that is true; it is asked ten times a second."""
        asked, last = 0.0, self.loop.time()
        while True:
            now = self.loop.time()
            self.late, last = max(self.late, now - last), now
            if now >= asked + 0.1:
                if until():
                    return
                asked = now
            while self._heap and self._heap[0][0] <= now:
                heapq.heappop(self._heap)[2](now)
            await asyncio.sleep(0.002)

    # A phone.

    def register(self, member: Member, now: float) -> None:
        """Begin a refresh, unless one is under way."""
        if not member.began:
            member.began = now
            self._ask(member, now)

    def _ask(self, member: Member, now: float) -> None:
        self._branches.pop(member.branch.encode(), None)
        member.seq += 1
        member.branch = f"z9hG4bK{self.random.getrandbits(64):016x}"
        self._branches[member.branch.encode()] = member
        member.sent = self._request(member)
        member.first, member.interval = now, T1
        self._send(member)
        self._at(now + T1, self._again(member, member.branch))

    def _again(self, member: Member, branch: str) -> Callable[[float], None]:
        def again(now: float) -> None:
            if member.branch != branch or not member.began:
                return
            if now - member.first >= LIFETIME:
                self._failed(member, 0, "", RETRY, now)
                return
            self._send(member)
            member.interval = min(2 * member.interval, T2)
            self._at(now + member.interval, again)

        return again

    def _send(self, member: Member) -> None:
        self._transports[member.socket].sendto(member.sent, self.proxy)

    def _request(self, member: Member) -> bytes:
        domain = self.proxy[0]
        host, port = self.addresses[member.socket]
        lines = [
            f"REGISTER sip:{domain} SIP/2.0",
            f"Via: SIP/2.0/UDP {host}:{port};branch={member.branch};rport",
            f"From: <sip:{member.user}@{domain}>;tag=t{member.user}",
            f"To: <sip:{member.user}@{domain}>",
            f"Call-ID: {member.user}@{host}",
            f"CSeq: {member.seq} REGISTER",
            "Max-Forwards: 70",
            f"Contact: {member.contact}",
            f"Expires: {self.expires}",
        ]
        if member.challenge:
            member.count += 1
            uri, nonce = f"sip:{domain}", f"{self.random.getrandbits(64):x}"
            secret = f"secret{member.user}"
            value = digest.credentials(member.challenge, member.user, secret, "REGISTER", uri, member.count, nonce)
            lines.append(f"Authorization: {value}")
        return "\r\n".join((*lines, "Content-Length: 0", "", "")).encode()

    # Answers.

    def heard(self, data: bytes, now: float) -> None:
        """A response; anything else is a stranger's."""
        lines = dict(_LINE.findall(data))
        member = self._branches.get(lines.get(b"Via", b"").partition(b";branch=")[2].partition(b";")[0])
        status = int(data[8:11]) if data.startswith(b"SIP/2.0 ") else 0
        if member is None or not member.began or status < 200:
            return
        server = lines.get(b"Server", b"").decode()
        if status == 401 and not self._tired(member, lines):
            self._ask(member, now)
        elif status == 200:
            self._granted(member, data, server, now)
        else:
            asked = lines.get(b"Retry-After", b"")
            wait = float(asked) if asked.isdigit() and not member.ignores else RETRY
            self._failed(member, status, server, wait, now)

    def _tired(self, member: Member, lines: dict[bytes, bytes]) -> bool:
        """Takes the challenge up; True when our credentials were wrong, not only old."""
        challenge = digest.parse(lines.get(b"WWW-Authenticate", b"").decode())
        wrong = b"uthorization" in member.sent and challenge.get("stale", "").lower() != "true"
        another = challenge.get("nonce") != member.challenge.get("nonce")
        member.challenge, member.count = challenge, 0
        return wrong and not another

    def _granted(self, member: Member, data: bytes, server: str, now: float) -> None:
        mine = data.find(member.contact.encode())
        match = _EXPIRES.search(data, mine) if mine >= 0 else None
        life = int(match[1]) if match else self.expires
        if member.until:
            member.uncovered += max(0.0, now - member.until)
        member.until, member.server, member.succeeded = now + life, server, now
        self._finish(member, 200, server, now)
        self._at(now + REFRESH * life, _bound(self.register, member))

    def _failed(self, member: Member, status: int, server: str, wait: float, now: float) -> None:
        self._finish(member, status, server, now)
        self._at(now + wait, _bound(self.register, member))

    def _finish(self, member: Member, status: int, server: str, now: float) -> None:
        self.done.append(Done(member.began, now, status, server))
        self._branches.pop(member.branch.encode(), None)
        member.began, member.branch = 0.0, ""

    def _at(self, when: float, action: Callable[[float], None]) -> None:
        self._number += 1
        heapq.heappush(self._heap, (when, self._number, action))


class _Ear(asyncio.DatagramProtocol):
    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._crowd.heard(data, self._crowd.loop.time())


def _bound(verb: Callable[[Member, float], None], member: Member) -> Callable[[float], None]:
    return lambda now: verb(member, now)
