"""One burst of probes of one server (design 5.2): when the next one is sent, what an answer means, when it is silence.

A burst is one probe while all is well. Where that stays unanswered fresh ones follow, so that what decides is not one
packet: with 30 % of them lost each way a probe fails with 0.51, twenty in a row with 0.51**20, 1.4e-6.

Pure: the shell sends, waits until `next_at` and hands in what came. Which verdict an outcome makes is `Health`'s.
"""

from __future__ import annotations

import re

from sipbalancer.director.health import judge
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult
from sipbalancer.sip.probe import ProbeIdentity, read_answer

PROBES = 20
"""Unanswered in a row they are silence."""
EVERY = 0.05
"""Seconds between two of them."""
REFUSALS = 2
"""A refusal is believed when it is confirmed: one may be a server that restarts, or a stray ICMP message."""
STALLED = 0.05
"""Seconds we may come late to look. Later than that it was us who stood still, and an answer may lie unread."""


class Burst:
    """Times are of one clock of the caller's, in seconds."""

    def __init__(
        self, wait: float, timeout: float, receive: re.Pattern[bytes] | None = None, judged: bool = True
    ) -> None:
        """`wait`: how long an answer may take (`Evidence.wait`); `timeout`: an upper bound of the whole burst.

        `receive` narrows what is a good answer; not `judged` (checktype connect): any final answer is good.
        """
        self._wait = wait
        self._timeout = self._limit = timeout
        self._receive = receive
        self._judged = judged
        self._sent: dict[str, tuple[ProbeIdentity, float]] = {}  # by branch
        self._begun = self._last = 0.0
        self._refusals = 0
        self._note = ""
        self._told = self._stalled = False

    @property
    def probes(self) -> int:
        """Sent so far."""
        return len(self._sent)

    @property
    def next_at(self) -> float:
        """When to send the next probe, or to take the silence for what it is. 0.0: at once."""
        if not self._sent:
            return 0.0
        alone = len(self._sent) == 1 and not self._refusals
        pause = self._wait if alone or len(self._sent) == PROBES else EVERY
        return min(self._last + pause, self._begun + self._timeout)

    def sent(self, identity: ProbeIdentity, now: float) -> None:
        """A probe leaves."""
        if not self._sent:
            self._begun = now
        self._last = now
        self._sent[identity.branch] = identity, now

    def answer(self, data: bytes, now: float) -> ProbeOutcome | None:
        """What a datagram makes of it; None for what is no final answer to a probe of this burst. Never raises."""
        answer = read_answer(data)
        if answer is None or answer.branch not in self._sent:
            return None
        identity, sent = self._sent[answer.branch]
        said = judge(answer.status, answer.reason, answer.retry_after, data, self._receive)
        if said is None or not answer.answers(identity):
            return None
        result, text = said if self._judged else (ProbeResult.OK, said[1])
        return ProbeOutcome(result, text, now - sent, self.probes, now - self._begun)

    def refused(self, text: str, now: float) -> ProbeOutcome | None:
        """ICMP: nobody listens there; the outcome when that is confirmed."""
        self._refusals += 1
        if self._refusals < REFUSALS:
            return None
        return ProbeOutcome(ProbeResult.REFUSED, text, 0.0, self.probes, now - self._begun)

    def unreachable(self, text: str) -> None:
        """A probe did not get out, or not there. A route may be back in a moment: so it is unanswered, and is said."""
        self._note = text

    def first_silent(self, now: float) -> float | None:
        """When the first probe was sent: told once, when it is unanswered after `wait`."""
        if self._told or not self._sent or now < self._begun + self._wait:
            return None
        self._told = True
        return self._begun

    def silence(self, now: float) -> ProbeOutcome | None:
        """To be asked at `next_at`: the outcome, when no more probes follow."""
        due = self.next_at
        if not self._sent or (len(self._sent) < PROBES and due < self._begun + self._timeout):
            return None
        if now - due > STALLED and not self._stalled:
            self._stalled = True
            self._last = now
            self._timeout = max(self._timeout, now - self._begun + self._wait)
            return None
        return ProbeOutcome(ProbeResult.TIMEOUT, self._silence(now), 0.0, self.probes, now - self._begun, self._note)

    def _silence(self, now: float) -> str:
        if self.probes == 1:
            return self._note or f"no answer within {self._limit:g} s"
        return f"{self.probes} probes unanswered in {now - self._begun:.1f} s"
