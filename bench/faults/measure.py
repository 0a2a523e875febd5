"""From what the phones asked and what the balancer believed to one row of numbers. Pure: reads no clock, no file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.faults.balancers import Belief
from bench.faults.calls import Cuts, Legs
from bench.faults.catalogue import Fault
from bench.faults.phones import RINGING, CallRecord, Op

LOST_AFTER = 32.0
SOON, LATE = 0.5, 2.0
NEXT = 15.0
"""Seconds after the fault's begin in which a failover hurts if it hurts: an average over minutes would hide it."""
UNHURT = frozenset({"up", "starting"})


@dataclass(frozen=True, slots=True)
class Waits:
    """Of one kind of transaction, those under way while the fault lasted (and a little longer)."""

    count: int
    lost: int
    """No final within 32 s of the (last, challenged) transaction, or a final above 299 that no server said."""
    refused: int
    """A final above 299 (401 after credentials too) that a server said."""
    over_half: int
    over_two: int
    worst: float
    """Seconds. What a called phone rings before it answers is no wait."""

    @classmethod
    def of(cls, ops: Sequence[Op], names: frozenset[str], stopped: float) -> Waits:
        waits = [waited(op, stopped) for op in ops]
        return cls(
            len(ops),
            sum(is_lost(op, names) for op in ops),
            sum(is_refused(op, names) for op in ops),
            sum(wait > SOON for wait in waits),
            sum(wait > LATE for wait in waits),
            round(max(waits, default=0.0), 3),
        )


def waited(op: Op, stopped: float) -> float:
    rang = RINGING if op.rang and op.status == 200 else 0.0
    return (op.ended or stopped + LOST_AFTER) - op.began - rang


def is_lost(op: Op, names: frozenset[str]) -> bool:
    if not op.status or op.ended - op.sent > LOST_AFTER:
        return True
    return op.status >= 300 and op.by not in names


def is_refused(op: Op, names: frozenset[str]) -> bool:
    return op.status >= 300 and not is_lost(op, names)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run. Times in seconds; None: never."""

    notice: float | None
    """The longest, where several servers were struck."""
    recover: float | None
    """From the repair to the last server believed up."""
    verdicts: str
    """What was believed from the fault on, in order."""
    false_verdicts: int
    register: Waits
    invite: Waits
    dialog: Waits
    next_register: Waits
    """Those begun up to `NEXT` seconds after the fault."""
    next_invite: Waits
    rung_lost: int
    """Calls, not in `invite`, that rang by a server when it was struck: nobody else can go on with them."""
    cut_healthy: int
    cut_hit: int
    joined: int
    """Dialogs in which a phone was called by a phone, answered."""
    twice: int
    """Calls answered twice."""
    twice_left: int
    """And left so."""
    left_up: int
    """What lives on when every phone has hung up, on servers that were not hit: channels, and phones nobody told."""
    full_calls: int
    """Calls to the extension that answers 503."""
    full_tries: int
    """How often a server's dialplan saw one."""
    full_otherwise: int
    """Of those calls, how many ended otherwise than with the server's 503."""

    def flat(self) -> dict[str, Any]:
        """One level of names, for a row."""
        flat: dict[str, Any] = {}
        for name, value in asdict(self).items():
            if isinstance(value, dict):
                flat |= {f"{name}_{key}": inner for key, inner in value.items()}
            else:
                flat[name] = "" if value is None else round(value, 3) if isinstance(value, float) else value
        return flat


@dataclass(frozen=True, slots=True)
class Moments:
    """When the fault began, when repair was begun and done; which server (address) was struck when."""

    fault: float
    repair: float
    repaired: float
    strikes: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What the run left: the phones' book, the balancer's beliefs, the servers' names by address, channels by name."""

    book: dict[str, Any]
    beliefs: Sequence[Belief]
    names: dict[str, str]
    channels: dict[str, int]
    full_tries: int = 0
    only_down: bool = False
    """This balancer knows no other verdict than up and down."""


def outcome(fault: Fault, moments: Moments, found: Found) -> Outcome:
    ops = [Op(**op) for op in found.book["ops"]]
    known, stopped = frozenset(found.names.values()), found.book["stopped"]
    hit = frozenset(found.names.get(address, "") for address in _addresses(fault.hit, found.names))
    window = [op for op in ops if op.began <= moments.repaired and (not op.ended or op.ended >= moments.fault)]
    full = [op for op in ops if fault.target and f":{fault.target}@" in op.target]
    fair = [op for op in window if op not in full]
    rung = [op for op in fair if hit and op.rang and op.method == "INVITE" and is_lost(op, known)]
    registers = [op for op in fair if op.method == "REGISTER"]
    invites = [op for op in fair if op.method == "INVITE" and not op.in_dialog and op not in rung]
    calls = [CallRecord(**call) for call in found.book["calls"]]
    cuts, legs = Cuts.of(calls, ops, hit), Legs.of(calls, hit)
    true = fault.true | ({"down"} if found.only_down and fault.true else set())
    since = [belief for belief in found.beliefs if belief.at >= moments.fault]
    left = sum(count for name, count in found.channels.items() if name not in hit)
    return Outcome(
        _notice(since, fault, true, moments),
        _recovered(since, moments),
        " ".join(f"{found.names.get(b.server, b.server)}:{b.verdict}@{b.at - moments.fault:.2f}" for b in since),
        sum(_is_false(belief, fault, true) for belief in since),
        Waits.of(registers, known, stopped),
        Waits.of(invites, known, stopped),
        Waits.of([op for op in window if op.in_dialog], known, stopped),
        Waits.of(_soon(registers, moments), known, stopped),
        Waits.of(_soon(invites, moments), known, stopped),
        len(rung),
        cuts.healthy,
        cuts.hit,
        legs.answered,
        legs.twice + found.book["doubles"],
        legs.twice_left,
        left + legs.forsaken,
        len(full),
        found.full_tries,
        sum(op.status != 503 or op.by not in known for op in full),
    )


def _soon(ops: Sequence[Op], moments: Moments) -> list[Op]:
    return [op for op in ops if op.began <= moments.fault + NEXT]


def _addresses(indexes: Iterable[int], names: dict[str, str]) -> list[str]:
    addresses = list(names)
    return [addresses[index] for index in indexes if index < len(addresses)]


def _notice(since: Sequence[Belief], fault: Fault, true: frozenset[str], moments: Moments) -> float | None:
    true_beliefs = [b for b in since if b.server in fault.judged and b.verdict in true]
    if not moments.strikes:
        return next((b.at - moments.fault for b in true_beliefs), None)
    noticed = [
        next((b.at - struck for b in true_beliefs if b.server == server and b.at >= struck), None)
        for struck, server in moments.strikes
    ]
    times = [one for one in noticed if one is not None]
    return max(times) if len(times) == len(noticed) else None


def _recovered(since: Sequence[Belief], moments: Moments) -> float | None:
    ups = [belief.at - moments.repaired for belief in since if belief.verdict == "up" and belief.at >= moments.repair]
    return ups[-1] if ups else None


def _is_false(belief: Belief, fault: Fault, true: frozenset[str]) -> bool:
    return belief.verdict not in UNHURT and not (belief.server in fault.judged and belief.verdict in true)
