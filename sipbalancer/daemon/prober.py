"""When to probe whom, and by which kind of probe. What an outcome means is the director's (`Health`).

One timer per (server, check), however many services share them, and one probe at a time; each is complete in itself
(`probe_sip`, `probe_ping`, `probe_command`). The timers keep the periodic pace; `hurry` brings a probe forward for a
server that traffic makes suspect, and the pace goes on as if nothing were.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sipbalancer.config.model import CheckConfig, CheckType
from sipbalancer.daemon import probe_ping
from sipbalancer.daemon.log import LOGGER
from sipbalancer.daemon.pace import Pace
from sipbalancer.daemon.probe_command import Commands, command_words
from sipbalancer.daemon.probe_sip import Probe, Question
from sipbalancer.director.evidence import SHORTEST_WAIT
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult

UNPROBED = frozenset({CheckType.ON, CheckType.OFF})
HURRY_EVERY = 0.5
"""Seconds between two probes of a server that were brought forward: a request that no server answers, or a phone that
sends it for ever, costs no more than this."""
LISTENING_AT_MOST = 128
"""Silent bursts whose late answers are waited for, of all servers together: each is an open socket."""

HealthKey = tuple[str, CheckConfig]


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
    def health_key(self) -> HealthKey:
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


class _Watched:
    """One target, and what goes on about it."""

    def __init__(self, target: ProbeTarget, pace: Pace) -> None:
        self.target = target
        self.pace = pace
        self.turns = Turns(target.check.mixed_connects)
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None
        """The probe that runs."""
        self.hurry: asyncio.TimerHandle | None = None
        """The one that is brought forward, and waits for its half second to pass."""
        self.hurried = -HURRY_EVERY
        """When the last one was brought forward."""
        self.late: list[asyncio.Task[None]] = []
        """Silent bursts that still listen."""


class Prober:
    """Probes each target at its pace; hands each outcome to `report`. Lives in the event loop's thread."""

    def __init__(
        self,
        report: Callable[[ProbeTarget, ProbeOutcome], None],
        randomness: Callable[[int], bytes] = secrets.token_bytes,
        clock: Callable[[], float] = time.perf_counter,
        *,
        silent: Callable[[ProbeTarget, float], None] = lambda target, sent: None,
        wait: Callable[[ProbeTarget], float] = lambda target: SHORTEST_WAIT,
        interval: Callable[[ProbeTarget], float] = lambda target: target.check.checkinterval,
    ) -> None:
        """`randomness(n)` gives n random bytes; `clock` is in seconds.

        `silent` is told when a probe, sent at that time of `clock`, is unanswered so far and others follow it; `wait`
        says how long an answer may take; `interval` how often to probe now (asked after each outcome and `repace`).
        """
        self._report = report
        self._randomness = randomness
        self._clock = clock
        self._silent = silent
        self._wait = wait
        self._interval = interval
        self._commands = Commands(clock)
        self._watched: dict[HealthKey, _Watched] = {}
        self._listening: dict[asyncio.Task[None], None] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def sync(self, targets: Collection[ProbeTarget]) -> None:
        """Probe these from now on. What is probed already goes on undisturbed, what is missing here stops.

        Of several targets with one `health_key` the first is probed.
        """
        wanted: dict[HealthKey, ProbeTarget] = {}
        for target in targets:
            if target.check.checktype not in UNPROBED:
                wanted.setdefault(target.health_key, target)
        for key, watched in list(self._watched.items()):
            if wanted.get(key) != watched.target:
                self._stop(key)
        for key, target in wanted.items():
            if key not in self._watched:
                self._start(key, target)

    def hurry(self, key: HealthKey) -> None:
        """Probe this one at once, unless a probe of it runs: its answer is the answer."""
        watched = self._watched.get(key)
        if watched is None or watched.task is not None or watched.hurry is not None:
            return
        pause = watched.hurried + HURRY_EVERY - self._clock()
        if pause > 0:
            watched.hurry = asyncio.get_running_loop().call_later(pause, self._hurried, watched)
        else:
            self._hurried(watched)

    def repace(self) -> None:
        """What `interval` says has changed."""
        for watched in self._watched.values():
            self._keep_pace(watched)

    async def close(self) -> None:
        """Stop all probes and wait until their sockets and commands are gone."""
        for key in list(self._watched):
            self._stop(key)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _start(self, key: HealthKey, target: ProbeTarget) -> None:
        now = self._clock()
        watched = self._watched[key] = _Watched(target, Pace(self._interval(target), self._fraction, now))
        self._plan(watched, watched.pace.first(now))

    def _stop(self, key: HealthKey) -> None:
        watched = self._watched.pop(key)
        for timer in (watched.timer, watched.hurry):
            if timer is not None:
                timer.cancel()
        for task in (watched.task, *watched.late):
            if task is not None:
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)
                task.cancel()

    # Pace.

    def _fraction(self) -> float:
        """Random, in [0, 1)."""
        return int.from_bytes(self._randomness(4)) / 2**32

    def _plan(self, watched: _Watched, moment: float) -> None:
        if watched.timer is not None:
            watched.timer.cancel()
        pause = max(0.0, moment - self._clock())
        watched.timer = asyncio.get_running_loop().call_later(pause, self._due, watched)

    def _keep_pace(self, watched: _Watched) -> None:
        """Begin a new period where the interval is another now."""
        now, interval = self._clock(), self._interval(watched.target)
        pace = Pace(interval, self._fraction, now)
        if pace.interval != watched.pace.interval:
            watched.pace = pace
            self._plan(watched, pace.next(now))

    def _due(self, watched: _Watched) -> None:
        self._plan(watched, watched.pace.next(self._clock()))
        self._begin(watched, hurried=False)

    def _hurried(self, watched: _Watched) -> None:
        watched.hurry = None
        watched.hurried = self._clock()
        self._begin(watched, hurried=True)

    def _begin(self, watched: _Watched, *, hurried: bool) -> None:
        if watched.task is None:
            name = f"probe {watched.target.key}"
            watched.task = asyncio.get_running_loop().create_task(self._probe(watched, hurried), name=name)

    # One probe.

    async def _probe(self, watched: _Watched, hurried: bool) -> None:
        """One probe and its report. No fault in here may leave a server unwatched."""
        try:
            outcome = await self._ask(watched, hurried)
        except Exception as fault:
            LOGGER.exception("probe failed inside sipbalancer", extra={"fields": {"server": watched.target.key}})
            outcome = ProbeOutcome(ProbeResult.ERROR, f"probe failed inside sipbalancer: {fault!r}")
        watched.task = None  # before the report, which may want the next one at once
        self._tell(watched, outcome)

    def _tell(self, watched: _Watched, outcome: ProbeOutcome) -> None:
        if outcome.result is not ProbeResult.TIMEOUT:
            self._stop_listening(watched)
        try:
            self._report(watched.target, outcome)
        except Exception:
            LOGGER.exception("probe outcome was not taken", extra={"fields": {"server": watched.target.key}})
        if self._watched.get(watched.target.health_key) is watched:
            self._keep_pace(watched)

    async def _ask(self, watched: _Watched, hurried: bool) -> ProbeOutcome:
        target, turns = watched.target, watched.turns
        check = target.check
        if check.checktype is CheckType.PING:
            ping = probe_ping.Ping(target.host, target.source, check.checktimeout, check.checkcount)
            return await probe_ping.ask(ping, self._randomness, self._clock)
        if check.checktype in (CheckType.EXTERNAL, CheckType.EXTERNAL_PERL):
            return await self._commands.ask(_argv(target), check.checktimeout)
        if check.checktype is CheckType.CONNECT:
            return await self._options(watched, judged=False)
        if check.checktype is CheckType.MIXED and not hurried and turns.connect():
            return await self._options(watched, judged=False)
        outcome = await self._options(watched, judged=True)
        turns.negotiated(outcome.result)
        return outcome

    async def _options(self, watched: _Watched, judged: bool) -> ProbeOutcome:
        target, check = watched.target, watched.target.check
        try:
            receive = re.compile(check.receive.encode()) if check.receive and judged else None
        except re.error as error:
            return ProbeOutcome(ProbeResult.ERROR, f"receive is no regular expression: {error}")
        timeout = check.negotiatetimeout if judged else check.checktimeout
        server = target.host, target.port
        question = Question(server, target.source, timeout, check.login, receive, judged, self._wait(target))
        probe = Probe(question, self._randomness, self._clock, lambda sent: self._silent(target, sent))
        listening = False
        try:
            outcome = await probe.ask()
            listening = outcome.result is ProbeResult.TIMEOUT
        finally:
            if not listening:
                probe.close()
        if listening:
            self._listen(watched, probe)
        return outcome

    # Late answers.

    def _listen(self, watched: _Watched, probe: Probe) -> None:
        task = asyncio.get_running_loop().create_task(self._late(watched, probe), name=f"late {watched.target.key}")
        watched.late.append(task)
        self._listening[task] = None
        task.add_done_callback(lambda done: self._listened(watched, probe, done))
        if len(self._listening) > LISTENING_AT_MOST:
            next(iter(self._listening)).cancel()

    def _listened(self, watched: _Watched, probe: Probe, task: asyncio.Task[None]) -> None:
        probe.close()
        watched.late.remove(task)
        del self._listening[task]

    async def _late(self, watched: _Watched, probe: Probe) -> None:
        outcome = await probe.late()
        if outcome is not None:
            self._tell(watched, outcome)

    def _stop_listening(self, watched: _Watched) -> None:
        for task in watched.late:
            if task is not asyncio.current_task():
                task.cancel()


def _argv(target: ProbeTarget) -> tuple[str, ...]:
    """ldirectord's: the command, then virtual address and port, real address and port."""
    words = command_words(target.check.checkcommand, target.check.checktype is CheckType.EXTERNAL_PERL)
    return (*words, target.virtual_host, str(target.virtual_port), target.host, str(target.port))
