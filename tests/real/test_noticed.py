"""How soon a real server's death is noticed, with ldirectord's own checkinterval = 10, and that no other is blamed.

The bounds are those of the issue: 1.5 s under load, the interval and 1.5 s when idle.
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipbalancer.demo.asterisk import Instance, Tree
from tests.real.pool import instances, stop_all
from tests.real.programs import Balancer, eventually

VIRTUAL = "127.0.0.20"
SERVERS = ["127.0.0.21", "127.0.0.22", "127.0.0.23"]
CLIENT = "127.0.2.20"
INTERVAL = 10.0
RATE = 50


@pytest.fixture(scope="module")
def servers(asterisk: Tree, logs: Path) -> Iterator[list[Instance]]:
    made = instances(asterisk, logs, [f"n{address[-2:]}" for address in SERVERS], SERVERS, VIRTUAL)
    yield made
    stop_all(made)


@pytest.fixture(scope="module")
def patient(servers: list[Instance], logs: Path) -> Iterator[Balancer]:
    """A balancer with the defaults of its checks."""
    made = Balancer(logs / "patient", VIRTUAL, SERVERS, checks=())
    try:
        made.start()
        yield made
    finally:
        made.stop()


class Load:
    """A little traffic: OPTIONS to an extension, `RATE` a second, each from a client that asks once."""

    def __init__(self) -> None:
        self.answered = 0
        self._end = threading.Event()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((CLIENT, 0))
        self._socket.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> Load:
        self._thread.start()
        eventually("some traffic", lambda: self.answered > RATE)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        number = 0
        while not self._end.wait(1 / RATE):
            number += 1
            self._socket.sendto(self._request(number), (VIRTUAL, 5060))
            while select.select([self._socket], [], [], 0)[0]:
                self.answered += self._socket.recv(65535).startswith(b"SIP/2.0 ")

    def _request(self, number: int) -> bytes:
        host, port = self._socket.getsockname()
        return (
            f"OPTIONS sip:600@{VIRTUAL} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bKload{os.getpid()}{number};rport\r\n"
            f"From: <sip:load{number}@{VIRTUAL}>;tag={number}\r\nTo: <sip:600@{VIRTUAL}>\r\n"
            f"Call-ID: load-{os.getpid()}-{number}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n"
            f"Contact: <sip:load@{host}:{port}>\r\nContent-Length: 0\r\n\r\n"
        ).encode()


class Log:
    """What the balancer's log says from now on."""

    def __init__(self, balancer: Balancer) -> None:
        self._path = balancer.log
        self._from = self._path.stat().st_size
        self._begun = time.monotonic()

    def said(self) -> list[str]:
        with self._path.open("rb") as log:
            log.seek(self._from)
            return [line for line in log.read().decode(errors="replace").splitlines() if "server " in line]

    def wait(self, verdict: str, seconds: float) -> tuple[float, str]:
        """Seconds until a server has that verdict, and the line that says so."""
        while time.monotonic() - self._begun < seconds:
            for line in self.said():
                if f"server {verdict}" in line:
                    return time.monotonic() - self._begun, line
            time.sleep(0.005)
        raise AssertionError(f"no server was {verdict} within {seconds:g} s; only: {self.said()}")

    def verdicts(self) -> set[str]:
        """Addresses of which a verdict was told."""
        return {found[0] for line in self.said() if (found := re.search(r"127\.0\.0\.\d+", line))}


def returned(log: Log, victim: Instance) -> None:
    log.wait("up", 15)
    assert log.verdicts() == {victim.address}


def test_a_killed_server_under_load(servers: list[Instance], patient: Balancer) -> None:
    victim = servers[0]
    with Load():
        log = Log(patient)
        victim.kill()
        after, line = log.wait("down", 5)
        assert after < 1.5
        assert "port refused" in line
    victim.start()
    victim.wait()
    returned(log, victim)


def test_a_hung_server_under_load_and_its_return(servers: list[Instance], patient: Balancer) -> None:
    victim = servers[1]
    with Load():
        log = Log(patient)
        os.kill(victim.pid, signal.SIGSTOP)
        try:
            after, line = log.wait("down", 5)
            assert after < 1.5
            assert re.search(r"2\d probes and \d+ requests unanswered in 1\.\d s", line)
        finally:
            os.kill(victim.pid, signal.SIGCONT)
        returned(log, victim)


def test_an_idle_server_that_hangs_and_its_return(servers: list[Instance], patient: Balancer) -> None:
    victim = servers[2]
    log = Log(patient)
    os.kill(victim.pid, signal.SIGSTOP)
    try:
        after, line = log.wait("down", INTERVAL + 5)
        assert after < INTERVAL + 1.5
        assert re.search(r"2\d probes unanswered in 1\.\d s", line)
    finally:
        os.kill(victim.pid, signal.SIGCONT)
    returned(log, victim)


def test_an_idle_server_that_is_killed(servers: list[Instance], patient: Balancer) -> None:
    victim = servers[0]
    log = Log(patient)
    victim.kill()
    after, line = log.wait("down", INTERVAL + 5)
    assert after < INTERVAL + 1.5
    assert "port refused" in line
    victim.start()
    victim.wait()
    returned(log, victim)


def test_a_hang_that_is_over_before_it_is_proved_is_no_death(servers: list[Instance], patient: Balancer) -> None:
    victim = servers[1]
    with Load():
        log = Log(patient)
        for _ in range(3):
            os.kill(victim.pid, signal.SIGSTOP)
            time.sleep(0.6)
            os.kill(victim.pid, signal.SIGCONT)
            time.sleep(0.6)
    assert log.said() == []
