"""`sipbalancer run`: the order in which things start and stop, signals, and the reload.

Traffic first: what calls cannot do without (the file, the addresses, a key the operator named) is an error that ends
the start; what only helps to see them (metrics, admin socket, state on disk) is a loud warning, and the balancer goes
on without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from sipbalancer import __version__
from sipbalancer.compiled import runs
from sipbalancer.config.diff import AT_START
from sipbalancer.config.model import Config
from sipbalancer.config.report import counted
from sipbalancer.daemon.admin import AdminServer, Request
from sipbalancer.daemon.balancer import Balancer
from sipbalancer.daemon.chores import LOADING_SECONDS, Chores
from sipbalancer.daemon.clock import anchored_clock
from sipbalancer.daemon.commands import Commands
from sipbalancer.daemon.crew_memory import CrewMemory, new_crew_memory, workers_of
from sipbalancer.daemon.file import FileWatch, read_config
from sipbalancer.daemon.fleet_balancer import FleetBalancer
from sipbalancer.daemon.levers import Levers
from sipbalancer.daemon.log import Output, say
from sipbalancer.daemon.loop import loop_factory, settle
from sipbalancer.daemon.loop_lag import together
from sipbalancer.daemon.metrics import Page
from sipbalancer.daemon.names import Names
from sipbalancer.daemon.notify import Notify
from sipbalancer.daemon.pulse import BEAT, QUIETLY, Pulse
from sipbalancer.daemon.resolver import Resolver
from sipbalancer.daemon.shared_memory import SharedMemory
from sipbalancer.daemon.state import State, open_state
from sipbalancer.daemon.status import Document, status_document
from sipbalancer.daemon.web import WebServer
from sipbalancer.director.epoch import BEGINNING, Epoch
from sipbalancer.director.pins import PinTable
from sipbalancer.director.snapshot import Snapshot, WhereSnapshot
from sipbalancer.director.verdict import Transition
from sipbalancer.errors import ConfigError, EnvironmentFault, Finding

SWITCH_SECONDS = 0.0005
"""The loop gets the interpreter back from the thread that renders metrics this soon. While 300 servers are rendered
it then waits 1.2 ms in the mean, with CPython's own 5 ms 5.3 ms."""


class Options(NamedTuple):
    """The flags of `run`."""

    log: str = "text"


def run(path: Path, options: Options) -> int:
    """Balance until SIGTERM or SIGINT, then 0. ConfigError or EnvironmentFault when it cannot start."""
    sys.setswitchinterval(SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(serve(path, options))


async def serve(path: Path, options: Options) -> int:
    """As `run`, in the running loop."""
    loop = asyncio.get_running_loop()
    daemon = Daemon(path, options, Notify(os.environ))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, daemon.reload_wanted.set)
    try:
        if await _finished(daemon.start(), stop):
            await _finished(daemon.keep_reloading(), stop)
    finally:
        await daemon.stop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
    return 0


async def _finished(work: Awaitable[None], stop: asyncio.Event) -> bool:
    """Whether the work ended (raises what it raised) before the wish to stop, which cancels it."""
    task, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            return False
        task.result()
        return True
    finally:
        for each in (task, stopping):
            each.cancel()
        await asyncio.gather(task, stopping, return_exceptions=True)


class Daemon:
    """The balancer with its state folder, metrics, admin socket and logs around it."""

    def __init__(self, path: Path, options: Options, notify: Notify) -> None:
        self._path = path
        self._watch: FileWatch | None = None
        self._notify = notify
        self._clock = anchored_clock()
        self._epoch = Epoch(0.0)
        self._output = Output(options.log)
        self._pulse = Pulse(notify.alive, notify.watchdog_period)
        self._admin = AdminServer(self._obey)
        self._commands = Commands(self)
        self._side_doors: dict[str, str] = {}  # each that was tried -> why it could not be opened, "" when it was
        self._told: frozenset[str] = frozenset()
        self._names = Names(Resolver(), self._names_changed)
        self._web = WebServer(self.page, lambda: self.balancer.unserved(), lambda: self.balancer.gather())
        self._state: State | None = None
        self._pins: PinTable | None = None
        self._crew: CrewMemory | None = None
        self._balancer: Balancer | None = None
        self._chores: Chores | None = None
        self._levers: Levers | None = None
        self._reloading = asyncio.Lock()
        self.reload_wanted = asyncio.Event()

    @property
    def balancer(self) -> Balancer:
        assert self._balancer is not None, "started"
        return self._balancer

    @property
    def levers(self) -> Levers:
        assert self._levers is not None, "started"
        return self._levers

    # Starting and stopping.

    async def start(self) -> None:
        """Everything up to READY=1. ConfigError, EnvironmentFault; `stop` must follow in any case."""
        self._watch = FileWatch(self._path)
        parsed = read_config(self._path)
        self._output.open(parsed.config.logfile)
        say(
            logging.INFO,
            "starting",
            version=__version__,
            runs=runs(),
            file=self._path,
            loop=_loop_name(),
            pid=os.getpid(),
        )
        _warn(parsed.warnings)
        config = await self._names.resolve(parsed.config)
        self._open(config)
        await self._start_chores(config)
        await self._open_side_doors(config)
        loop = asyncio.get_running_loop()
        self.balancer.start(loop)
        await self.balancer.ready()
        self._tell_notes()
        self._names.watch(parsed.config)
        self._pulse.start(loop, QUIETLY if workers_of(config) > 1 else BEAT)
        settle()
        self._notify.ready(self._summary())
        say(logging.INFO, "ready", services=len(config.virtual), summary=self._summary())

    def _open(self, config: Config) -> None:
        workers = workers_of(config)
        self._state = state = open_state(config, shared=workers > 1)
        self._epoch = epoch = state.epoch(time.time())
        if epoch.told:
            say(logging.WARNING, epoch.told)
        self._clock = anchored_clock(lambda: epoch.now)
        self._mark()
        self._balancer = balancer = self._made(config, state, workers)
        balancer.table.state.first_start = state.first_start

    def _made(self, config: Config, state: State, workers: int) -> Balancer:
        seed = secrets.randbits(32)
        if workers == 1:
            self._pins = pins = state.pin_table(self._clock())
            return Balancer(config, state.keys, pins, self._clock, seed)
        self._crew = crew = new_crew_memory(SharedMemory(os.dup(state.descriptor)), workers)
        self._pins = pins = state.judged(crew.control_pins(workers, state.check, self._clock()))
        return FleetBalancer(config, state.keys, pins, self._clock, seed, workers, crew, state.check)

    def _mark(self) -> None:
        if self._state is not None:
            self._state.mark(self._clock(), time.time())

    async def _start_chores(self, config: Config) -> None:
        assert self._state is not None and self._watch is not None
        self._levers = Levers(self.balancer, self._path, self._clock)
        self._chores = Chores(
            *(self.balancer, self._state.contacts, self._clock, self._watch),
            *(self.reload_wanted.set, self._levers.file_changed, self._mark),
        )
        # With workers all of them come first: what is loaded later would be told to none.
        await self._chores.load(self._epoch.shift, LOADING_SECONDS if workers_of(config) == 1 else None)
        await self._levers.prepare()
        self._chores.start()
        self._levers.start()

    async def _open_side_doors(self, config: Config) -> None:
        """What only looks on: each that cannot be opened is a note, and tried again at the next reload."""
        doors: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("admin", lambda: self._admin.open(Path(config.admin))),
        ]
        if config.metrics != "no":
            doors.append(("metrics", lambda: self._web.open(config.metrics)))
        for name, open_door in doors:
            if self._side_doors.get(name) == "":
                continue
            try:
                await open_door()
                self._side_doors[name] = ""
            except EnvironmentFault as error:
                self._side_doors[name] = f"running without {name}: {error}; tried again at each reload"

    async def stop(self) -> None:
        """Undo `start`, however far it came. Calls end at once; the last Contacts are written."""
        self._notify.stopping()
        self._pulse.stop()
        await self._names.close()
        if self._balancer is not None:
            await self._balancer.close()
        if self._levers is not None:
            await self._levers.close()
        await self._admin.close()
        await self._web.close()
        if self._chores is not None:
            await self._chores.close()
        if self._pins is not None:
            self._pins.close()
        if self._crew is not None:
            self._crew.close()
        if self._state is not None:
            self._state.close()
        if self._balancer is not None:
            say(logging.INFO, "stopped")
        self._output.close()

    # Reload.

    async def keep_reloading(self) -> None:
        """Reload whenever it is wanted (SIGHUP, autoreload), for ever."""
        while True:
            await self.reload_wanted.wait()
            self.reload_wanted.clear()
            with contextlib.suppress(ConfigError, EnvironmentFault):
                await self.reload()

    async def reload(self) -> tuple[str, ...]:
        """Read the file again and become it; what changed, one line each.

        ConfigError or EnvironmentFault: logged, counted, and nothing has changed.
        """
        async with self._reloading:
            self._notify.reloading()
            self.levers.reloading()
            try:
                return await self._become()
            except (ConfigError, EnvironmentFault) as error:
                self.balancer.table.reloads["failed"] += 1
                for line in str(error).splitlines():
                    say(logging.ERROR, "reload failed, nothing changed", error=line)
                raise
            finally:
                await self.levers.reloaded()
                self._notify.ready(self._summary())

    async def _become(self) -> tuple[str, ...]:
        if self._watch is not None and await asyncio.to_thread(self._watch.changed):
            self.levers.file_changed()  # autoreload need not find it a second time
        parsed = await asyncio.to_thread(read_config, self._path)
        config = await self._names.resolve(parsed.config)
        before = self.balancer.config
        changes = self.balancer.apply(config)
        await asyncio.sleep(0)  # with hundreds of servers each half takes 10 ms: what came meanwhile is read in between
        self._names.watch(parsed.config)
        self.balancer.table.reloads["ok"] += 1
        _warn(parsed.warnings)
        for change in changes:
            say(logging.INFO, "reload", change=change)
        _warn(_at_start_only(before, config))
        self._output.open(config.logfile)
        await self._open_side_doors(config)
        self._tell_notes()
        gc.freeze()
        say(logging.INFO, "reloaded", changes=len(changes), summary=self._summary())
        return changes

    def _names_changed(self, config: Config) -> None:
        """The same file with the addresses that its names have now."""
        for change in self.balancer.apply(config):
            say(logging.INFO, "names", change=change)

    # What the admin socket and the metrics show.

    async def _obey(self, request: Request) -> object:
        await self.balancer.gather()
        return await self._commands.obey(request)

    def document(self) -> Document:
        assert self._chores is not None
        notes, workers = self._notes(), self.balancer.workers()
        return status_document(self.snapshot(), self._chores.rates, str(self._path), notes, workers)

    def snapshot(self) -> Snapshot:
        return self.balancer.snapshot()

    def page(self) -> Page:
        balancer, snapshot = self.balancer, self.snapshot()
        workers = balancer.workers()
        lag = max(self._pulse.lag, *(each.lag for each in workers), 0.0)
        pauses = together((self._pulse.pauses, *(each.pauses for each in workers)))
        drops, lost = balancer.kernel_drops(), self._output.lost
        return Page(snapshot, balancer.edge_counters(), drops, lag, lost, pauses, workers)

    def where(self, aor: str) -> tuple[WhereSnapshot, ...]:
        return self.balancer.where(aor)

    def explain(self, data: bytes, source: str, virtual: str) -> Document:
        return self.balancer.explain(data, source, virtual)

    def drain(self, server: str) -> tuple[Transition, ...]:
        return self.balancer.drain(server)

    def vouch(self) -> None:
        """No call and no registration is older than the pins: `safe to stop` need not be withheld for it."""
        assert self._state is not None and self._pins is not None
        self._state.vouch()
        self._pins.born = BEGINNING
        say(logging.WARNING, "an operator vouches that nothing is older than the pins: safe to stop is by counts alone")

    def enable(self, server: str) -> tuple[Transition, ...]:
        return self.balancer.enable(server)

    def named(self, server: str) -> tuple[str, ...]:
        return self.balancer.named(server)

    def _tell_notes(self) -> None:
        """Log each note that was not there the last time."""
        services = self.balancer.snapshot().services
        notes = (*self._notes(), *(note for service in services for note in service.notes))
        for note in notes:
            if note not in self._told:
                say(logging.WARNING, "note", text=note)
        self._told = frozenset(notes)

    def _notes(self) -> list[str]:
        state = self._state.warnings if self._state is not None else []
        unresolved = [f"{name} cannot be resolved: its servers are left out" for name in self._names.unresolved()]
        return [
            *state,
            *filter(None, self._side_doors.values()),
            *unresolved,
            *self.balancer.notes(),
            *self.levers.notes(),
        ]

    def _summary(self) -> str:
        virtual = self.balancer.config.virtual
        servers = sum(len(service.real) for service in virtual)
        return f"{counted(len(virtual), 'virtual service')}, {counted(servers, 'real server')}"


def _warn(findings: tuple[Finding, ...]) -> None:
    """Log what asks for an act; the rest is counted, `check` shows it."""
    for finding in findings:
        if not finding.note:
            say(logging.WARNING, "file", line=str(finding))
    if notes := sum(finding.note for finding in findings):
        say(logging.INFO, "file has notes: sipbalancer check shows them", notes=notes)


def _at_start_only(old: Config, new: Config) -> tuple[Finding, ...]:
    """Words that changed in the file and not in the running balancer."""
    return tuple(
        Finding(new.path, new.lines.get(word, 0), word, "changed in the file; takes effect at the next start")
        for word in sorted(AT_START)
        if getattr(old, word) != getattr(new, word)
    )


def _loop_name() -> str:
    loop: Any = asyncio.get_running_loop()
    return type(loop).__module__.partition(".")[0]
