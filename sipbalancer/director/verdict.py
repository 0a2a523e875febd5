"""The five verdicts (and no sixth): what the director believes of a server, and what it may be sent."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    STARTING = "starting"
    """Not yet judged, or rising after `down`: nothing new while another server is up."""
    UP = "up"
    DRAINING = "draining"
    """A probe got 503, weight 0, or the operator drains it: its dialogs pass, nothing new."""
    OVERLOADED = "overloaded"
    """Probes silent, dialogs answered: its dialogs only."""
    DOWN = "down"


class ProbeResult(StrEnum):
    """What became of one probe; also the `outcome` label of sipbalancer_probes_total."""

    OK = "ok"
    UNAVAILABLE = "unavailable"
    """A final answer of 503: draining."""
    BAD = "bad"
    """A final answer of 408, 500, 502, 504, or one that `receive` does not match."""
    TIMEOUT = "timeout"
    REFUSED = "refused"
    """ICMP: nobody listens there."""
    ERROR = "error"
    """The probe could not be sent, or an external command could not be run."""


class ProbeOutcome(NamedTuple):
    """One finished probe: `text` is for people ("200 OK", "503 Service Unavailable", "port refused")."""

    result: ProbeResult
    text: str
    latency: float = 0.0
    """Seconds from the answered probe to its answer; 0 where nothing came."""
    probes: int = 1
    """Probes it took: one, or a burst of fresh ones."""
    duration: float = 0.0
    """Seconds from the first of them to this outcome."""
    note: str = ""
    """Of a silence: what else was seen ("cannot be reached: No route to host")."""


class Transition(NamedTuple):
    """A verdict changed: logged once, with its reason."""

    server: str
    old: Verdict
    new: Verdict
    reason: str
    at: float
