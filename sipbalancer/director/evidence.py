"""What real traffic says of a server (design 5.2), beside what probes say.

Evidence of service is an answer to a request *we forwarded*. Silence only makes a server suspect: it brings probes
forward, it never decides alone. Plain numbers, written on the hot path; times are the director's `now`, 0.0 = never.
"""

from __future__ import annotations

from sipbalancer.compiled import mypyc_attr

SHORTEST_WAIT = 0.1
"""Seconds without an answer that are nothing yet."""
LATE = 5.0
"""Seconds in which a late answer to a probe still counts as life."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Evidence:
    """Of one server address; shared by the services that have it."""

    __slots__ = (
        "dialog_answers",
        "heard",
        "heard_new",
        "own",
        "refused",
        "rtt",
        "silent",
        "suspected",
        "unanswered",
        "wait",
    )

    def __init__(self) -> None:
        self.rtt = 0.0
        """Seconds, smoothed over answered probes; 0.0 before the first."""
        self.wait = SHORTEST_WAIT
        """Seconds after which an unanswered request is worth a second look: max(3 x RTT, 100 ms)."""
        self.heard = 0.0
        """The last answer of any kind."""
        self.heard_new = 0.0
        """The last answer to a probe or to a request outside a dialog."""
        self.dialog_answers = 0
        """Answers inside dialogs since it is suspect."""
        self.own = 0.0
        """The last request of its own."""
        self.suspected = 0.0
        """Since when it is suspect; 0.0 = it is not."""
        self.silent = 0.0
        """When the first unanswered probe of the present suspicion was sent."""
        self.unanswered = 0
        """Requests of ours without an answer since it is suspect."""
        self.refused = False
        """An ICMP refusal came since it is suspect."""

    @property
    def sign(self) -> float:
        """The last sign of life: an answer of any kind, or a request of its own."""
        return max(self.heard, self.own)

    def answered(self, in_dialog: bool, now: float) -> None:
        """The server answered a request we forwarded."""
        self.heard = now
        if in_dialog:
            self.dialog_answers += 1
        else:
            self.heard_new = now

    def missed(self, now: float, first: bool = True) -> bool:
        """A request of ours is unanswered after `wait`; True when that makes the server suspect.

        `first`: it has not been counted yet.
        """
        self.unanswered += first
        return self.suspect(now)

    def refusal(self, now: float) -> bool:
        """ICMP says nobody listens; True when that makes the server suspect."""
        self.refused = True
        return self.suspect(now)

    def suspect(self, now: float) -> bool:
        """From now on, if it was not; whether it was not."""
        if self.suspected:
            return False
        self.suspected = now
        self.dialog_answers = 0
        return True

    def probe_silent(self, sent: float) -> None:
        """A probe sent at `sent` is unanswered after `wait`: the server is suspect from then on, if it was not."""
        if not self.silent:
            self.silent = sent
            self.suspect(sent)

    def measured(self, latency: float) -> None:
        """A probe was answered after so many seconds (RFC 6298 2.3's smoothing).

        A server that stood still for a while answers what has waited: that is no round trip, and must not make us slow
        to see it stand still again. So one measurement counts for little more than twice what is known.
        """
        if not self.rtt:
            self.rtt = latency
        else:
            self.rtt = 0.875 * self.rtt + 0.125 * min(latency, 2.0 * self.rtt + SHORTEST_WAIT)
        self.wait = max(3.0 * self.rtt, SHORTEST_WAIT)

    def doubted(self, now: float) -> None:
        """A burst was silent and its word is not enough: still suspect, and what dialogs say is counted on."""
        self.suspected = self.suspected or now

    def settled(self) -> None:
        """The suspicion is over, one way or the other."""
        self.suspected = self.silent = 0.0
        self.unanswered = self.dialog_answers = 0
        self.refused = False

    def silent_since(self, sent: float, now: float) -> bool:
        """Nothing at all was heard since `sent`, and a probe sent after that is silent too (design 5.3 c)."""
        return bool(self.silent) and self.heard < sent and now - max(self.silent, sent) >= self.wait
