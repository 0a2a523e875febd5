"""What the edge costs: CPU time per datagram of an echo core on loopback, batched and plain, on both loops.

    python bench/edge.py [--datagrams 200000] [--size 800]

A child process keeps a window of datagrams in flight; the parent runs the edge. A datagram is one that came and went:
received, given to the core, sent back. TSV on stdout; us_cpu is user + system time of the edge's process alone.
`protocol` is the usual way, asyncio's DatagramProtocol and transport.sendto, for comparison.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import resource
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import cast

import uvloop

from sipbalancer.daemon.udp import Edge, open_leg
from sipbalancer.sip.flow import Datagram, Flow

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
IN_FLIGHT = 512
WARM_UP = 5_000


class Echo:
    """Every datagram goes back where it came from; stops the clock after `wanted`."""

    def __init__(self, wanted: int, done: Callable[[], None]) -> None:
        self.outbox: list[Datagram] = []
        self.left = wanted + WARM_UP
        self._wanted = wanted
        self._done = done
        self.began = 0.0
        self.took = 0.0

    def datagram_received(self, data: bytes, flow_in: Flow, now: float) -> Datagram | None:
        self.left -= 1
        if self.left == self._wanted:
            self.began = cpu_seconds()
        elif self.left == 0:
            self.took = cpu_seconds() - self.began
            self._done()
        return data, flow_in

    def refused(self, flow_out: Flow, now: float) -> None:
        pass

    def due(self, now: float) -> list[Datagram]:
        return []


class EchoProtocol(asyncio.DatagramProtocol):
    def __init__(self, core: Echo) -> None:
        self._core = core

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._sendto = cast(asyncio.DatagramTransport, transport).sendto

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._core.datagram_received(data, (0, b"", b""), time.monotonic()) is not None:
            self._sendto(data, addr)


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def blast(port: int, size: int, stop: Connection) -> None:
    """The child: as many in flight as fit into the window, until told to stop."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", port))
    sock.settimeout(0.1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    message = b"x" * size
    window = 0
    while not stop.poll():
        try:
            while window < IN_FLIGHT:
                sock.send(message)
                window += 1
            while window > IN_FLIGHT // 2:
                sock.recv(65_536)
                window -= 1
        except TimeoutError:
            window = 0


async def serve(kind: str, core: Echo, port_known: Callable[[int], None], done: asyncio.Event) -> None:
    """Run one edge (or the plain protocol) until `done`."""
    loop = asyncio.get_running_loop()
    leg = open_leg("127.0.0.1", 0)
    port_known(leg.sock.getsockname()[1])
    if kind == "protocol":
        transport, _ = await loop.create_datagram_endpoint(lambda: EchoProtocol(core), sock=leg.sock)
        await done.wait()
        transport.close()
        return
    edge = Edge([leg], core, time.monotonic, batched=kind == "batched")
    edge.start(loop)
    await done.wait()
    edge.close()


def measure(kind: str, loop_name: str, wanted: int, size: int) -> float:
    """Microseconds of CPU per datagram."""
    ours, theirs = multiprocessing.Pipe()
    children: list[multiprocessing.Process] = []

    def start_child(port: int) -> None:
        child = multiprocessing.Process(target=blast, args=(port, size, theirs), daemon=True)
        child.start()
        children.append(child)

    async def run() -> Echo:
        done = asyncio.Event()
        core = Echo(wanted, done.set)
        await serve(kind, core, start_child, done)
        return core

    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        core = runner.run(run())
    ours.send("stop")
    for child in children:
        child.join()
    return core.took / wanted * 1e6


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--datagrams", type=int, default=200_000)
    arguments.add_argument("--size", type=int, default=800, help="bytes of each datagram")
    asked = arguments.parse_args()
    sys.stdout.write("edge\tloop\tbytes\tdatagrams\tus_cpu\n")
    for kind in ("batched", "plain", "protocol"):
        for loop_name in LOOPS:
            cost = measure(kind, loop_name, asked.datagrams, asked.size)
            sys.stdout.write(f"{kind}\t{loop_name}\t{asked.size}\t{asked.datagrams}\t{cost:.2f}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
