from __future__ import annotations

import errno
import socket

import pytest

from sipbalancer.daemon.local_address import _can_bind, is_local


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.8.7"])
def test_addresses_of_this_host(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize("address", ["192.0.2.77", "203.0.113.9", "2001:db8::77", "224.0.0.5", "no address", ""])
def test_addresses_of_others(address: str) -> None:
    assert not is_local(address)


def test_a_bind_that_succeeds_is_no_proof() -> None:
    """IP_FREEBIND here, `ip_nonlocal_bind` on a keepalived standby: bound, and not local."""
    free_bind = 15
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_IP, free_bind, 1)
        sock.bind(("192.0.2.77", 0))
        assert not is_local("192.0.2.77")


def test_elsewhere_than_linux_a_bind_must_do() -> None:
    assert _can_bind("127.0.0.1")
    with pytest.raises(OSError, match="assign"):
        _can_bind("192.0.2.77")


@pytest.mark.parametrize(("number", "here"), [(errno.EMFILE, True), (errno.ENOBUFS, True), (errno.EAFNOSUPPORT, False)])
def test_without_descriptors_to_ask_with_nobody_becomes_a_standby(
    monkeypatch: pytest.MonkeyPatch, number: int, here: bool
) -> None:
    def none_left(*_: object) -> socket.socket:
        raise OSError(number, "none left")

    monkeypatch.setattr("sipbalancer.daemon.local_address.socket.socket", none_left)
    assert is_local("192.0.2.77") is here
