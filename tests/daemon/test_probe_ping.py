"""The echo as bytes; then real echoes to loopback by whichever way this machine allows."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
import struct
from pathlib import Path

import pytest

from sipbalancer.daemon import probe_ping
from sipbalancer.daemon.probe_ping import Ping, ask, checksum, compose_echo, is_reply
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult

NONCE = bytes(range(16))


def ping(host: str, source: str = "", limit: float = 10.0, attempts: int = 1) -> ProbeOutcome:
    ticks = itertools.count(0.0, 0.25)
    return asyncio.run(ask(Ping(host, source, limit, attempts), secrets.token_bytes, lambda: next(ticks)))


def may(kind: socket.SocketKind) -> bool:
    try:
        socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP).close()
    except OSError:
        return False
    return True


needs_icmp = pytest.mark.skipif(
    not (may(socket.SOCK_DGRAM) or may(socket.SOCK_RAW)), reason="no ICMP socket: run as root"
)


def test_echo_request() -> None:
    packet = compose_echo(NONCE, v6=False)
    assert packet[:2] == b"\x08\x00"
    assert packet[4:8] == NONCE[:4]
    assert packet[8:] == NONCE
    assert checksum(packet) == 0  # what a receiver computes over all of it
    assert compose_echo(NONCE, v6=True)[:4] == b"\x80\x00\x00\x00"  # IPv6: the kernel fills it in


def test_checksum_of_rfc_1071() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF ^ 0xDDF2


def test_reply() -> None:
    body = struct.pack("!BBHHH", 0, 0, 0, 7, 7) + NONCE
    header = bytes([0x46]) + bytes(23)  # an IP header with one option word
    assert is_reply(body, NONCE, v6=False, raw=False)
    assert is_reply(header + body, NONCE, v6=False, raw=True)
    assert is_reply(b"\x81" + body[1:], NONCE, v6=True, raw=True)
    assert not is_reply(b"\x08" + body[1:], NONCE, v6=False, raw=False)  # our own request, seen on loopback
    assert not is_reply(body, NONCE[::-1], v6=False, raw=False)
    assert not is_reply(body[:7], NONCE, v6=False, raw=False)
    assert not is_reply(b"", NONCE, v6=False, raw=True)


@needs_icmp
@pytest.mark.parametrize(
    ("host", "source"), [("127.0.0.1", ""), ("127.0.0.3", "127.0.0.9"), ("127.0.0.1", "192.0.2.77"), ("::1", "::1")]
)
def test_a_host_that_is_there(host: str, source: str) -> None:
    assert ping(host, source) == ProbeOutcome(ProbeResult.OK, "ping answered", 0.25)


@needs_icmp
def test_silence_after_all_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []

    def never(packet: bytes, *_: object, **__: object) -> bool:
        sent.append(packet)
        return False

    monkeypatch.setattr(probe_ping, "is_reply", never)
    outcome = ping("127.0.0.1", limit=0.05, attempts=3)
    assert outcome == ProbeOutcome(ProbeResult.TIMEOUT, "no ping answer within 0.05 s")
    assert len(sent) >= 3


def no_sockets(*_: object) -> socket.socket:
    raise PermissionError


@pytest.mark.parametrize(
    ("script", "result"), [("exit 0", ProbeResult.OK), ("exit 1", ProbeResult.TIMEOUT)], ids=["answered", "silent"]
)
def test_without_the_right_to_a_socket_the_program_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, result: ProbeResult
) -> None:
    program = tmp_path / "ping"
    program.write_text(f'#!/bin/sh\necho "$*" >{tmp_path}/said\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setattr(probe_ping, "_open", no_sockets)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert ping("127.0.0.1", "127.0.0.9").result is result
    assert (tmp_path / "said").read_text() == "-n -q -c 1 -W 10 -I 127.0.0.9 127.0.0.1\n"


def test_no_way_to_ping_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(probe_ping, "_open", no_sockets)
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = ping("127.0.0.1")
    assert outcome.result is ProbeResult.ERROR
    assert "CAP_NET_RAW" in outcome.text
