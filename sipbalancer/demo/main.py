"""`sipbalancer demo`: a pool, the balancer before it, thirty phones; one server dies and comes back; then the sum.

Everything lives on loopback addresses and in one temporary folder, and ends with this process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from rich.console import Console
from rich.live import Live

from sipbalancer.errors import EnvironmentFault

from . import view
from .balancer import Balancer, Document
from .call import CallState
from .ledger import Tally, count
from .message import Address, hostport
from .phone import Phone
from .pool import AsteriskPool, EmbeddedPool, Pool
from .scene import Scene, Timeline
from .station import Station, bound_socket, open_station

PHONES = 30
SERVERS = 3
VICTIM = 1
SHORTEST, USUAL, LONGEST = 16.0, 45.0, 3600.0
TICK = 0.05
STATUS_EVERY = 0.25
REFRESH = 6.0
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Options:
    asterisk: bool = False
    seconds: float = USUAL
    plain: bool = False
    balancer: bool = True
    """False: phones straight to the servers, none of which dies; it proves the phones."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words of `sipbalancer demo`."""
    parser.add_argument("--asterisk", action="store_true", help="three real Asterisks in place of the embedded servers")
    parser.add_argument(
        "--seconds", type=_seconds, default=USUAL, help=f"length, at least {SHORTEST:g} (default %(default)g)"
    )
    parser.add_argument("--plain", action="store_true", help="a line per second, also on a terminal")
    parser.add_argument("--without-balancer", dest="balancer", action="store_false", help=argparse.SUPPRESS)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not SHORTEST <= seconds <= LONGEST:
        raise argparse.ArgumentTypeError(f"`{text}` must be a number from {SHORTEST:g} to {LONGEST:g}")
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and run; the exit status."""
    parser = argparse.ArgumentParser(prog="sipbalancer demo", description=__doc__)
    add_arguments(parser)
    return run(Options(**vars(parser.parse_args(arguments))))


def run(options: Options) -> int:
    """0 when nothing was lost that should not be, 1 when something was or the demo cannot run, 130 after Ctrl-C."""
    console = view.console(plain=options.plain)
    with tempfile.TemporaryDirectory(prefix="sipbalancer-demo-") as folder:
        try:
            return asyncio.run(_guarded(options, Path(folder), console))
        except (KeyboardInterrupt, asyncio.CancelledError):
            console.print("interrupted: everything is stopped")
            return INTERRUPTED
        except EnvironmentFault as fault:
            sys.stderr.write(f"sipbalancer demo: {fault}\n")
            return 1


async def _guarded(options: Options, folder: Path, console: Console) -> int:
    """Play, and let a signal end the playing once: what cleans up is not interrupted by a second one."""
    playing = asyncio.current_task()
    assert playing is not None
    loop = asyncio.get_running_loop()
    asked = [False]

    def stop() -> None:
        if not asked[0]:
            asked[0] = True
            playing.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    tally = await _Demo(options, folder, console).play()
    return 1 if tally.lost else 0


class _Demo:
    """One showing."""

    def __init__(self, options: Options, folder: Path, console: Console) -> None:
        self.options, self.console = options, console
        self.random = Random()
        virtual, *places, phones = free_addresses(SERVERS + 2)
        self.virtual, self.phones_host = virtual, phones[0]
        users = {str(1001 + index): f"secret{self.random.getrandbits(32):08x}" for index in range(PHONES)}
        self.users = users
        self.pool: Pool = (
            AsteriskPool(places, users, virtual, folder)
            if options.asterisk
            else EmbeddedPool(places, users, self.random)
        )
        self.balancer = Balancer(folder, virtual, places) if options.balancer else None
        self.stations: dict[str, Station] = {}
        self.events: list[str] = []
        self.verdicts: dict[str, str] = {}
        self.status: Document | None = None
        self.start = 0.0

    @property
    def _by_line(self) -> bool:
        return self.options.plain or not self.console.is_terminal

    async def play(self) -> Tally:
        """From the first process to the last."""
        try:
            await self._set_up()
            scene = await self._scene()
            await self._show(scene)
            for event in () if self._by_line else self.events:  # line by line they were said when they happened
                self.console.print(event)
            scene.settle()
            tally = count(scene.phones, scene.outages, finished=True, strangers=scene.strangers)
            self.console.print(view.summary(tally, scene.timeline.end))
            return tally
        finally:
            await self._clear_away()

    async def _set_up(self) -> None:
        self.console.print(f"starting {SERVERS} {self.pool.kind}: {', '.join(map(hostport, self.pool.addresses))}")
        await self.pool.start()
        if self.balancer is not None:
            self.console.print(f"starting the balancer before them on {hostport(self.virtual)}")
            await self.balancer.start()
            self.console.print(f"look yourself: {sys.executable} -m sipbalancer status --admin {self.balancer.admin}")

    async def _clear_away(self) -> None:
        for station in self.stations.values():
            station.close()
        if self.balancer is not None:
            await self.balancer.stop()
        await self.pool.close()

    async def _scene(self) -> Scene:
        phones = [await self._phone(index, user) for index, user in enumerate(self.users)]
        self.start = asyncio.get_running_loop().time()
        timeline = Timeline.of(self.options.seconds, with_kill=self.balancer is not None)
        return Scene(phones, timeline, self.random, self.start)

    async def _phone(self, index: int, user: str) -> Phone:
        sock = bound_socket((self.phones_host, 0))
        proxy = self.virtual if self.balancer is not None else self.pool.addresses[index % SERVERS]
        phone = Phone(
            *(user, self.users[user], sock.getsockname()[:2], proxy, hostport(proxy), self.random), refresh=REFRESH
        )
        self.stations[user] = await open_station(phone, sock)
        return phone

    async def _show(self, scene: Scene) -> None:
        """Play the timeline, watch the balancer and draw, until the end; the first fault of any of them ends all."""
        fault: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as together:
                watching = together.create_task(self._watch(scene))
                together.create_task(self._strike(scene))
                with self._screen() as screen:
                    await self._tick(scene, screen)
                watching.cancel()
        except* EnvironmentFault as faults:
            fault = faults.exceptions[0]
        if fault is not None:  # raised in there, it would come out of Python 3.11.2 as a group again
            raise EnvironmentFault(str(fault))

    async def _tick(self, scene: Scene, screen: Live | None) -> None:
        loop = asyncio.get_running_loop()
        drawn = 0.0
        while (now := loop.time()) < self.start + scene.timeline.end:
            for phone, datagrams in scene.tick(now):
                self.stations[phone.user].send(datagrams)
            if now - drawn >= (STATUS_EVERY if screen else 1.0):
                drawn = now
                self._draw(scene, screen, now)
            await asyncio.sleep(TICK)

    def _draw(self, scene: Scene, screen: Live | None, now: float) -> None:
        frame = view.Frame(
            at=now - self.start,
            seconds=scene.timeline.end,
            title=f"sipbalancer on {hostport(self.virtual)}, {SERVERS} {self.pool.kind}, {PHONES} phones",
            names=self.pool.names,
            status=self.status,
            tally=count(scene.phones, scene.outages, finished=False),
            talking=sum(call.state is CallState.TALKING for phone in scene.phones for call in phone.live_calls),
            events=self.events,
        )
        if screen is not None:
            screen.update(view.live(frame), refresh=True)
        else:
            self.console.print(view.line(frame))

    @contextlib.contextmanager
    def _screen(self) -> Iterator[Live | None]:
        if self._by_line:
            yield None
            return
        with Live(console=self.console, auto_refresh=False, transient=True) as screen:
            yield screen

    async def _strike(self, scene: Scene) -> None:
        """Kill one server, and bring it back."""
        line, name = scene.timeline, self.pool.names[VICTIM]
        if line.kill is None or line.back is None:
            return
        await asyncio.sleep(line.kill)
        scene.killed(name, asyncio.get_running_loop().time())
        await self.pool.kill(VICTIM)
        self._event(f"{name} killed ({self.pool.how_killed}); {len(scene.outages[-1].cut)} phones were in a call on it")
        await asyncio.sleep(line.back - line.kill)
        await self.pool.bring_back(VICTIM)
        scene.came_back(asyncio.get_running_loop().time())
        self._event(f"{name} runs again; a third of the phones restart now")

    async def _watch(self, scene: Scene) -> None:
        """Ask the balancer for its status, and tell each change of a verdict."""
        while self.balancer is not None:
            self.balancer.must_live()
            self.status = await self.balancer.status() or self.status
            services = (self.status or {}).get("services") or [{"servers": []}]
            for name, server in zip(self.pool.names, services[0]["servers"], strict=False):
                self._verdict(scene, name, server)
            await asyncio.sleep(STATUS_EVERY)

    def _verdict(self, scene: Scene, name: str, server: Document) -> None:
        verdict = str(server["verdict"])
        old = self.verdicts.get(name, "up")
        self.verdicts[name] = verdict
        if verdict == old:
            return
        self._event(f"the balancer: {name} {old} -> {verdict} ({server['reason']})")
        if verdict != "up":
            scene.known_down(name, asyncio.get_running_loop().time())

    def _event(self, text: str) -> None:
        at = asyncio.get_running_loop().time() - self.start
        self.events.append(f"{at:5.1f}s  {text}")
        if self._by_line:
            self.console.print(self.events[-1])


def free_addresses(count: int) -> list[Address]:
    """Loopback addresses that are free on port 5060, one after the other; elsewhere than on Linux, free ports."""
    for block in range(10, 250, 8):
        addresses = [(f"127.0.0.{block + index}", 5060) for index in range(count)]
        if all(map(_is_free, addresses)):
            return addresses
    return [("127.0.0.1", _free_port()) for _ in range(count)]


def _is_free(address: Address) -> bool:
    try:
        bound_socket(address).close()
    except EnvironmentFault:
        return False
    return True


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
