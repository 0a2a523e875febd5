from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sipbalancer.daemon import admin
from sipbalancer.daemon.admin import AdminServer, Request
from sipbalancer.errors import AdminError, EnvironmentFault

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def obey(request: Request) -> object:
    if request.get("command") == "refuse":
        raise AdminError("not today")
    if request.get("command") == "break":
        raise KeyError("mistake")
    return {"heard": request}


def served(path: Path, use: Callable[[AdminServer], Awaitable[None]]) -> None:
    async def run() -> None:
        server = AdminServer(obey)
        await server.open(path)
        try:
            async with asyncio.timeout(20):
                await use(server)
        finally:
            await server.close()

    asyncio.run(run())


async def exchange(path: Path, *lines: bytes) -> list[object]:
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 20)
    answers = []
    for line in lines:
        writer.write(line + b"\n")
        answers.append(json.loads(await reader.readline()))
    writer.close()
    await writer.wait_closed()
    return answers


def test_one_line_in_one_line_out(tmp_path: Path) -> None:
    path = tmp_path / "run" / "admin.sock"

    async def use(server: AdminServer) -> None:
        answers = await exchange(path, b'{"command": "a"}', b'{"command": "refuse"}', b'{"command": "b"}')
        assert answers == [
            {"result": {"heard": {"command": "a"}}},
            {"error": "not today"},
            {"result": {"heard": {"command": "b"}}},
        ]

    served(path, use)


def test_only_owner_and_group_may_connect(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"

    async def use(server: AdminServer) -> None:
        assert path.stat().st_mode & 0o777 == 0o660

    served(path, use)
    assert not path.exists(), "close removes the file"


@pytest.mark.parametrize("line", [b"", b"status", b"[1]", b"\xff\xfe", b'{"a":', b"[" * 60_000, b"null", b"9" * 60_000])
def test_bad_lines_are_answered(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "admin.sock"

    async def use(server: AdminServer) -> None:
        answers = await exchange(path, line, b'{"command": "still here"}')
        assert answers[0] == {"error": "not a JSON object on one line"}
        assert "result" in str(answers[1])

    served(path, use)


def test_a_line_without_end_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"

    async def use(server: AdminServer) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"x" * (admin.LINE_BYTES + 1))
        assert json.loads(await reader.readline()) == {"error": f"a line may have {admin.LINE_BYTES} bytes"}
        assert await reader.read() == b""
        writer.close()

    served(path, use)


def test_a_mistake_of_ours_is_an_answer_and_a_log_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "admin.sock"

    async def use(server: AdminServer) -> None:
        answers = await exchange(path, b'{"command": "break"}', b'{"command": "a"}')
        assert "failed within the balancer (KeyError)" in str(answers[0])
        assert "result" in str(answers[1])

    served(path, use)
    assert [record.message for record in caplog.records] == ["a command failed"]


def test_too_many_clients_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "admin.sock"
    monkeypatch.setattr(admin, "CLIENTS_AT_MOST", 2)

    async def use(server: AdminServer) -> None:
        idle = [await asyncio.open_unix_connection(path) for _ in range(2)]
        for reader, writer in idle:
            writer.write(b"{}\n")
            await reader.readline()
        reader, writer = await asyncio.open_unix_connection(path)
        assert "2 clients are connected already" in (await reader.readline()).decode()
        for _, other in (*idle, (reader, writer)):
            other.close()

    served(path, use)


def test_a_silent_client_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "admin.sock"
    monkeypatch.setattr(admin, "TURN_SECONDS", 0.01)

    async def use(server: AdminServer) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        assert await reader.read() == b""
        writer.close()

    served(path, use)


def test_a_client_that_never_reads_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "admin.sock"
    monkeypatch.setattr(admin, "TURN_SECONDS", 0.05)

    asked = asyncio.Event()

    async def huge(request: Request) -> object:
        asked.set()
        return "x" * 8_000_000

    async def run() -> None:
        server = AdminServer(huge)
        await server.open(path)
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, str(path))
            await loop.sock_sendall(sock, b"{}\n")
            async with asyncio.timeout(20):
                await asked.wait()
                await asyncio.gather(*server._turns)
        await server.close()

    asyncio.run(run())


def test_close_does_not_wait_for_clients(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"

    async def use(server: AdminServer) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"{}\n")
        await reader.readline()
        await server.close()
        assert await reader.read() == b""
        writer.close()

    served(path, use)


def test_a_stale_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async def use(server: AdminServer) -> None:
        assert len(await exchange(path, b"{}")) == 1

    served(path, use)


def test_a_living_balancer_keeps_its_socket(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"

    async def use(server: AdminServer) -> None:
        with pytest.raises(EnvironmentFault, match="another balancer answers there"):
            await AdminServer(obey).open(path)
        assert len(await exchange(path, b"{}")) == 1

    served(path, use)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    path.write_text("precious")
    with pytest.raises(EnvironmentFault, match="a file that is no socket is in the way"):
        admin.bind(path)
    assert path.read_text() == "precious"


def test_a_path_that_is_too_long_says_so(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="choose a shorter one"):
        admin.bind(tmp_path / ("x" * 100))


def test_a_folder_that_cannot_be_made_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match=r"admin = .*file/x/admin.sock: not a directory"):
        admin.bind(tmp_path / "file" / "x" / "admin.sock")


def test_a_missing_permission_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied")  # root, who often runs tests, is never refused

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(
        EnvironmentFault, match=r"permission denied: name a folder that this user \(uid \d+\) may write"
    ):
        admin.bind(tmp_path / "admin.sock")
