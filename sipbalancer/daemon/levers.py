"""ldirectord's levers at work: when a verdict changes, a check ends, the file changes or a second has passed, what is
done outside of the balancer (mails, commands, monitor files) and what the outside says (maintenancedir).

Nothing here waits in the loop's way: what takes time is done by tasks and threads of the modules it joins.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from sipbalancer.daemon.alerts import RELOADING, RUNNING, STARTING, Alerts, ServerView, ServiceView
from sipbalancer.daemon.balancer import Balancer
from sipbalancer.daemon.clock import Clock
from sipbalancer.daemon.hooks import Hooks
from sipbalancer.daemon.log import LOGGER, say
from sipbalancer.daemon.mail import SENDMAIL, Letter, can_send, post
from sipbalancer.daemon.maintenance import Maintenance
from sipbalancer.daemon.monitorfile import MonitorFiles, line_of
from sipbalancer.director.drain import watch_drains
from sipbalancer.director.health import Health
from sipbalancer.director.service import VirtualService
from sipbalancer.director.verdict import ProbeOutcome, Verdict

PERIOD = 1.0
SETTLED_AFTER = 60.0
"""Seconds after which a start or a reload is over for the mails, although a server is not judged yet."""
LETTERS_AT_MOST = 1000
LAST_MAIL_SECONDS = 5.0
"""How long a stop waits for the last mail."""


class Levers:
    """Runs from `start` to `close`; `changed` and `probed` are called by the balancer."""

    def __init__(self, balancer: Balancer, path: Path, clock: Clock) -> None:
        self._balancer = balancer
        self._path = path
        self._clock = clock
        self._alerts = Alerts()
        self._hooks = Hooks()
        self._files = MonitorFiles()
        self._maintenance = Maintenance(clock)
        self._letters: asyncio.Queue[Letter] = asyncio.Queue(LETTERS_AT_MOST)
        self._fallbacks: dict[str, bool] = {}
        self._full: frozenset[tuple[str, str]] = frozenset()
        self._state, self._since = STARTING, clock()
        self._file_changed = False
        self._tasks: list[asyncio.Task[None]] = []

    async def prepare(self) -> None:
        """What must be known before the first datagram: who is in maintenance."""
        await self._maintain()
        await self._maintenance.names_known()
        self._apply_maintenance()
        self._balancer.watcher = self

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._run(), name="levers"),
            asyncio.create_task(self._deliver(), name="mail"),
        ]

    async def close(self) -> None:
        """Say good-bye by mail, write the last lines, end what runs."""
        self._balancer.watcher = None
        if self._tasks:
            self._alerts.stop(self._views())
            self._send("stopping")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_MAIL_SECONDS):
                    await self._letters.join()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._maintenance.close()
        await self._hooks.close()
        await self._files.write()

    # What the balancer says.

    def changed(self) -> None:
        """A verdict changed."""
        try:
            self._alerts.look(self._views(), self._state, self._clock())
            self._look_at_fallbacks()
        except Exception:  # a bug here must not reach who changed the verdict
            LOGGER.exception("a lever failed")

    def probed(self, health: Health, outcome: ProbeOutcome) -> None:
        """A check ended."""
        for service in self._balancer.table.state.services.values():
            if service.config.monitorfile:
                for server in service.servers:
                    if server.health is health:
                        line = line_of(service.config, server.config, outcome, self._clock())
                        self._files.note(service.config.monitorfile, line)

    def applied(self) -> None:
        """There is a new configuration: what the folder said last holds for its servers at once."""
        self._apply_maintenance()

    # What the daemon says.

    def file_changed(self) -> None:
        """The file on disk is another than it was: `callback` is due, after the reload where there is one."""
        self._file_changed = True
        if not self._balancer.config.autoreload and self._state != RELOADING:
            self.call_back()

    def reloading(self) -> None:
        self._state, self._since = RELOADING, self._clock()

    def call_back(self) -> None:
        """Run `callback` if it is due; the one of the configuration that runs now."""
        if self._file_changed and self._balancer.config.callback:
            self._hooks.run("callback", "callback", self._balancer.config.callback, str(self._path))
        self._file_changed = False

    async def reloaded(self) -> None:
        """After a reload, good or bad."""
        await self._maintain()
        self.changed()
        self.call_back()

    def notes(self) -> Iterator[str]:
        """What the operator must know."""
        if any(each.emailalert and not can_send(each.smtp) for each in self._balancer.config.virtual):
            yield f"emailalert: no mail can be sent: write smtp = HOST (there is no {SENDMAIL})"

    # Once a second.

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            try:
                await self.once()
            except Exception:
                LOGGER.exception("a lever failed")

    async def once(self) -> None:
        """All that is done once a second."""
        await self._maintain()
        self._settle()
        self.changed()
        self._send(self._state)
        self._tell_full()
        watch_drains(self._balancer.table.state, self._clock())
        await self._files.write()

    async def _maintain(self) -> None:
        await self._maintenance.look(self._balancer.config.maintenancedir)
        self._apply_maintenance()

    def _apply_maintenance(self) -> None:
        config = self._balancer.config
        servers = [server for service in config.virtual for server in (*service.real, service.fallback) if server]
        self._balancer.maintain(self._maintenance.drained(servers))

    def _settle(self) -> None:
        """A start or a reload is over when all servers have been judged."""
        if self._state == RUNNING:
            return
        verdicts = [server.verdict for view in self._views() for server in view.servers]
        if Verdict.STARTING not in verdicts or self._clock() - self._since > SETTLED_AFTER:
            self.changed()
            self._send(self._state)
            self._state = RUNNING

    def _views(self) -> list[ServiceView]:
        return [self._view(service) for service in self._balancer.table.state.services.values()]

    def _view(self, service: VirtualService) -> ServiceView:
        servers = tuple(ServerView(each.key, each.name, each.verdict, each.reason) for each in service.servers)
        return ServiceView(service.config, self._balancer.standby(service.key), servers)

    # Mails.

    def _send(self, state: str) -> None:
        for letter in self._alerts.letters(self._balancer.config.emailalertfrom, state):
            try:
                self._letters.put_nowait(letter)
            except asyncio.QueueFull:
                say(logging.WARNING, "mail lost: too many wait", subject=letter.subject)

    async def _deliver(self) -> None:
        while True:
            letter = await self._letters.get()
            problem = await post(letter)
            if problem:
                say(logging.WARNING, "mail not sent", subject=letter.subject, to=letter.to, error=problem)
            else:
                say(logging.INFO, "mail sent", subject=letter.subject, to=letter.to)
            self._letters.task_done()

    # Fallbacks and thresholds.

    def _look_at_fallbacks(self) -> None:
        """`fallbackcommand`: start when the last server is out of service, stop when the first is back."""
        held, self._fallbacks = self._fallbacks, {}
        for service in self._balancer.table.state.services.values():
            used = held.get(service.key, False)
            self._fallbacks[service.key] = used
            if self._balancer.standby(service.key) or used is not bool(service.taking):
                continue
            self._fallbacks[service.key] = not used
            config = service.config
            if config.fallbackcommand:
                word = "stop" if used else "start"
                self._hooks.run(
                    f"fallback {service.key}",
                    "fallbackcommand",
                    config.fallbackcommand,
                    word,
                    service.key,
                    config.protocol,
                )

    def _tell_full(self) -> None:
        now = {
            (service.key, server.name): server.config.upper
            for service in self._balancer.table.state.services.values()
            for server in service.servers
            if server.full
        }
        for (virtual, server), upper in now.items():
            if (virtual, server) not in self._full:
                say(logging.WARNING, "server at its upper threshold", virtual=virtual, server=server, upper=upper)
        for virtual, server in self._full - now.keys():
            say(logging.INFO, "server below its lower threshold", virtual=virtual, server=server)
        self._full = frozenset(now)
