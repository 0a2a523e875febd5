from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from sipbalancer.daemon import socket_filter
from sipbalancer.daemon.leg import kernel_drops
from sipbalancer.daemon.socket_filter import EXEMPT_AT_MOST, SHED_METHODS, assembled, attach, detach, shedding_program
from tests.daemon.bpf import verdict

PHONE, SERVER = socket.inet_aton("192.0.2.9"), socket.inet_aton("192.0.2.1")
PHONE_V6, SERVER_V6 = (socket.inet_pton(socket.AF_INET6, f"2001:db8::{each}") for each in (9, 1))
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="socket filters are Linux's")


def passes(
    message: bytes, rate: float = 1.0, random: int = 0, source: bytes = PHONE, exempt: tuple[bytes, ...] = (SERVER,)
) -> bool:
    version_4 = len(source) == 4
    network = bytes(12) + source + bytes(4) if version_4 else bytes(8) + source + bytes(16)
    program = shedding_program(rate, socket.AF_INET if version_4 else socket.AF_INET6, exempt)
    return verdict(program, network, bytes(8) + message, random) != 0


def request(method: str) -> bytes:
    return f"{method} sip:pbx.example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\n\r\n".encode()


@pytest.mark.parametrize("method", SHED_METHODS)
def test_new_work_of_a_client_is_shed(method: str) -> None:
    assert not passes(request(method))


@pytest.mark.parametrize(
    "method", ["INVITE", "ACK", "BYE", "CANCEL", "PRACK", "UPDATE", "INFO", "NOTIFY", "REFER", "PUBLISH", "REGISTRY"]
)
def test_every_other_method_passes(method: str) -> None:
    assert passes(request(method))


@pytest.mark.parametrize(
    "message",
    [
        *(b"SIP/2.0 200 OK\r\nCSeq: 1 REGISTER\r\n\r\n", b"SIP/2.0 100 Trying\r\n\r\n", b"SIP/2.0 503 No\r\n\r\n"),
        *(b"", b"\r\n", b"\r\n\r\n", b"REGI", b"REGISTE", b"MESSAGES sip:a SIP/2.0\r\n", b"register sip:a SIP/2.0\r\n"),
        *(
            b"OPTI",
            b"OPTIONAL sip:a SIP/2.0\r\n",
            b"\x00\x01\x00\x00\x21\x12\xa4\x42",
            b"\r\nREGISTER sip:a SIP/2.0\r\n",
        ),
    ],
)
def test_answers_keepalives_and_what_is_no_such_method_pass(message: bytes) -> None:
    assert passes(message)


def test_the_share_is_of_the_random_numbers() -> None:
    eighth = 2**29
    assert not passes(request("REGISTER"), 3 / 8, 3 * eighth - 1)
    assert passes(request("REGISTER"), 3 / 8, 3 * eighth)
    assert passes(request("REGISTER"), 0.0, 0)
    assert not passes(request("REGISTER"), 1.0, 2**32 - 2)


def test_a_servers_own_requests_pass() -> None:
    assert passes(request("OPTIONS"), source=SERVER)
    assert passes(request("OPTIONS"), source=SERVER_V6, exempt=(SERVER_V6, SERVER))
    assert not passes(request("OPTIONS"), source=PHONE_V6, exempt=(SERVER_V6, SERVER))
    assert not passes(request("OPTIONS"), source=SERVER, exempt=())


def test_a_crowd_of_servers_fits_and_the_last_one_passes() -> None:
    crowd = tuple((0x0A000000 + number).to_bytes(4) for number in range(EXEMPT_AT_MOST + 100))
    program = shedding_program(0.5, socket.AF_INET, crowd)
    assert len(program) < 4096, "the kernel's BPF_MAXINSNS"
    assert all(hit < 256 and miss < 256 for _, hit, miss, _ in program), "jumps are octets"
    assert passes(request("OPTIONS"), source=crowd[EXEMPT_AT_MOST - 1], exempt=crowd)
    assert not passes(request("OPTIONS"), source=crowd[EXEMPT_AT_MOST], exempt=crowd)


def test_rows_are_eight_octets_each() -> None:
    program = shedding_program(0.5, socket.AF_INET, ())
    assert len(assembled(program)) == 8 * len(program)
    assert assembled(((0x15, 1, 2, 0xA0B0C0D0),)) == bytes.fromhex("1500 01 02 d0c0b0a0")


@pytest.fixture(params=["127.0.0.1", "::1"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with (
        closing(socket.socket(family, socket.SOCK_DGRAM)) as ours,
        closing(socket.socket(family, socket.SOCK_DGRAM)) as theirs,
    ):
        ours.bind((request.param, 0))
        theirs.connect(ours.getsockname())
        ours.settimeout(10)
        yield ours, theirs


@LINUX
def test_the_kernel_sees_it_the_same_way(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    # Of four thousand million random numbers one would pass a REGISTER.
    attach(ours, shedding_program(1.0, ours.family, ()))
    for message in (request("REGISTER"), b"\r\n", request("MESSAGE"), request("INVITE"), request("SUBSCRIBE")):
        theirs.send(message)
    theirs.send(b"SIP/2.0 200 OK\r\n\r\n")
    assert [ours.recv(999) for _ in range(3)] == [b"\r\n", request("INVITE"), b"SIP/2.0 200 OK\r\n\r\n"]
    assert kernel_drops(ours) == 3
    detach(ours)
    detach(ours)
    theirs.send(request("REGISTER"))
    assert ours.recv(999) == request("REGISTER")


@LINUX
def test_the_kernel_lets_servers_pass(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    address = socket.inet_pton(ours.family, theirs.getsockname()[0])
    attach(ours, shedding_program(1.0, ours.family, (address,)))
    theirs.send(request("OPTIONS"))
    assert ours.recv(999) == request("OPTIONS")


def test_elsewhere_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_filter, "ON_LINUX", False)
    with (
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock,
        pytest.raises(OSError, match="no socket filter"),
    ):
        attach(sock, shedding_program(1.0, socket.AF_INET, ()))
