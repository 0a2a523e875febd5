"""Rise and fall: from probe outcomes to verdicts (design 5), as a pure state machine.

Here: what one probe's answer means (`judge`), what a row of outcomes means (`Health`), and which priority
group works (`first_group`). Never here: what else the verdict of a server depends on (weight 0, `drain`,
`maintenancedir`), which is the table's, and times as text: a reason carries facts, the shell formats `since`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable
from typing import TypeVar

from sipbalancer.compiled import mypyc_attr
from sipbalancer.config.model import CheckConfig, CheckType, RealServerConfig
from sipbalancer.director.evidence import Evidence
from sipbalancer.director.snapshot import PROBE_BUCKETS
from sipbalancer.director.twin import deep_twin
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult, Transition, Verdict

T = TypeVar("T")

SICK = frozenset({408, 500, 502, 504})
"""Final answers of a server that cannot work; 503 is apart: it is going, not gone."""
ANSWERED = frozenset({ProbeResult.OK, ProbeResult.UNAVAILABLE, ProbeResult.BAD})
FAILED = frozenset({ProbeResult.BAD, ProbeResult.TIMEOUT, ProbeResult.REFUSED})
"""What counts towards `failurecount`. ERROR is not here: it says something of us, nothing of the server."""


OVERLOAD_ANSWERS = 2
"""Answers inside dialogs that make a server with silent probes overloaded and not down."""
FLAP_MEMORY = 300.0
"""Seconds a fall is remembered."""
FLAPS_FREE = 2
"""Falls within that time that cost nothing."""
FLAP_HOLD = 2.0
"""Seconds the hold begins with (times 2 for the first excess fall, 4 for the second ...)."""
LONGEST_HOLD = 120.0
BUT_ALIVE = ", but its own requests arrive: firewall or fail2ban on the server?"


def judge(
    status: int, reason_phrase: str, retry_after: int | None, whole: bytes, receive: re.Pattern[bytes] | None
) -> tuple[ProbeResult, str] | None:
    """What one answer to a probe means, and its text for people; None for 1xx, which is nothing.

    `whole` is the datagram, `receive` the operator's pattern on it (None: any). It narrows what is up and
    nothing else: a 503 is draining whatever the pattern says.
    """
    if status < 200:
        return None
    text = f"{status} {reason_phrase}".rstrip()
    if status == 503:
        return ProbeResult.UNAVAILABLE, text if retry_after is None else f"{text}, Retry-After {retry_after}"
    if status in SICK:
        return ProbeResult.BAD, text
    if receive is not None and receive.search(whole) is None:
        return ProbeResult.BAD, f"{text}, not matched by receive"
    return ProbeResult.OK, text


def check_of(check: CheckConfig, real: RealServerConfig) -> CheckConfig:
    """The service's check with what this server's own `real=` line says otherwise."""
    own = {"request": real.request, "receive": real.receive}
    said = {name: value for name, value in own.items() if value}
    return check.model_copy(update=said) if said else check


PACE = ("checkinterval", "negotiatetimeout", "checktimeout", "checkcount", "failurecount", "risecount")
"""Words that say how often and how patiently a server is asked, not what."""


def same_question(one: CheckConfig, other: CheckConfig) -> bool:
    """Whether an answer under one check means the same under the other."""
    return one.model_copy(update={word: getattr(other, word) for word in PACE}) == other


def first_group(items: tuple[T, ...], priority: Callable[[T], int], works: Callable[[T], bool]) -> tuple[T, ...]:
    """The working members of the lowest-numbered priority group that has any (RFC 2782), in their order."""
    working = tuple(item for item in items if works(item))
    if not working:
        return ()
    first = min(priority(item) for item in working)
    return tuple(item for item in working if priority(item) == first)


@mypyc_attr(allow_interpreted_subclasses=True)
class Row:
    """Silent bursts in a row, for the reason: how many probes and requests, since when."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self._probes = self._requests = 0
        self._begun = 0.0

    def add(self, outcome: ProbeOutcome, evidence: Evidence, begun: float) -> None:
        if not self._probes:
            self._begun = min(begun, evidence.suspected) if evidence.suspected else begun
        self._probes += outcome.probes
        self._requests += evidence.unanswered

    def text(self, now: float) -> str:
        requests = f" and {self._requests} requests" if self._requests else ""
        return f"{self._probes} probes{requests} unanswered in {now - self._begun:.1f} s"


@mypyc_attr(allow_interpreted_subclasses=True)
class Health:
    """What is believed of one server address under one check. Shared by all services that ask the same."""

    def __init__(self, key: str, check: CheckConfig, now: float) -> None:
        self.key = key
        self.check = check
        self.evidence = Evidence()
        self.refused = False
        """Down because the port refused, and no answer since: nobody can be there. Silence takes none of that back."""
        self.undecided = False
        """The last burst was silent and yet something was heard: ask again at once."""
        self.verdict = Verdict.STARTING
        self.reason = "not yet probed"
        self.since = now
        self.latency = 0.0
        """Seconds, the last answered probe."""
        self.probes: dict[ProbeResult, int] = dict.fromkeys(ProbeResult, 0)
        self.probe_buckets = [0] * (len(PROBE_BUCKETS) + 1)
        """Answered probes per bucket of PROBE_BUCKETS, not cumulated, the last for +Inf."""
        self.probe_sum = 0.0
        self.failures = 0
        """In a row."""
        self.successes = 0
        """In a row."""
        self._falls: list[float] = []
        self._held_until = 0.0
        self._rising = False  # has been down: risecount good answers before it takes work again
        self._silent = 0  # of the failures in a row, the last so many were silence
        self._row = Row()
        if check.checktype is CheckType.ON:
            self._become(Verdict.UP, "checktype = on", now)
        elif check.checktype is CheckType.OFF:
            self._become(Verdict.DOWN, "checktype = off", now)

    def at_pace(self, check: CheckConfig) -> Health:
        """All that is known so far, under a check that asks the same question at another pace."""
        other: Health = deep_twin(self, {})
        other.check = check
        other.undecided = False
        other.evidence.settled()  # the burst that would have judged a suspect ends with the old check
        return other

    def probe_result(self, outcome: ProbeOutcome, now: float) -> Transition | None:
        """Take one finished probe (or burst of probes); the transition when it changed the verdict."""
        self._count(outcome)
        self.undecided = False
        transition = self._judged(outcome, now)
        if outcome.result is not ProbeResult.ERROR and not self.undecided:
            self.evidence.settled()
        return transition

    def _judged(self, outcome: ProbeOutcome, now: float) -> Transition | None:
        if outcome.result is ProbeResult.OK:
            return self._good(outcome.text, now)
        if outcome.result is ProbeResult.UNAVAILABLE:
            return self._leaving(outcome.text, now)
        if outcome.result is ProbeResult.TIMEOUT and outcome.probes > 1:
            return self._silent_burst(outcome, now)
        if outcome.result in FAILED:
            return self._failed(outcome, now)
        if self.verdict is Verdict.STARTING:
            self.reason = outcome.text
        return None

    def _silent_burst(self, outcome: ProbeOutcome, now: float) -> Transition | None:
        """Many fresh probes and no answer: what traffic says decides (design 5.2)."""
        evidence, begun = self.evidence, now - outcome.duration
        if evidence.heard_new >= begun:
            return None  # it serves; something eats the probes
        if evidence.dialog_answers >= OVERLOAD_ANSWERS:
            self.successes = 0
            return self._become(Verdict.OVERLOADED, f"{outcome.probes} probes unanswered, its dialogs are served", now)
        if evidence.heard >= begun:
            self.undecided = True
            evidence.doubted(now)
            return None
        self._row.add(outcome, evidence, begun)
        return self._failed(outcome._replace(text=self._row.text(now)), now)

    def _is_alive(self, outcome: ProbeOutcome, now: float) -> bool:
        """Whether requests of its own arrive while ours are not answered."""
        begun = now - outcome.duration
        return self.evidence.own >= (min(self.since, begun) if self.verdict is Verdict.DOWN else begun)

    def _count(self, outcome: ProbeOutcome) -> None:
        self.probes[outcome.result] += outcome.probes
        if outcome.result in ANSWERED:
            self.evidence.measured(outcome.latency)
            self.latency = outcome.latency
            self.probe_sum += outcome.latency
            self.probe_buckets[bisect_left(PROBE_BUCKETS, outcome.latency)] += 1

    def _good(self, text: str, now: float) -> Transition | None:
        self.failures = self._silent = 0
        self._row.clear()
        self.successes += 1
        self.evidence.heard = self.evidence.heard_new = now
        if self._rising and self.successes < self.check.risecount:
            return self._become(
                Verdict.STARTING, f"{self.successes} of {self.check.risecount} good answers after down", now
            )
        if self._rising and now < self._held_until:
            return self._become(Verdict.STARTING, self._held_back(now), now)
        self._rising = False
        return self._become(Verdict.UP, text, now)

    def _held_back(self, now: float) -> str:
        return f"held back {self._held_until - now:.0f} s more: down {len(self._falls)} times in {FLAP_MEMORY:.0f} s"

    def _leaving(self, text: str, now: float) -> Transition | None:
        """A 503 is an answer, so no failure; nor is it a good one."""
        self.evidence.heard = now
        self.failures = self.successes = self._silent = 0
        self._row.clear()
        return self._become(Verdict.DRAINING, text, now)

    def _failed(self, outcome: ProbeOutcome, now: float) -> Transition | None:
        self.successes = 0
        self.failures += 1
        self._silent = self._silent + 1 if outcome.result is ProbeResult.TIMEOUT else 0
        alive = outcome.result is not ProbeResult.BAD and self._is_alive(outcome, now)
        why = self._why(outcome) + (BUT_ALIVE if alive else f": {outcome.note}" if outcome.note else "")
        if not self._rising and self.failures < self.check.failurecount:
            if self.verdict is Verdict.STARTING:
                self.reason = why
            return None
        self._fell(now)
        still = self.refused and self.verdict is Verdict.DOWN and outcome.result is ProbeResult.TIMEOUT
        self.refused = (outcome.result is ProbeResult.REFUSED or still) and not alive
        return self._become(Verdict.DOWN, why, now)

    def _fell(self, now: float) -> None:
        """Flap damping: who falls again and again waits longer each time before it takes work."""
        if self._rising:
            return
        self._rising = True
        self._falls = [*(at for at in self._falls if now - at < FLAP_MEMORY), now]
        excess = len(self._falls) - FLAPS_FREE
        self._held_until = now + min(FLAP_HOLD * 2**excess, LONGEST_HOLD) if excess > 0 else now

    def _why(self, outcome: ProbeOutcome) -> str:
        if self.failures == 1 or outcome.probes > 1:
            return outcome.text
        if self._silent == self.failures:
            return f"{self.failures} probes unanswered"
        return f"{self.failures} probes failed, the last: {outcome.text}"

    def _become(self, verdict: Verdict, reason: str, now: float) -> Transition | None:
        """The reason is kept fresh; `since` and the transition belong to a change of verdict."""
        old, self.verdict, self.reason = self.verdict, verdict, reason
        if old is verdict:
            return None
        self.since = now
        return Transition(self.key, old, verdict, reason, now)
