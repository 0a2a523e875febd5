"""One embedded server as a process of its own, that counts the REGISTERs of each tenth of a second.

python -m bench.faults.crowd_server ADDRESS NAME PHONES COUNTS      (ends at SIGTERM, writes COUNTS as JSON)
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from pathlib import Path
from random import Random

import uvloop

from sipbalancer.demo.message import Address, Datagram
from sipbalancer.demo.server import EmbeddedServer
from sipbalancer.demo.station import bound_socket, open_station

TENTH = 10
"""Counts per second."""


class CountingServer(EmbeddedServer):
    """`counts`: REGISTERs that arrived, repeats too, by tenth of a second of CLOCK_MONOTONIC."""

    def __init__(self, address: Address, phones: int, name: str) -> None:
        users = {f"u{index:05}": f"secretu{index:05}" for index in range(phones)}
        super().__init__(address, users, "crowd", Random(name), name=name)
        self.counts: Counter[int] = Counter()

    def receive_datagram(self, data: bytes, source: Address, now: float) -> list[Datagram]:
        if data.startswith(b"REGISTER"):
            self.counts[int(now * TENTH)] += 1
        return super().receive_datagram(data, source, now)


async def serve(host: str, name: str, phones: int) -> CountingServer:
    server = CountingServer((host, 5060), phones, name)
    station = await open_station(server, bound_socket(server.address))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    station.close()
    return server


def main() -> None:
    host, name, phones, counts = sys.argv[1:5]
    server = uvloop.run(serve(host, name, int(phones)))
    Path(counts).write_text(json.dumps(server.counts))


if __name__ == "__main__":
    main()
