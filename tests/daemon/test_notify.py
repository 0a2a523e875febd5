from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipbalancer.daemon.notify import Notify


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def notify_to(supervisor: socket.socket, **more: str) -> Notify:
    return Notify({"NOTIFY_SOCKET": supervisor.getsockname(), **more})


def test_ready(supervisor: socket.socket) -> None:
    notify_to(supervisor).ready("2 services")
    assert supervisor.recv(500) == b"READY=1\nSTATUS=2 services"


def test_reloading_carries_the_monotonic_time(supervisor: socket.socket) -> None:
    notify_to(supervisor).reloading()
    lines = supervisor.recv(500).decode().splitlines()
    assert lines[0] == "RELOADING=1"
    assert lines[1].startswith("MONOTONIC_USEC=") and int(lines[1].partition("=")[2]) > 0


def test_stopping(supervisor: socket.socket) -> None:
    notify_to(supervisor).stopping()
    assert supervisor.recv(500).startswith(b"STOPPING=1\n")


def test_the_watchdog_is_fed_only_when_it_asks(supervisor: socket.socket) -> None:
    notify_to(supervisor).alive()
    asked = notify_to(supervisor, WATCHDOG_USEC="2000000")
    asked.alive()
    assert asked.watchdog_period == 2.0
    assert supervisor.recv(500) == b"WATCHDOG=1"


def test_a_watchdog_of_another_process_is_not_ours(supervisor: socket.socket) -> None:
    other = notify_to(supervisor, WATCHDOG_USEC="2000000", WATCHDOG_PID=str(os.getpid() + 1))
    assert other.watchdog_period == 0.0


def test_an_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("")  # autobind: an abstract name
        sock.settimeout(5)
        Notify({"NOTIFY_SOCKET": "@" + sock.getsockname()[1:].decode()}).ready("x")
        assert sock.recv(500).startswith(b"READY=1")


def test_children_do_not_inherit_the_socket() -> None:
    environ = {"NOTIFY_SOCKET": "/run/nobody", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
    Notify(environ)
    assert environ == {"PATH": "/bin"}


def test_nobody_listening_is_no_error(tmp_path: Path) -> None:
    Notify({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("x")
    Notify({}).ready("x")
