"""The admin socket: one JSON object per line in, one per line out.

`{"command": "drain", "server": "192.0.2.1:5060"}` is answered with `{"result": ...}` or `{"error": "why"}`. The
file's permissions (0660) are its lock: who may open it may command. What the commands do is `commands.py`; here
are the socket, the framing and the bounds that keep a slow or mad client from hurting: 128 KiB a line (`explain`
takes the largest datagram in base64), 16 clients, ten seconds for each of their turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

from sipbalancer.daemon.log import LOGGER
from sipbalancer.errors import AdminError, EnvironmentFault

LINE_BYTES = 128 * 1024
CLIENTS_AT_MOST = 16
TURN_SECONDS = 10.0
PATH_BYTES = 107
"""What sun_path holds, without its closing zero."""

DENIED = frozenset((errno.EACCES, errno.EPERM, errno.EROFS))

Request = dict[str, object]
Obey = Callable[[Request], Awaitable[object]]


class AdminServer:
    """Listens at one path. `obey` carries a request out; AdminError is the client's answer."""

    def __init__(self, obey: Obey) -> None:
        self._obey = obey
        self._server: asyncio.Server | None = None
        self._turns: set[asyncio.Task[None]] = set()
        self._path: Path | None = None
        self._inode = 0

    async def open(self, path: Path) -> None:
        """Listen at `path`, its folder made, a stale file replaced; EnvironmentFault when that cannot be."""
        sock = bind(path)
        self._path, self._inode = path, _inode(path)
        self._server = await asyncio.start_unix_server(self._client, sock=sock, limit=LINE_BYTES)

    async def close(self) -> None:
        """Stop listening, drop the clients, remove the file when it is still ours. May be opened again."""
        server, self._server = self._server, None
        path, self._path = self._path, None
        if server is None or path is None:
            return
        server.close()
        for turn in self._turns:
            turn.cancel()
        await asyncio.gather(*self._turns, return_exceptions=True)
        with contextlib.suppress(OSError):
            if _inode(path) == self._inode:
                path.unlink()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._turns.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # the client is gone, too slow, or we stop: nobody is left to tell
        finally:
            self._turns.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._turns) > CLIENTS_AT_MOST:
            await _write(writer, {"error": f"{CLIENTS_AT_MOST} clients are connected already: try again"})
            return
        while True:
            try:
                async with asyncio.timeout(TURN_SECONDS):
                    line = await reader.readline()
            except ValueError:
                await _write(writer, {"error": f"a line may have {LINE_BYTES} bytes"})
                return
            if not line:
                return
            await _write(writer, await self._answer(line))

    async def _answer(self, line: bytes) -> dict[str, object]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return {"error": "not a JSON object on one line"}
        if not isinstance(request, dict):
            return {"error": "not a JSON object on one line"}
        try:
            return {"result": await self._obey(request)}
        except AdminError as error:
            return {"error": str(error)}
        except Exception as error:  # a mistake of ours in a command must not read as a lost connection
            LOGGER.exception("a command failed", extra={"fields": {"request": str(request)[:200]}})
            return {"error": f"failed within the balancer ({type(error).__name__}): its log has the details"}


async def _write(writer: asyncio.StreamWriter, answer: dict[str, object]) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
    async with asyncio.timeout(TURN_SECONDS):
        await writer.drain()


def _inode(path: Path) -> int:
    return path.stat().st_ino


def bind(path: Path) -> socket.socket:
    """A bound unix socket with mode 0660; EnvironmentFault names the path and what to do."""
    if len(os.fsencode(path)) > PATH_BYTES:
        raise EnvironmentFault(f"admin = {path}: a socket's path may have {PATH_BYTES} bytes: choose a shorter one")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        _remove_stale(path)
        _bind_private(sock, path)
    except OSError as error:
        sock.close()
        cure = f": name a folder that this user (uid {os.geteuid()}) may write" if error.errno in DENIED else ""
        raise EnvironmentFault(f"admin = {path}: {(error.strerror or str(error)).lower()}{cure}") from error
    return sock


def _bind_private(sock: socket.socket, path: Path) -> None:
    # The mask and not chmod afterwards: between bind and chmod anyone could connect.
    mask = os.umask(0o117)
    try:
        sock.bind(str(path))
    finally:
        os.umask(mask)


def _remove_stale(path: Path) -> None:
    """Remove the socket file of a balancer that is gone. OSError when the file is something else, or in use."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "a file that is no socket is in the way")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, "another balancer answers there")
