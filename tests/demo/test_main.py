"""The demo as a process: it ends well, and nothing of it stays."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipbalancer.demo.main import SHORTEST, free_addresses, main
from sipbalancer.demo.station import bound_socket

COMMAND = (sys.executable, "-m", "sipbalancer", "demo", "--plain")


@pytest.fixture
def folder() -> Iterator[Path]:
    """The demo's TMPDIR; a unix socket's path may not be as long as pytest's own folders."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def loopback() -> None:
    """A namespace of its own begins with lo down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(("127.0.0.1", 0))
            sock.sendto(b"", sock.getsockname())
        except OSError as error:
            pytest.skip(f"no loopback ({error.strerror}): ip link set lo up")


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"TMPDIR": str(folder)}


def test_a_short_demo_loses_nothing(folder: Path) -> None:
    arguments = [*COMMAND, "--seconds", f"{SHORTEST:g}"]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment(folder), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "server2 up -> down" in done.stdout
    assert "server2 down -> up" in done.stdout
    assert "nothing was lost" in done.stdout
    assert done.stderr == ""
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(folder: Path, number: signal.Signals) -> None:
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True, env=environment(folder)) as demo:
        assert demo.stdout is not None
        said = next(line for line in demo.stdout if line.startswith("look yourself"))
        admin = Path(said.split()[-1])
        assert admin.is_socket()
        demo.send_signal(number)
        demo.send_signal(number)
        rest = demo.stdout.read()
    assert demo.returncode == 130
    assert "interrupted" in rest
    assert list(folder.iterdir()) == []


def test_the_balancer_dies_with_a_demo_that_was_killed(folder: Path) -> None:
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True, env=environment(folder)) as demo:
        assert demo.stdout is not None
        said = next(line for line in demo.stdout if line.startswith("look yourself"))
        admin = Path(said.split()[-1])
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(admin))
            demo.kill()
            client.settimeout(20)
            assert client.recv(1) == b""  # the balancer closed its end


def test_a_balancer_that_ends_by_itself_is_said_and_not_waited_for(folder: Path) -> None:
    with subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(folder)
    ) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        next(line for line in demo.stdout if line.startswith("look yourself"))
        child = Path(f"/proc/{demo.pid}/task/{demo.pid}/children")
        if not child.exists():
            demo.send_signal(signal.SIGINT)
            pytest.skip("this kernel does not list children")
        os.kill(int(child.read_text().split()[0]), signal.SIGKILL)
        demo.stdout.read()
        said = demo.stderr.read()
    assert demo.returncode == 1
    assert said.startswith("sipbalancer demo: the balancer ended by itself")
    assert "Traceback" not in said


@pytest.mark.parametrize("seconds", ["1", "soon", "nan"])
def test_a_wrong_length_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--seconds", seconds])
    assert ended.value.code == 2
    assert f"`{seconds}` must be a number from 16 to" in capsys.readouterr().err


def test_addresses_in_use_are_passed_over() -> None:
    first = free_addresses(2)
    with bound_socket(first[1]):
        second = free_addresses(2)
    assert not set(first) & set(second)
