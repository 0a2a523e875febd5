"""What the director shows of itself: plain values, taken in one go in the loop, rendered anywhere.

`status`, `/metrics`, `/healthz` and the demo read these and nothing else of the director.
Times are the director's `now` (seconds since the epoch, monotonic within a run).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sipbalancer.director.verdict import Verdict


class Drain(NamedTuple):
    """The drain of one server in one service."""

    leaving: bool
    """It takes nothing new, by whatever means."""
    silent: int | None
    """Calls without session timer whose last INVITE or UPDATE was answered over an hour ago: long calls, or calls
    whose BYE was never seen. None: not counted yet (a round of the pin table's sweep takes up to a minute)."""
    withheld: str
    """Why nothing can be called safe; empty when it can."""
    known_at: float
    """When the reason will be over; 0.0 where nothing is withheld, or for as long as it lasts."""


STAYS = Drain(False, None, "", 0.0)
"""A server that is not being emptied."""


class ServerSnapshot(NamedTuple):
    """One real (or fallback) server of one virtual service."""

    name: str
    """What the operator wrote; `key` when that was an address."""
    key: str
    """`address:port`."""
    verdict: Verdict
    reason: str
    since: float
    latency: float
    """Seconds, the last answered probe; 0 before the first."""
    weight: int
    fallback: bool
    drained: bool
    """By the operator's `drain`."""
    calls: int
    registrations: int
    transactions: int
    """Forwarded requests without a final answer now."""
    requests: Mapping[str, int]
    """Method -> forwarded to this server, first copies and repeats."""
    responses: Mapping[str, int]
    """Class ("1xx" .. "6xx") -> answers from this server."""
    probes: Mapping[str, int]
    """ProbeResult -> count."""
    probe_buckets: tuple[int, ...]
    """Answered probes per bucket of `PROBE_BUCKETS`, not cumulated, one more for +Inf."""
    probe_sum: float
    """Seconds, all answered probes."""
    drain: Drain = STAYS
    full: bool = False
    """At its upper threshold (`u:`): the scheduler passes it over."""

    @property
    def empty(self) -> bool:
        """Nothing that is counted is left on it."""
        return not (self.calls or self.registrations or self.transactions)

    @property
    def safe(self) -> bool:
        """It takes nothing new, nothing is left, and that is known."""
        return self.drain.leaving and self.empty and not self.drain.withheld


class ServiceSnapshot(NamedTuple):
    """One virtual service."""

    key: str
    """`address:port`."""
    scheduler: str
    servers: tuple[ServerSnapshot, ...]
    chosen: Mapping[str, int]
    """transaction, token, call, related, binding, scheduler, fallback, draining, none -> count."""
    dropped: Mapping[str, int]
    """Reason -> datagrams that went nowhere, or were answered with an error of ours."""
    pins: Mapping[str, int]
    """transaction, provisional, call, binding -> held now."""
    notes: tuple[str, ...]
    """What the operator must know: address not on this host, small buffers ..."""
    standby: bool = False
    """The virtual address is not on this host: another has it."""
    resort: tuple[str, ...] = ()
    """Draining servers that get what is new, as nobody else takes work."""


class Snapshot(NamedTuple):
    now: float
    started: float
    services: tuple[ServiceSnapshot, ...]
    reloads: Mapping[str, int]
    """`ok` and `failed` -> count."""


PROBE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class ContactSnapshot(NamedTuple):
    """One Contact of an AoR, for `where`."""

    uri: str
    client: str
    """`address:port` the phone's REGISTER came from."""
    expires: float
    """Seconds left."""


class WhereSnapshot(NamedTuple):
    """Where an AoR lives."""

    aor: str
    virtual: str
    server: str
    contacts: tuple[ContactSnapshot, ...]
    expires: float
    """Seconds left of the binding pin."""
