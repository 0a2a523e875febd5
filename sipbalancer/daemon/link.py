"""The link between the control process and one worker: messages over a Unix SOCK_SEQPACKET pair, with open files.

A message is a kind and a JSON value; it is cut into packets that the socket takes. Nothing waits: what the other side
does not read now is kept here, in order, and `waiting` tells how much. Bytes travel as Latin-1 text (`as_text`).

The end of the link is the end of whoever held the other side: the kernel closes it with the process.
"""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

PACKET = 32_768
FILES = 64
"""Open files in one message at most."""
_AT_ONCE = 64
"""Packets read per wake-up."""
_MORE, _LAST = b"+", b"."
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

Body = Any
"""A JSON value."""
Taker = Callable[[str, Body, list[int]], None]
"""(kind, body, open files, now the taker's)"""


def new_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends; neither blocks."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
    return ends


def as_text(data: bytes) -> str:
    return data.decode("latin-1")


def as_bytes(text: str) -> bytes:
    return text.encode("latin-1")


class Link:
    """One end. `take` gets each message; `ended` is called once, when the other end is gone."""

    def __init__(self, sock: socket.socket, take: Taker, ended: Callable[[], None]) -> None:
        """Owns the socket."""
        self._sock = sock
        self._take = take
        self._ended = ended
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: deque[tuple[bytes, Sequence[int]]] = deque()
        self._writing = False
        self._parts: list[bytes] = []
        self._files: list[int] = []
        self.closed = False

    @property
    def waiting(self) -> int:
        """Packets the other side has not taken."""
        return len(self._queue)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.add_reader(self._sock.fileno(), self._readable)

    def close(self) -> None:
        """May be called twice; `ended` is not called."""
        if self.closed:
            return
        self.closed = True
        if self._loop is not None:
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        self._queue.clear()
        for descriptor in self._files:
            os.close(descriptor)

    def send(self, kind: str, body: Body = None, files: Sequence[int] = ()) -> None:
        """Send, or keep to be sent; the files stay the sender's and must stay open until then."""
        if self.closed:
            return
        data = json.dumps([kind, body], separators=(",", ":")).encode()
        pieces = [data[at : at + PACKET] for at in range(0, len(data), PACKET)]
        for number, piece in enumerate(pieces):
            mark = _LAST if number == len(pieces) - 1 else _MORE
            self._queue.append((mark + piece, files if number == 0 else ()))
        if not self._writing:
            self._flush()

    def _flush(self) -> None:
        while self._queue and not self.closed:
            packet, files = self._queue[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
            try:
                self._sock.sendmsg([packet], rights)
            except (BlockingIOError, InterruptedError):
                self._wait_to_write()
                return
            except OSError:
                self._queue.clear()  # the reader learns of the end
                break
            self._queue.popleft()
        if self._writing and self._loop is not None and not self.closed:
            self._loop.remove_writer(self._sock.fileno())
            self._writing = False

    def _wait_to_write(self) -> None:
        if not self._writing and self._loop is not None:
            self._writing = True
            self._loop.add_writer(self._sock.fileno(), self._flush)

    def _readable(self) -> None:
        for _ in range(_AT_ONCE):
            if self.closed:
                return
            try:
                packet, ancillary, _, _ = self._sock.recvmsg(PACKET + 1, socket.CMSG_SPACE(FILES * 4), _CLOEXEC)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                packet, ancillary = b"", []
            for level, kind, data in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self._files.extend(array.array("i", data[: len(data) - len(data) % 4]))
            if not packet:
                self.close()
                self._ended()
                return
            self._piece(packet)

    def _piece(self, packet: bytes) -> None:
        self._parts.append(packet[1:])
        if packet[:1] == _LAST:
            data, self._parts = b"".join(self._parts), []
            files, self._files = self._files, []
            kind, body = json.loads(data)
            self._take(kind, body, files)
