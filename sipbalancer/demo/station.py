"""A socket and a clock around an endpoint: the only place of the demo where datagrams leave the process."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from sipbalancer.errors import EnvironmentFault

from .endpoint import Endpoint
from .message import Address, Datagram, hostport

RECEIVE_BUFFER = 1 << 20


class Station(asyncio.DatagramProtocol):
    """Carries an endpoint's datagrams and wakes it when its timers are due. Open it with `open_station`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # 3.11's own is no subclass of it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.send(self.endpoint.receive_datagram(data, addr[:2], self._loop.time()))

    def error_received(self, exc: Exception) -> None:
        """A refusal: phones retransmit, as they do for a lost datagram (RFC 3261 18.4 leaves UDP no choice)."""

    def send(self, datagrams: list[Datagram]) -> None:
        """Send what a verb of the endpoint returned."""
        if self._transport is None:
            return
        for data, destination in datagrams:
            self._transport.sendto(data, destination)
        self._set_timer()

    def close(self) -> None:
        """Close the socket at once, as when the process dies."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        when = self.endpoint.next_due()
        self._timer = self._loop.call_at(when, self._due) if when is not None else None

    def _due(self) -> None:
        self.send(self.endpoint.due(self._loop.time()))


def bound_socket(address: Address) -> socket.socket:
    """A UDP socket on that address; port 0 takes any. EnvironmentFault when it cannot be had."""
    made = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        made.bind(address)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise EnvironmentFault(f"{hostport(address)}: {(error.strerror or str(error)).lower()}") from error
    return made


async def open_station(endpoint: Endpoint, sock: socket.socket) -> Station:
    """Give the endpoint its socket (already bound to the endpoint's address)."""
    loop = asyncio.get_running_loop()
    _, station = await loop.create_datagram_endpoint(lambda: Station(endpoint), sock=sock)
    return station
