from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sipbalancer.cli.ask import ask
from sipbalancer.errors import AdminError, EnvironmentFault


@contextmanager
def balancer(path: Path, *parts: bytes) -> Iterator[list[object]]:
    """Answers one connection with these parts, then closes it; what it was asked."""
    asked: list[object] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(json.loads(connection.makefile("rb").readline()))
                for part in parts:
                    connection.sendall(part)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield asked
        finally:
            thread.join(10)


def test_a_question_and_its_answer_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with balancer(path, b'{"result": ', b'{"a": 1}}\n') as asked:
        assert ask(path, command="drain", server="x") == {"a": 1}
    assert asked == [{"command": "drain", "server": "x"}]


def test_a_refusal(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with balancer(path, b'{"error": "no such server"}\n'), pytest.raises(AdminError, match="no such server"):
        ask(path, command="drain", server="x")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(b"", "without an answer"), (b'{"result"', "without an answer"), (b"[1]\n", "something else answers there")],
)
def test_an_answer_that_is_none(tmp_path: Path, answer: bytes, reason: str) -> None:
    path = tmp_path / "admin.sock"
    with balancer(path, answer), pytest.raises(EnvironmentFault, match=reason):
        ask(path, command="status")


def test_nobody_there_names_the_path_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with pytest.raises(EnvironmentFault) as caught:
        ask(path, command="status")
    assert str(caught.value) == (
        f"no balancer answers at {path} (no such file or directory): start one with: sipbalancer run FILE;"
        " or name its socket with --admin PATH, or its file with --config FILE"
    )


def test_a_socket_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    with pytest.raises(EnvironmentFault, match="connection refused"):
        ask(path, command="status")


def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="no balancer answers at"):
        ask(tmp_path / ("x" * 200), command="status")


def test_a_missing_permission_says_who_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, line: bytes) -> bytes:
        raise PermissionError(13, "Permission denied")  # root, who often runs tests, is never refused

    monkeypatch.setattr("sipbalancer.cli.ask._exchange", refused)
    with pytest.raises(EnvironmentFault, match="permission denied: run as root or as the balancer's user or group"):
        ask(tmp_path / "admin.sock", command="status")
