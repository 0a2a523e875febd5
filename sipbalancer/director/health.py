"""Rise and fall: from probe outcomes to verdicts (design 5), as a pure state machine."""

from __future__ import annotations

from sipbalancer.config.model import CheckConfig
from sipbalancer.director.verdict import ProbeOutcome, Transition, Verdict


class Health:
    """What is believed of one server address under one check. Shared by all services that ask the same."""

    def __init__(self, key: str, check: CheckConfig, now: float) -> None:
        self.key = key
        self.check = check
        self.verdict = Verdict.STARTING
        self.reason = "not yet probed"
        self.since = now
        self.latency = 0.0

    def probe_result(self, outcome: ProbeOutcome, now: float) -> Transition | None:
        """Take one finished probe; the transition when it changed the verdict."""
        raise NotImplementedError
