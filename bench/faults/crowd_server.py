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
    """`times`: of each REGISTER, seconds of CLOCK_MONOTONIC; `repeats`: of those that came before."""

    def __init__(self, server: EmbeddedServer, sock: socket.socket) -> None:
        super().__init__(server)
        self._sock = sock
        self._epoch = time.time() - time.monotonic()
        self.times: list[float] = []
        self.repeats: list[float] = []
        self._seen: set[bytes] = set()
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._loop.add_reader(sock, self._read)

    def _read(self) -> None:
        while True:
            try:
                data, said, _, source = self._sock.recvmsg(LONGEST, socket.CMSG_SPACE(TIMESPEC.size))
            except BlockingIOError:
                return
            if data.startswith(b"REGISTER"):
                self._note(data, *TIMESPEC.unpack(said[0][2]))
            self.datagram_received(data, source)

    def _note(self, data: bytes, seconds: int, nanoseconds: int) -> None:
        branch = data[data.find(b";branch=") :].partition(b"\r\n")[0]
        times = self.repeats if branch in self._seen else self.times
        times.append(seconds + nanoseconds / 1e9 - self._epoch)
        self._seen.add(branch)

    def send(self, datagrams: list[Datagram]) -> None:
        for data, destination in datagrams:
            self._sock.sendto(data, destination)
        self._set_timer()


async def serve(address: Address, name: str, phones: int) -> dict[str, list[float]]:
    users = {f"u{index:05}": f"secretu{index:05}" for index in range(phones)}
    station = StampedStation(EmbeddedServer(address, users, "crowd", Random(name), name=name), bound_socket(address))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    return {"times": station.times, "repeats": station.repeats}


def main() -> None:
    host, name, phones, times = sys.argv[1:5]
    found = uvloop.run(serve((host, 5060), name, int(phones)))
    Path(times).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
