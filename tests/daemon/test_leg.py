from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from sipbalancer.daemon import leg as leg_module
from sipbalancer.daemon.leg import Leg, adopt_leg, kernel_drops, open_leg
from sipbalancer.errors import EnvironmentFault

IP_MTU_DISCOVER, IP_RECVERR = 10, 11


@pytest.fixture
def leg() -> Iterator[Leg]:
    leg = open_leg("127.0.0.1", 0)
    with closing(leg.sock):
        yield leg


def test_a_leg_is_bound_tuned_and_does_not_block(leg: Leg) -> None:
    assert leg.sock.gettimeout() == 0.0
    assert leg.present
    assert leg.name == f"127.0.0.1:{leg.sock.getsockname()[1]}"
    assert leg.sock.getsockopt(socket.IPPROTO_IP, IP_RECVERR) == 1
    assert leg.sock.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER) == 0
    assert leg.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0


def test_an_ipv6_leg_takes_brackets_and_leaves_ipv4_alone() -> None:
    leg = open_leg("[::1]", 0)
    with closing(leg.sock):
        assert leg.present
        assert leg.name.startswith("[::1]:")
        assert leg.sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


@pytest.mark.parametrize("host", ["192.0.2.77", "2001:db8::77"])
def test_an_address_of_another_host_is_bound_and_said(host: str) -> None:
    leg = open_leg(host, 5060)
    with closing(leg.sock):
        assert not leg.present
        assert f"{leg.name} is not an address of this host now" in leg.notes[0]


def test_every_address_of_the_host_is_present() -> None:
    leg = open_leg("0.0.0.0", 0)
    with closing(leg.sock):
        assert leg.present


def test_a_name_is_no_address() -> None:
    with pytest.raises(ValueError, match="pbx.example.com"):
        open_leg("pbx.example.com", 5060)


def test_a_port_in_use_names_the_address_and_how_to_find_the_owner(leg: Leg) -> None:
    port = leg.sock.getsockname()[1]
    with pytest.raises(EnvironmentFault) as caught:
        open_leg("127.0.0.1", port)
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert f"ss -lunp 'sport = :{port}'" in str(caught.value)


@pytest.mark.parametrize(
    ("number", "says"),
    [(errno.EACCES, "CAP_NET_BIND_SERVICE"), (errno.EAFNOSUPPORT, "no IPv6"), (errno.EADDRNOTAVAIL, "add it to an")],
)
def test_what_a_refused_socket_means(monkeypatch: pytest.MonkeyPatch, number: int, says: str) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "No")

    monkeypatch.setattr(leg_module, "_bind", refuse)
    with pytest.raises(EnvironmentFault, match=says) as caught:
        open_leg("127.0.0.1", 507)
    assert "127.0.0.1:507" in str(caught.value)


def test_buffers_grow_to_what_is_asked(leg: Leg) -> None:
    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(plain):
        usual = plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    bigger = open_leg("127.0.0.1", 0, buffer_bytes=usual + 4096)
    with closing(bigger.sock):
        assert bigger.receive_buffer >= usual
        assert leg.receive_buffer >= bigger.receive_buffer


def test_a_buffer_smaller_than_asked_is_noted_with_the_remedy() -> None:
    more_than_linux_gives = 1 << 30
    leg = open_leg("127.0.0.1", 0, buffer_bytes=more_than_linux_gives)
    with closing(leg.sock):
        assert any(f"net.core.rmem_max={more_than_linux_gives}" in note for note in leg.notes)
        assert any(f"net.core.wmem_max={more_than_linux_gives}" in note for note in leg.notes)


def test_a_ready_made_socket_is_tuned_alike() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        leg = adopt_leg(sock)
        assert leg.sock is sock
        assert sock.gettimeout() == 0.0
        assert sock.getsockopt(socket.IPPROTO_IP, IP_RECVERR) == 1


def test_kernel_drops_are_what_was_sent_and_cannot_be_read(leg: Leg) -> None:
    leg.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    assert kernel_drops(leg.sock) == 0
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        for _ in range(100):
            client.sendto(b"x" * 1000, leg.sock.getsockname())
    read = 0
    with pytest.raises(BlockingIOError):
        while leg.sock.recv(2000):
            read += 1
    assert 0 < read < 100
    assert kernel_drops(leg.sock) == 100 - read
