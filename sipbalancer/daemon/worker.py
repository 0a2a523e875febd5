"""A worker: `python -m sipbalancer.daemon.worker FD`, started by the control process and by nobody else.

It forwards, and nothing else: no file, no probe, no signal, no metrics. It is told what to be over its link (FD), works
on sockets and memory that it is handed, and ends when the link does. SIGTERM is not for it: a supervisor sends that to
all processes at once, and it is the control process that stops workers.

Messages to it: `begin`, `leg` (once per service), `config` (each reload), `bindings`, `crossed`, `report`, `stop`;
from it: `ready`, `doubts`, `bindings`, `crossed`, `told`, `log`, `report`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

from sipbalancer.config.model import Config
from sipbalancer.daemon.clock import Clock, anchored_clock
from sipbalancer.daemon.crew_memory import CrewMemory, opened
from sipbalancer.daemon.handed import config_of, crossed_body, crossed_of, rows_body, rows_of
from sipbalancer.daemon.leg import adopt_leg
from sipbalancer.daemon.link import Body, Link
from sipbalancer.daemon.log import LIBRARIES, LOGGER
from sipbalancer.daemon.loop import loop_factory, settle
from sipbalancer.daemon.parent import end_with_parent
from sipbalancer.daemon.pulse import Pulse
from sipbalancer.daemon.shedding import Shedding, Watched
from sipbalancer.daemon.suspects import SuspectingCore
from sipbalancer.daemon.udp import TICK, Edge
from sipbalancer.director.crossing import Crossings
from sipbalancer.director.follower import Follower
from sipbalancer.director.numbers import numbers_of
from sipbalancer.director.seat import Seat
from sipbalancer.director.table import ServiceTable

REPORT_TICKS = 20
"""A report each second; more on demand."""
ROWS = 500
"""Contacts told per tick and service at most: the rest follow, 10,000 a second."""
TOLD_EVERY = 0.05
"""Seconds between two doubts of one server at least."""


class Worker:
    """One worker, from its `begin` to the end of its link."""

    def __init__(self, sock: socket.socket) -> None:
        self._link = Link(sock, self._take, self._ended)
        self._over = asyncio.Event()
        self._pulse = Pulse(lambda: None, 0.0)
        self._legs: dict[str, list[int]] = {}
        self._doubted: dict[int, float] = {}
        self._ticks = 0
        self._timer: asyncio.TimerHandle | None = None
        self._clock: Clock = time.monotonic
        self._seat = Seat()
        self._keys: tuple[bytes, ...] = ()
        self._check = b""
        self._memory: CrewMemory | None = None
        self._table: ServiceTable | None = None
        self._verbs: dict[str, Callable[[Body, list[int]], None]] = {
            "begin": self._begin,
            "leg": self._leg,
            "config": self._config,
            "bindings": self._bindings,
            "crossed": self._crossed,
            "report": lambda body, files: self._report(),
            "stop": lambda body, files: self._stop(),
        }

    async def run(self) -> None:
        """Until the link ends."""
        loop = asyncio.get_running_loop()
        LOGGER.setLevel(logging.INFO)
        for logger in (LOGGER, *LIBRARIES):
            logger.propagate = False
            logger.handlers[:] = [_ToLink(self._link)]
        self._link.start(loop)
        await self._over.wait()

    # What the control process says.

    def _take(self, kind: str, body: Body, files: list[int]) -> None:
        self._verbs[kind](body, files)

    def _begin(self, body: Body, files: list[int]) -> None:
        offset = float(body["offset"])
        self._clock = anchored_clock(lambda: offset + time.monotonic())
        self._seat = Seat(body["number"], body["of"])
        self._keys = tuple(bytes.fromhex(key) for key in body["keys"])
        self._check = bytes.fromhex(body["check"])
        self._memory = opened(files)

    def _leg(self, body: Body, files: list[int]) -> None:
        self._legs[body] = files

    def _config(self, body: Body, files: list[int]) -> None:
        config, now = config_of(body), self._clock()
        if self._table is None:
            self._open(config, now)
        else:
            self._table.apply(config, now)
            self._follower.configured(now)
            self._sync_legs()
        settle()
        self._link.send("ready")

    def _open(self, config: Config, now: float) -> None:
        assert self._memory is not None, "begun"
        pins = self._memory.worker_pins(self._seat, self._check, now)
        self._table = table = ServiceTable(config, self._keys, pins, now, self._seat.number, self._seat)
        table.state.crossings = Crossings()
        self._follower = Follower(table, self._memory.words, self._memory.stripes, self._seat)
        self._follower.configured(now)
        self._edge = Edge([], SuspectingCore(table.forwarder, self._doubt), self._now)
        self._shedding = Shedding(
            self._watched, table.addresses_of, lambda: self._edge.counters.received, self._clock, table.behind
        )
        self._sync_legs()
        loop = asyncio.get_running_loop()
        self._edge.start(loop)
        self._shedding.start(loop)
        self._pulse.start(loop)
        self._timer = loop.call_later(TICK, self._tick, loop)

    def _sync_legs(self) -> None:
        """Hold the sockets of the services of this configuration, and no others."""
        assert self._table is not None, "opened"
        held = [index for index, leg in enumerate(self._edge.legs) if leg is not None]
        wanted = {spec.index for spec in self._table.legs}
        for index in held:
            if index not in wanted:
                self._edge.remove_leg(index)
        services = sorted(self._table.state.services.values(), key=lambda service: service.leg)
        for service in services:
            for index, descriptor in zip(
                (service.leg, service.server_leg), self._legs.pop(service.key, ()), strict=False
            ):
                added = self._edge.add_leg(adopt_leg(socket.socket(fileno=descriptor)))
                assert added == index, "edge and table number their legs alike"

    def _watched(self) -> Iterator[Watched]:
        assert self._table is not None, "opened"
        for service in self._table.state.services.values():
            leg = self._edge.legs[service.leg]
            if leg is not None:
                yield Watched(service.key, leg)

    def _bindings(self, body: Body, files: list[int]) -> None:
        assert self._table is not None, "opened"
        self._table.load_bindings(rows_of(body), self._clock(), forget=True)

    def _crossed(self, body: Body, files: list[int]) -> None:
        assert self._table is not None, "opened"
        self._table.forwarder.heard_elsewhere(*crossed_of(body), self._clock())

    def _stop(self) -> None:
        """The last words, then the end."""
        if self._table is not None:
            self._shedding.close()
            self._edge.close()
            self._say(self._table)
            self._report()
        self._ended()

    def _ended(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._pulse.stop()
        self._over.set()

    # What is done, and told.

    def _now(self) -> float:
        """The clock as the edge reads it, once per batch: then the words are looked at too."""
        now = self._clock()
        self._follower.look(now)
        return now

    def _doubt(self) -> None:
        """At once, as it is rare: whom to probe now."""
        now = self._clock()
        doubts = [each for each in self._follower.doubts() if now - self._doubted.get(each[0], 0.0) >= TOLD_EVERY]
        if doubts:
            self._doubted.update((serial, now) for serial, _ in doubts)
            self._follower.give()
            self._link.send("doubts", doubts)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(TICK, self._tick, loop)
        assert self._table is not None, "opened"
        self._now()
        self._follower.give()
        self._say(self._table)
        self._ticks += 1
        if self._ticks % REPORT_TICKS == 0:
            self._report()

    def _say(self, table: ServiceTable) -> None:
        """What others wait for, all in one."""
        rows = table.binding_changes(ROWS)
        if rows:
            self._link.send("bindings", rows_body(rows))
        assert table.state.crossings is not None, "opened"
        crossed = table.state.crossings.take()
        if any(crossed):
            self._link.send("crossed", crossed_body(crossed))
        events = table.events()
        if events:
            self._link.send("told", events)

    def _report(self) -> None:
        if self._table is None:
            return
        state = self._table.state
        body = {
            "numbers": numbers_of(state),
            "edge": asdict(self._edge.counters),
            "batched": self._edge.batched,
            "shed": {service.key: self._shedding.dropped(service.key) for service in state.services.values()},
            "shed_notes": {service.key: self._shedding.note(service.key) for service in state.services.values()},
            "provisional": len(state.provisional) + len(state.recent_calls),
            "error": state.last_error,
            "lag": self._pulse.lag,
            "pauses": self._pulse.pauses,
            "cpu": time.process_time(),
        }
        self._link.send("report", body)


class _ToLink(logging.Handler):
    """Log lines go where the control process's go."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        fields = {name: str(value) for name, value in getattr(record, "fields", {}).items()}
        if record.exc_info:
            fields["traceback"] = logging.Formatter().formatException(record.exc_info)
        self._link.send("log", [record.levelno, record.getMessage(), fields])


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    sock = socket.socket(fileno=int(sys.argv[1]))

    async def work() -> None:
        await Worker(sock).run()

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(work())
    os._exit(0)  # the shared memory has views everywhere; the kernel takes it back


if __name__ == "__main__":
    main()
