"""A small SIP answerer on a real socket, and what it was asked: the other side of the prober in tests."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

Reply = Callable[[bytes, int], list[bytes]]
"""The datagram and its number (from 0) -> what goes back, in order."""


def answer(request: bytes, status: str = "200 OK", extra: str = "") -> bytes:
    """A response to `request` with its Via, Call-ID, From, To and CSeq."""
    kept = re.findall(rb"^(?:Via|Call-ID|From|To|CSeq):.*\r\n", request, re.MULTILINE)
    return b"SIP/2.0 " + status.encode() + b"\r\n" + b"".join(kept) + extra.encode() + b"\r\n"


def header(message: bytes, name: str) -> str:
    found = re.search(rb"^" + name.encode() + rb": (.*?)\r$", message, re.MULTILINE)
    assert found is not None, (name, message)
    return found[1].decode()


class Answerer(asyncio.DatagramProtocol):
    """Answers each datagram as `reply` says; keeps all it got, with where it came from."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.got: list[tuple[bytes, tuple[str, int]]] = []
        self._arrived = asyncio.Event()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.got.append((data, addr))
        self._arrived.set()
        for message in self.reply(data, len(self.got) - 1):
            self.send(message, addr)

    def send(self, message: bytes, address: tuple[str, int]) -> None:
        assert self._transport is not None
        self._transport.sendto(message, address)

    async def have(self, count: int) -> None:
        """Returns when `count` datagrams came."""
        while len(self.got) < count:
            self._arrived.clear()
            await self._arrived.wait()

    @property
    def port(self) -> int:
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()


async def serve(reply: Reply = lambda data, _: [answer(data)], host: str = "127.0.0.1", port: int = 0) -> Answerer:
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_datagram_endpoint(lambda: Answerer(reply), local_addr=(host, port))
    return protocol
