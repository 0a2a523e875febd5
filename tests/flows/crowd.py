"""Ten thousand phones that only register, and the servers they register at: bytes in, bytes out, nothing kept but what
the tests ask for. Virtual time in steps of 50 ms; the wire takes no time and loses nothing."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from random import Random

from sipbalancer.director.pins import PinTable
from sipbalancer.director.table import ServiceTable
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult
from sipbalancer.sip.flow import Datagram, Flow, flow_of, pack_address
from tests.flows.balancer import KEY, config_of

STEP = 0.05
T1, T2, LIFETIME = 0.5, 4.0, 32.0
IGNORED = 2.0
"""Seconds after which a phone that does not read Retry-After tries again."""


class LightPhone:
    """RFC 3261's timers of one REGISTER after the other; with credentials from its first challenge on, as phones do."""

    def __init__(self, number: int, random: Random, reads_retry_after: bool) -> None:
        self.number = number
        self.flow: Flow = flow_of(0, pack_address(f"10.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}", 5060))
        self.random = random
        self.reads_retry_after = reads_retry_after
        self.server = b""
        """The one that answered 200 last."""
        self.until = 0.0
        self.realm = b""
        self.cseq = 0
        self.answered = True
        self.began = 0.0
        self.longest = 0.0
        """Seconds that any of its REGISTERs waited for its answer."""
        self.interval = 0.0
        self.due = 0.0
        self.data = b""

    def ask(self, now: float) -> bytes:
        """A new REGISTER."""
        self.cseq += 1
        host = self.flow[2].rpartition(b"=")[2]
        credentials = b'Authorization: Digest username="%d", realm="%b"\r\n' % (self.number, self.realm)
        self.data = (
            b"REGISTER sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP %b:5060;rport;branch=z9hG4bK%d-%d\r\n"
            b"From: <sip:%d@10.0.0.1>;tag=%d\r\nTo: <sip:%d@10.0.0.1>\r\nCall-ID: call-%d\r\nCSeq: %d REGISTER\r\n"
            b"Max-Forwards: 70\r\nContact: <sip:%d@%b:5060>\r\nExpires: 3600\r\n%bContent-Length: 0\r\n\r\n"
        ) % (
            *(host, self.number, self.cseq, self.number, self.number, self.number, self.number, self.cseq),
            *(self.number, host, credentials if self.realm else b""),
        )
        self.answered, self.began, self.interval, self.due = False, now, T1, now + T1
        return self.data

    def timer(self, now: float) -> bytes | None:
        """Its time has come: refresh, or say it again."""
        if self.answered or now - self.began >= LIFETIME:
            self.longest = max(self.longest, 0.0 if self.answered else LIFETIME)
            return self.ask(now)
        self.interval = min(2 * self.interval, T2)
        self.due = now + self.interval
        return self.data

    def hear(self, data: bytes, now: float) -> bytes | None:
        """A response; the next request where one follows at once."""
        status = int(data[8:11])
        if self.answered or b"CSeq: %d " % self.cseq not in data:
            return None
        self.answered = True
        self.longest = max(self.longest, now - self.began)
        if status == 401:
            self.realm = data.partition(b'realm="')[2].partition(b'"')[0]
            return self.ask(now)
        if status == 200:
            life = int(data.partition(b";expires=")[2].partition(b"\r")[0])
            self.server, self.until = data.partition(b"\r\nServer: ")[2].partition(b"\r")[0], now + life
            self.due = now + life * self.random.uniform(0.5, 0.9)
        else:
            wait = float(data.partition(b"Retry-After: ")[2].partition(b"\r")[0] or 0)
            self.due = now + (wait if wait and self.reads_retry_after else IGNORED)
        return None


class LightServer:
    """Challenges credentials of another realm, or none; answers the rest 200 for an hour."""

    def __init__(self, key: str) -> None:
        self.key = key.encode()
        self.alive = True
        self.seconds: Counter[int] = Counter()
        """REGISTERs heard, by second."""
        self.heard: list[float] = []
        """When each was."""
        self.branches: Counter[bytes] = Counter()

    def answer(self, data: bytes, now: float) -> bytes:
        self.seconds[int(now)] += 1
        self.heard.append(now)
        self.branches[data.partition(b";branch=")[2].partition(b"\r")[0]] += 1
        lines = data.split(b"\r\n")
        kept = [line for line in lines if line.startswith((b"Via:", b"From:", b"To:", b"Call-ID:", b"CSeq:"))]
        if b'realm="%b"' % self.key not in data:
            start, more = b"SIP/2.0 401 Unauthorized", [b'WWW-Authenticate: Digest realm="%b"' % self.key]
        else:
            contact = next(line for line in lines if line.startswith(b"Contact:"))
            start, more = b"SIP/2.0 200 OK", [contact + b";expires=3600", b"Server: " + self.key]
        return b"\r\n".join([start, *kept, *more, b"Content-Length: 0", b"", b""])


class Crowd:
    """Phones, balancer, servers."""

    def __init__(self, phones: int, servers: int, ignoring: float = 0.0, **words: object) -> None:
        self.now = 1000.0
        self.random = Random(5)
        addresses = [(f"10.0.0.{11 + number}", 5060) for number in range(servers)]
        config = config_of(addresses, None, **words)
        config = config.model_copy(update={"registrations": 2 * phones})
        self.table = ServiceTable(
            config, (KEY,), PinTable(bytearray(PinTable.size_for(2 * phones)), KEY[:8], 0.0), 0.0, 1
        )
        self.servers = {
            flow_of(0, pack_address(*address))[1]: LightServer(f"{address[0]}:5060") for address in addresses
        }
        self.phones = [LightPhone(number, self.random, number >= ignoring * phones) for number in range(phones)]
        self._by_flow = {phone.flow[1]: phone for phone in self.phones}
        self._agenda: list[tuple[float, int]] = []
        for server in self.servers.values():
            self.judge(server, ProbeResult.OK)
        self._flows = {packed: flow_of(0, packed) for packed in self.servers}

    def judge(self, server: LightServer, result: ProbeResult) -> None:
        for health in self.table.healths:
            if health.key.encode() == server.key:
                self.table.probed(health, ProbeOutcome(result, str(result), 0.001, 20, 1.1), self.now)

    def begin(self, seconds: float) -> None:
        """All phones register, spread over so long."""
        for phone in self.phones:
            phone.due = self.now + self.random.uniform(0, seconds)
            heapq.heappush(self._agenda, (phone.due, phone.number))

    def ask_all(self, phones: Sequence[LightPhone] = ()) -> None:
        """Every phone (or each of these) registers anew at this moment."""
        for phone in phones or self.phones:
            self._from_phone(phone, phone.ask(self.now))
            heapq.heappush(self._agenda, (phone.due, phone.number))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += STEP
            while self._agenda and self._agenda[0][0] <= self.now:
                when, number = heapq.heappop(self._agenda)
                phone = self.phones[number]
                if phone.due <= when:
                    self._from_phone(phone, phone.timer(self.now))
                heapq.heappush(self._agenda, (phone.due, number))
            for data, flow in self.table.forwarder.due(self.now):
                self._carry((data, flow))

    def _from_phone(self, phone: LightPhone, data: bytes | None) -> None:
        if data is not None:
            self._carry(self.table.forwarder.datagram_received(data, phone.flow, self.now))

    def _carry(self, out: Datagram | None) -> None:
        """What the balancer sends arrives at once."""
        if out is None:
            return
        data, flow = out
        server = self.servers.get(flow[1])
        if server is None:
            phone = self._by_flow[flow[1]]
            self._from_phone(phone, phone.hear(data, self.now))
        elif server.alive:
            answer = server.answer(data, self.now)
            self._carry(self.table.forwarder.datagram_received(answer, self._flows[flow[1]], self.now))

    # What is to be seen.

    def spread(self) -> Counter[bytes]:
        """Phones by the server they are registered at, now."""
        return Counter(phone.server for phone in self.phones if phone.until > self.now)
