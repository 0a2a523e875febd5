"""When to probe whom, and by which kind of probe. What an outcome means is the director's (`Health`).

One task per (server, check), however many services share them. Each probe is complete in itself (`probe_sip`,
`probe_ping`, `probe_command`), so that later several may run at once for a server that looks dead.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from sipbalancer.config.model import CheckConfig, CheckType
from sipbalancer.daemon import probe_ping, probe_sip
from sipbalancer.daemon.log import LOGGER
from sipbalancer.daemon.pace import Pace
from sipbalancer.daemon.probe_command import Commands, command_words
from sipbalancer.daemon.probe_sip import Question, Timers
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult

UNPROBED = frozenset({CheckType.ON, CheckType.OFF})


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """Whom to probe, how, and from where."""

    key: str
    """The server's `address:port`."""
    host: str
    port: int
    """`checkport`, else the server's port."""
    source: str
    """The virtual address to ask from while it is on this host; empty = the kernel's choice."""
    check: CheckConfig
    virtual_host: str = ""
    virtual_port: int = 0
    """These two for the argv of an external command."""

    @property
    def health_key(self) -> tuple[str, CheckConfig]:
        """What one Health is kept for."""
        return self.key, self.check


class Turns:
    """The number form of `checktype`: after each negotiate N connects, but only while the negotiate was good.

    Otherwise a connect, which does not judge, would bring back a server that the negotiate found draining.
    """

    def __init__(self, connects: int) -> None:
        self._connects = connects
        self._left = 0

    def connect(self) -> bool:
        """Whether the next probe is a mere connect."""
        if self._left == 0:
            return False
        self._left -= 1
        return True

    def negotiated(self, result: ProbeResult) -> None:
        self._left = self._connects if result is ProbeResult.OK else 0


class Prober:
    """Keeps one probing task per target; hands each outcome to `report`. Lives in the event loop's thread."""

    def __init__(
        self,
        report: Callable[[ProbeTarget, ProbeOutcome], None],
        randomness: Callable[[int], bytes] = secrets.token_bytes,
        clock: Callable[[], float] = time.perf_counter,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
        timers: Timers = Timers(),  # noqa: B008
    ) -> None:
        """`randomness(n)` gives n random bytes; `clock` and `wait` are in seconds."""
        self._report = report
        self._randomness = randomness
        self._clock = clock
        self._wait = wait
        self._timers = timers
        self._commands = Commands(clock)
        self._running: dict[tuple[str, CheckConfig], tuple[ProbeTarget, asyncio.Task[None]]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def sync(self, targets: Collection[ProbeTarget]) -> None:
        """Probe these from now on. What is probed already goes on undisturbed, what is missing here stops.

        Of several targets with one `health_key` the first is probed.
        """
        wanted: dict[tuple[str, CheckConfig], ProbeTarget] = {}
        for target in targets:
            if target.check.checktype not in UNPROBED:
                wanted.setdefault(target.health_key, target)
        for key, (target, _) in list(self._running.items()):
            if wanted.get(key) != target:
                self._stop(key)
        for key, target in wanted.items():
            if key not in self._running:
                self._running[key] = target, asyncio.create_task(self._keep_probing(target), name=f"probe {target.key}")

    async def close(self) -> None:
        """Stop all probes and wait until their sockets and commands are gone."""
        for key in list(self._running):
            self._stop(key)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _stop(self, key: tuple[str, CheckConfig]) -> None:
        _, task = self._running.pop(key)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        task.cancel()

    async def _keep_probing(self, target: ProbeTarget) -> None:
        pace = Pace(target.check.checkinterval, self._fraction, self._clock, self._wait)
        turns = Turns(target.check.mixed_connects)
        await pace.first()
        while True:
            await self._probe(target, turns)
            await pace.next()

    def _fraction(self) -> float:
        """Random, in [0, 1)."""
        return int.from_bytes(self._randomness(4)) / 2**32

    async def _probe(self, target: ProbeTarget, turns: Turns) -> None:
        """One probe and its report. Only cancelling ends the task: no fault in here may leave a server unwatched."""
        try:
            outcome = await self._ask(target, turns)
        except Exception as fault:
            LOGGER.exception("probe failed inside sipbalancer", extra={"fields": {"server": target.key}})
            outcome = ProbeOutcome(ProbeResult.ERROR, f"probe failed inside sipbalancer: {fault!r}")
        try:
            self._report(target, outcome)
        except Exception:
            LOGGER.exception("probe outcome was not taken", extra={"fields": {"server": target.key}})

    async def _ask(self, target: ProbeTarget, turns: Turns) -> ProbeOutcome:
        check = target.check
        if check.checktype is CheckType.PING:
            ping = probe_ping.Ping(target.host, target.source, check.checktimeout, check.checkcount)
            return await probe_ping.ask(ping, self._randomness, self._clock)
        if check.checktype in (CheckType.EXTERNAL, CheckType.EXTERNAL_PERL):
            return await self._commands.ask(_argv(target), check.checktimeout)
        if check.checktype is CheckType.CONNECT:
            return await self._options(target, judged=False)
        if check.checktype is CheckType.MIXED and turns.connect():
            return await self._options(target, judged=False)
        outcome = await self._options(target, judged=True)
        turns.negotiated(outcome.result)
        return outcome

    async def _options(self, target: ProbeTarget, judged: bool) -> ProbeOutcome:
        check = target.check
        try:
            receive = re.compile(check.receive.encode()) if check.receive and judged else None
        except re.error as error:
            return ProbeOutcome(ProbeResult.ERROR, f"receive is no regular expression: {error}")
        timeout = check.negotiatetimeout if judged else check.checktimeout
        question = Question((target.host, target.port), target.source, timeout, check.login, receive, judged)
        return await probe_sip.ask(question, self._randomness, self._clock, self._timers)


def _argv(target: ProbeTarget) -> tuple[str, ...]:
    """ldirectord's: the command, then virtual address and port, real address and port."""
    words = command_words(target.check.checkcommand, target.check.checktype is CheckType.EXTERNAL_PERL)
    return (*words, target.virtual_host, str(target.virtual_port), target.host, str(target.port))
