"""`workers = 2`, whole: real processes, phones with sockets of their own, servers that call back."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from sipbalancer.daemon.leg import open_leg
from sipbalancer.errors import EnvironmentFault
from tests.daemon.test_main import PATIENCE, Running, SipServer, address, eventually

PHONES = 1000
SOME = 10
KEPT = rb"(?im)^(?:via|from|call-id|cseq|contact|record-route|path):.*\r\n"


class Server(SipServer):
    """Answers as a registrar and callee does, and can ask of its own accord."""

    @staticmethod
    def _answer(request: bytes) -> bytes:
        if request.startswith((b"SIP/2.0", b"ACK ")):
            return b""
        lines = [
            line[:-2] + b";expires=3600\r\n" if line.startswith(b"Contact") else line
            for line in re.findall(KEPT, request)
        ]
        to = header(request, "To")
        lines.append(f"To: {to if ';tag=' in to else to + ';tag=server'}\r\n".encode())
        return b"SIP/2.0 200 OK\r\n" + b"".join(lines) + b"Content-Length: 0\r\n\r\n"

    def send(self, data: bytes, virtual: str) -> None:
        self._sock.sendto(data, (virtual, 5060))

    def count(self, start: str, call: str = "") -> int:
        return sum(each.startswith(start.encode()) and call.encode() in each for each in list(self.heard))


class Phone:
    """One account at one socket."""

    def __init__(self, user: str, virtual: str) -> None:
        self.user, self.virtual = user, virtual
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.move()

    def move(self) -> None:
        """A NAT gives it another port."""
        self.sock.close()
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((self.virtual, 0))
        self.sock.settimeout(0.5)
        self.port = self.sock.getsockname()[1]

    def message(self, method: str, call: str, cseq: int, *more: str, to: str = "") -> bytes:
        uri = f"sip:{self.virtual}" if method == "REGISTER" else f"sip:600@{self.virtual}"
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.virtual}:{self.port};branch=z9hG4bK{call}{cseq}{method};rport",
            "Max-Forwards: 70",
            f"From: <sip:{self.user}@{self.virtual}>;tag=phone",
            f"To: {to or f'<sip:{self.user}@{self.virtual}>'}",
            f"Call-ID: {call}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:{self.user}@{self.virtual}:{self.port}>",
            *more,
            "Content-Length: 0",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def ask(self, data: bytes) -> bytes:
        """Send, and again every half second as phones do; the final answer."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.sock.sendto(data, (self.virtual, 5060))
            try:
                while True:
                    got = self.sock.recv(65536)
                    if got.startswith(b"SIP/2.0 ") and header(got, "CSeq") == header(data, "CSeq"):
                        return got
            except TimeoutError:
                continue
        raise TimeoutError(data)

    def register(self, cseq: int = 1) -> None:
        assert self.ask(self.message("REGISTER", f"reg-{self.user}", cseq)).startswith(b"SIP/2.0 200 ")

    def invite(self, call: str) -> list[str]:
        """The Route set of the call."""
        answer = self.ask(self.message("INVITE", call, 1, to=f"<sip:600@{self.virtual}>"))
        assert answer.startswith(b"SIP/2.0 200 ")
        return [f"Route: {line}" for line in headers(answer, "Record-Route")]

    def hang_up(self, call: str, routes: list[str]) -> None:
        to = f"<sip:600@{self.virtual}>;tag=server"
        assert self.ask(self.message("BYE", call, 2, *routes, to=to)).startswith(b"SIP/2.0 200 ")

    def answer_bye(self) -> bool:
        """Whether the server's BYE came and was answered."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                got, source = self.sock.recvfrom(65536)
            except TimeoutError:
                continue
            if got.startswith(b"BYE "):
                self.sock.sendto(Server._answer(got), source)
                return True
        return False


def headers(message: bytes, name: str) -> list[str]:
    return [found.decode() for found in re.findall(rb"(?m)^" + name.encode() + rb": (.*?)\r$", message)]


def header(message: bytes, name: str) -> str:
    return headers(message, name)[0]


def server_of(user: str, servers: tuple[Server, ...]) -> Server:
    """Who had this user's last registration."""
    (found,) = [server for server in servers if server.count("REGISTER", f"reg-{user}\r\n")]
    return found


def metric(page: str, name: str) -> float:
    """The sum over all labels."""
    return sum(float(value) for value in re.findall(rf"(?m)^{name}(?:\{{[^}}]*\}})? (\S+)$", page))


def bye_of(server: Server, phone: Phone, call: str, routes: list[str]) -> bytes:
    lines = [
        f"BYE sip:{phone.user}@{phone.virtual}:{phone.port} SIP/2.0",
        f"Via: SIP/2.0/UDP {server.host}:5060;branch=z9hG4bKbye{call};rport",
        "Max-Forwards: 70",
        *routes,
        f"From: <sip:600@{phone.virtual}>;tag=server",
        f"To: <sip:{phone.user}@{phone.virtual}>;tag=phone",
        f"Call-ID: {call}",
        "CSeq: 7 BYE",
        "Content-Length: 0",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.fixture
def servers() -> Iterator[tuple[Server, ...]]:
    made = tuple(Server() for _ in range(2))
    yield made
    for server in made:
        server.close()


@pytest.fixture
def running(tmp_path: Path, servers: tuple[Server, ...]) -> Iterator[Running]:
    made = Running(tmp_path, *servers)
    made.words |= {"workers": "2", "registrations": "5000"}
    made.write(made.section(made.virtual))
    yield made
    made.close()


def pids(running: Running) -> list[int]:
    return [each["pid"] for each in running.status()["workers"]]


def phones_of(running: Running, count: int, name: str = "u") -> list[Phone]:
    phones = [Phone(f"{name}{number}", running.virtual) for number in range(count)]
    for phone in phones:
        phone.register()
    return phones


def test_work_is_shared_and_one_scrape_is_the_sum(running: Running, servers: tuple[Server, ...]) -> None:
    running.start()
    running.all_up()
    phones = phones_of(running, PHONES)
    page = running.get("/metrics")[1]
    assert metric(page, "sipbalancer_registrations") == PHONES
    assert len(re.findall(r"sipbalancer_worker_up\{[^}]*\} 1\.0", page)) == 2
    requests = re.findall(r'sipbalancer_requests_total\{method="REGISTER"[^}]*\} (\S+)', page)
    assert sum(map(float, requests)) >= PHONES
    workers = running.status()["workers"]
    assert sum(each["messages"] for each in workers) >= 2 * PHONES
    # 1,000 addresses: six standard deviations.
    assert all(0.4 <= each["share"] <= 0.6 for each in workers)
    where = running.cli("where", "u7")
    assert f"sip:u7@{running.virtual}:{phones[7].port}" in where
    assert "Traceback" not in running.said()
    for phone in phones:
        phone.sock.close()


def test_a_worker_that_is_killed_is_replaced_and_no_call_and_no_registration_is_lost(
    running: Running, servers: tuple[Server, ...]
) -> None:
    running.start()
    running.all_up()
    phones = phones_of(running, SOME)
    homes = {phone.user: server_of(phone.user, servers) for phone in phones}
    calls = {phone.user: phone.invite(f"call-{phone.user}") for phone in phones}
    assert metric(running.get("/metrics")[1], "sipbalancer_calls") == SOME
    victim, other = pids(running)
    os.kill(victim, signal.SIGKILL)
    running.says("worker ended: it is replaced")
    running.says('event="worker ready" worker=0', times=2)
    assert victim not in pids(running) and other in pids(running)
    before = {server: len(server.heard) for server in servers}
    for phone in phones:
        phone.hang_up(f"call-{phone.user}", calls[phone.user])
        phone.move()
        phone.register(2)
    for phone in phones:
        late = [
            each for server in servers if server is not homes[phone.user] for each in server.heard[before[server] :]
        ]
        assert not any(f"reg-{phone.user}\r\n".encode() in each for each in late), "it stays at its server"
        assert homes[phone.user].count("BYE", f"call-{phone.user}\r\n")
    page = running.get("/metrics")[1]
    assert metric(page, "sipbalancer_calls") == 0
    assert metric(page, "sipbalancer_registrations") == SOME
    assert 'sipbalancer_worker_restarts_total{worker="0"} 1.0' in page
    for phone in phones:
        phone.sock.close()


def test_a_server_hangs_up_and_the_call_is_over_whichever_worker_hears_the_phone(
    running: Running, servers: tuple[Server, ...]
) -> None:
    running.start()
    running.all_up()
    phones = phones_of(running, SOME)
    for phone in phones:
        call = f"call-{phone.user}"
        routes = phone.invite(call)
        server = server_of(phone.user, servers)
        server.send(bye_of(server, phone, call, routes), running.virtual)
        assert phone.answer_bye()
        eventually("the answer", partial(server.count, "SIP/2.0 200", f"{call}\r\n"))
    assert metric(running.get("/metrics")[1], "sipbalancer_calls") == 0
    eventually("none pending", lambda: metric(running.get("/metrics")[1], "sipbalancer_transactions") == 0)
    for phone in phones:
        phone.sock.close()


def test_reload_and_drain_reach_every_worker(running: Running, servers: tuple[Server, ...]) -> None:
    running.start()
    running.all_up()
    second = address()
    running.write(running.section(running.virtual), running.section(second))
    running.hup()
    running.cli("drain", servers[0].host)
    phones = [Phone(f"d{number}", second) for number in range(SOME)]
    for phone in phones:
        phone.register()
        assert server_of(phone.user, servers) is servers[1]
        phone.sock.close()
    running.words["workers"] = "3"
    running.write(running.section(second))
    running.hup()
    running.says("workers: changed in the file; takes effect at the next start")
    assert running.status()["services"][0]["virtual"] == f"{second}:5060"
    open_leg(running.virtual, 5060).sock.close()


def test_stopping_leaves_nobody_behind(running: Running) -> None:
    running.start()
    running.all_up()
    assert running.stop() == 0
    log = running.said()
    assert log.rstrip().endswith("event=stopped") and "Traceback" not in log
    for port in (5060, 15060, 15061):
        open_leg(running.virtual, port).sock.close()


def test_workers_end_with_the_process_that_controls_them(running: Running) -> None:
    running.start()
    assert running.process is not None
    running.process.kill()
    running.process.wait(PATIENCE)

    def free() -> bool:
        try:
            open_leg(running.virtual, 5060).sock.close()
            open_leg(running.virtual, 15061).sock.close()
        except EnvironmentFault:
            return False
        return True

    eventually("the sockets are closed", free)
