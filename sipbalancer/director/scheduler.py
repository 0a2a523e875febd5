"""Schedulers: which server gets what nobody has pinned. IPVS's, with IPVS's meanings, and `hash`.

Each is one function `(eligible, state, key) -> server` in `SCHEDULERS`; None only when `eligible` is empty. Nothing
here asks the time or draws a random number: the same pool, state and key give the same server.

`eligible` holds servers that take new work, each with weight > 0, in the order of the file; it is published anew
whenever its content or a weight changes, so what is computed from it is kept for as long as it is the same tuple.
A connection is a call or a registration; all of them are active in IPVS's sense (its lc and wlc count 256 for an active
one and 1 for an inactive one: a common factor here). `key` is a 64-bit integer that only sh, dh and hash look at.

Facts about IPVS from net/netfilter/ipvs/ip_vs_{rr,wrr,lc,wlc,sed,nq,sh,dh}.c.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from math import gcd, log
from typing import Protocol, TypeVar

from sipbalancer.compiled import mypyc_attr
from sipbalancer.config.model import Scheduler

_UNIT = 2.0**-53
_64 = 0xFFFFFFFFFFFFFFFF


class Candidate(Protocol):
    """What a scheduler wants to know of a server."""

    @property
    def key(self) -> str:
        """Its name, by which a cursor finds it again in a changed pool."""

    @property
    def weight(self) -> int: ...

    @property
    def connections(self) -> int: ...

    @property
    def seed(self) -> int:
        """64-bit hash of its identity, the same in every process (for `hash`)."""


C = TypeVar("C", bound=Candidate)


@mypyc_attr(allow_interpreted_subclasses=True)
class SchedulerState:
    """What one virtual service's scheduler remembers; also across a change of scheduler."""

    __slots__ = ("level", "place", "pool", "ring", "shares", "step", "top", "weighed")

    def __init__(self) -> None:
        self.pool: tuple[Candidate, ...] = ()
        """rr, wrr: the pool at the last choice."""
        self.place = -1
        """rr, wrr: who was chosen last, as an index of `pool`; -1 before the first."""
        self.weighed: tuple[Candidate, ...] = ()
        """wrr: the servers `step` and `top` belong to."""
        self.level = self.step = self.top = 0
        """wrr: the weight needed in this pass, what each pass lowers it by, where it starts anew."""
        self.ring: tuple[Candidate, ...] = ()
        """sh, dh: the servers `shares` belongs to."""
        self.shares: list[int] = []
        """sh, dh: running sums of the weights."""


class Schedule(Protocol):
    """A scheduler. `state` belongs to one virtual service and is changed by each choice."""

    def __call__(self, eligible: tuple[C, ...], state: SchedulerState, key: int, /) -> C | None: ...


def rr(eligible: tuple[C, ...], state: SchedulerState, key: int) -> C | None:
    """Round robin: each in turn, whatever its weight; a change of the pool does not move the turn."""
    if not eligible:
        return None
    if eligible is not state.pool:
        _follow(eligible, state)
    state.place = place = (state.place + 1) % len(eligible)
    return eligible[place]


def wrr(eligible: tuple[C, ...], state: SchedulerState, key: int) -> C | None:
    """Weighted round robin: passes over the servers with a weight of at least `level`, which falls by the gcd.

    A cycle of sum(weights) / gcd choices gives each server exactly weight / gcd of them. IPVS starts at the head of the
    list after each change of the pool; here the turn stays, or a pool that changes often would favour its head.
    """
    if not eligible:
        return None
    if eligible is not state.pool:
        _follow(eligible, state)
    if eligible is not state.weighed:
        _set_levels(eligible, state)
    count = len(eligible)
    place = state.place
    while True:
        place += 1
        if place == count:
            place = 0
            state.level -= state.step
            if state.level <= 0:
                state.level = state.top
        if eligible[place].weight >= state.level:
            state.place = place
            return eligible[place]


def lc(eligible: tuple[C, ...], state: SchedulerState, key: int) -> C | None:
    """Least connections, whatever the weights; among equals the first of the file."""
    return min(eligible, key=_connections, default=None)


def wlc(eligible: tuple[C, ...], state: SchedulerState, key: int) -> C | None:
    """Weighted least connections: the lowest connections / weight; among equals the first of the file."""
    return _least(eligible, 0)


def sed(eligible: tuple[C, ...], state: SchedulerState, key: int) -> C | None:
    """Shortest expected delay: the lowest (connections + 1) / weight; among equals the first of the file."""
    return _least(eligible, 1)


def nq(eligible: tuple[C, ...], state: SchedulerState, key: int) -> C | None:
    """Never queue: the first server that is idle (no connection at all), else as sed."""
    for server in eligible:
        if not server.connections:
            return server
    return _least(eligible, 1)


def sh(eligible: tuple[C, ...], state: SchedulerState, key: int) -> C | None:
    """Source hashing; `key`: hash of the client's address. A table of 256 places, dealt out by weight, over and over.

    As IPVS where the weights fit into its table. IPVS deals weights of 100 and 100 as 156 and 100 of 256 places and
    nothing at all to servers beyond the 256th; here weights are divided by their gcd, and weights that still sum up to
    more than 256 get a table as large as they need. When the pool changes, most clients move (`hash` moves few).
    """
    if not eligible:
        return None
    if eligible is not state.ring:
        common = gcd(*(server.weight for server in eligible))
        state.ring = eligible
        state.shares = list(accumulate(server.weight // common for server in eligible))
    total = state.shares[-1]
    place = key & 0xFF if total <= 256 else key & 0xFFFFFFFFFFFF
    return eligible[bisect_right(state.shares, place % total)]


def dh(eligible: tuple[C, ...], state: SchedulerState, key: int) -> C | None:
    """Destination hashing; `key`: hash of whom the request is for (every client has the same destination address).

    As sh, weights included; IPVS's dh deals to each server alike.
    """
    return sh(eligible, state, key)


def hash_(eligible: tuple[C, ...], state: SchedulerState, key: int) -> C | None:
    """Weighted rendezvous; `key`: hash of the AoR. Each server draws a lot from the key; the best lot / weight wins.

    A server's lots do not depend on the others: when it goes, its share alone moves, spread evenly by weight; when it
    comes back, it gets just that share back. Cost: 0.4 us a server (300 servers: 0.1 ms), needs no state.
    """
    best: C | None = None
    least = 0.0
    for server in eligible:
        delay = -log(((_mix(key ^ server.seed) >> 11) + 0.5) * _UNIT) / server.weight
        if best is None or delay < least:
            best, least = server, delay
    return best


SCHEDULERS: dict[Scheduler, Schedule] = {
    Scheduler.RR: rr,
    Scheduler.WRR: wrr,
    Scheduler.LC: lc,
    Scheduler.WLC: wlc,
    Scheduler.SED: sed,
    Scheduler.NQ: nq,
    Scheduler.SH: sh,
    Scheduler.DH: dh,
    Scheduler.HASH: hash_,
}


def _mix(number: int) -> int:
    """64 bits to 64 bits, each depending on all (MurmurHash3's finalizer); Python's `hash` may change."""
    number = (number ^ number >> 33) * 0xFF51AFD7ED558CCD & _64
    number = (number ^ number >> 33) * 0xC4CEB9FE1A85EC53 & _64
    return number ^ number >> 33


def _connections(server: Candidate) -> int:
    return server.connections


def _least(eligible: tuple[C, ...], more: int) -> C | None:
    """The first server with the lowest (connections + more) / weight, compared without dividing."""
    best: C | None = None
    weight = load = 0
    for server in eligible:
        its = server.connections + more
        if best is None or load * server.weight > its * weight:
            best, weight, load = server, server.weight, its
    return best


def _follow(eligible: tuple[Candidate, ...], state: SchedulerState) -> None:
    """Point into the new pool: at who was chosen last or, if gone, at the nearest before it that stayed."""
    now = {server.key: place for place, server in enumerate(eligible)}
    before = [server.key for server in state.pool[state.place :: -1]] if state.place >= 0 else []
    state.place = next((now[key] for key in before if key in now), -1)
    state.pool = eligible


def _set_levels(eligible: tuple[Candidate, ...], state: SchedulerState) -> None:
    """Go on at the level reached, or the nearest below that these weights have; levels are top, top - step, ... 1."""
    weights = [server.weight for server in eligible]
    state.step = gcd(*weights)
    state.top = max(weights) - state.step + 1
    state.level = min((state.level - 1) // state.step * state.step + 1, state.top)
    if state.level <= 0:
        state.level = state.top
    state.weighed = eligible
