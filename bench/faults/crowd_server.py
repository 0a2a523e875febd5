"""One embedded server as a process of its own, that notes when each REGISTER arrived.

python -m bench.faults.crowd_server ADDRESS NAME PHONES TIMES      (ends at SIGTERM, writes TIMES as JSON)

The kernel stamps the datagrams, so that a pause of this process bunches nothing.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from random import Random

import uvloop

from sipbalancer.demo.message import Address, Datagram
from sipbalancer.demo.server import EmbeddedServer
from sipbalancer.demo.station import Station, bound_socket

SO_TIMESTAMPNS = 35
TIMESPEC = struct.Struct("@ll")
LONGEST = 65535


class StampedStation(Station):
    """`times`: of each REGISTER, repeats too, seconds of CLOCK_MONOTONIC."""

    def __init__(self, server: EmbeddedServer, sock: socket.socket) -> None:
        super().__init__(server)
        self._sock = sock
        self._epoch = time.time() - time.monotonic()
        self.times: list[float] = []
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._loop.add_reader(sock, self._read)

    def _read(self) -> None:
        while True:
            try:
                data, said, _, source = self._sock.recvmsg(LONGEST, socket.CMSG_SPACE(TIMESPEC.size))
            except BlockingIOError:
                return
            if data.startswith(b"REGISTER"):
                seconds, nanoseconds = TIMESPEC.unpack(said[0][2])
                self.times.append(seconds + nanoseconds / 1e9 - self._epoch)
            self.datagram_received(data, source)

    def send(self, datagrams: list[Datagram]) -> None:
        for data, destination in datagrams:
            self._sock.sendto(data, destination)
        self._set_timer()


async def serve(address: Address, name: str, phones: int) -> list[float]:
    users = {f"u{index:05}": f"secretu{index:05}" for index in range(phones)}
    station = StampedStation(EmbeddedServer(address, users, "crowd", Random(name), name=name), bound_socket(address))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    return station.times


def main() -> None:
    host, name, phones, times = sys.argv[1:5]
    found = uvloop.run(serve((host, 5060), name, int(phones)))
    Path(times).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
