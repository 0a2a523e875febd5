"""From what the phones asked and what the balancer believed to one row of numbers. Pure: reads no clock, no file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.faults.balancers import Belief
from bench.faults.catalogue import Fault
from bench.faults.phones import CallRecord, Op

LOST_AFTER = 32.0
SOON, LATE = 0.5, 2.0
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
    """Seconds."""

    @classmethod
    def of(cls, ops: Sequence[Op], names: frozenset[str], stopped: float) -> Waits:
        waits = [(op.ended or stopped + LOST_AFTER) - op.began for op in ops]
        return cls(
            len(ops),
            sum(is_lost(op, names) for op in ops),
            sum(is_refused(op, names) for op in ops),
            sum(wait > SOON for wait in waits),
            sum(wait > LATE for wait in waits),
            round(max(waits, default=0.0), 3),
        )


def is_lost(op: Op, names: frozenset[str]) -> bool:
    if not op.status or op.ended - op.sent > LOST_AFTER:
        return True
    return op.status >= 300 and op.by not in names


def is_refused(op: Op, names: frozenset[str]) -> bool:
    return op.status >= 300 and not is_lost(op, names)


def is_cut(call: CallRecord, ops: Iterable[Op]) -> bool:
    """An answered call that ended otherwise than its caller wished, or was told it does not exist (12.2.1.2).

    What it is told after its own BYE cuts nothing: that call was over.
    """
    if not call.answered:
        return False
    told = any(op.in_dialog and op.ended and op.ended <= call.ended and op.status in (0, 408, 481) for op in ops)
    return told or call.ending == "peer hung up"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run. Times in seconds; None: never."""

    notice: float | None
    recover: float | None
    """From the repair to the last server believed up."""
    verdicts: str
    """What was believed from the fault on, in order."""
    false_verdicts: int
    register: Waits
    invite: Waits
    dialog: Waits
    cut_healthy: int
    cut_hit: int
    doubles: int
    left_up: int
    """Channels that live on when every phone has hung up, on servers that were not hit."""

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
    """When the fault began, when repair was begun and done."""

    fault: float
    repair: float
    repaired: float


def outcome(
    fault: Fault,
    moments: Moments,
    book: dict[str, Any],
    beliefs: Sequence[Belief],
    names: dict[str, str],
    channels: dict[str, int],
    *,
    only_down: bool,
) -> Outcome:
    """`names`: of servers by address. `only_down`: this balancer knows no other verdict than up and down."""
    ops = [Op(**op) for op in book["ops"]]
    known = frozenset(names.values())
    hit = {names.get(address, "") for address in _addresses(fault.hit, names)}
    window = [op for op in ops if op.began <= moments.repaired and (not op.ended or op.ended >= moments.fault)]
    fair = [op for op in window if not (fault.target and f":{fault.target}@" in op.target)]
    cut = _cut(book, ops)
    true = fault.true | ({"down"} if only_down and fault.true else set())
    since = [belief for belief in beliefs if belief.at >= moments.fault]
    return Outcome(
        _notice(since, fault, true, moments),
        _recovered(since, moments),
        " ".join(f"{names.get(b.server, b.server)}:{b.verdict}@{b.at - moments.fault:.2f}" for b in since),
        sum(_is_false(belief, fault, true) for belief in since),
        Waits.of([op for op in fair if op.method == "REGISTER"], known, book["stopped"]),
        Waits.of([op for op in fair if op.method == "INVITE" and not op.in_dialog], known, book["stopped"]),
        Waits.of([op for op in window if op.in_dialog], known, book["stopped"]),
        sum(call.server not in hit for call in cut),
        sum(call.server in hit for call in cut),
        book["doubles"],
        sum(count for name, count in channels.items() if name not in hit),
    )


def _addresses(indexes: Iterable[int], names: dict[str, str]) -> list[str]:
    addresses = list(names)
    return [addresses[index] for index in indexes if index < len(addresses)]


def _cut(book: dict[str, Any], ops: Sequence[Op]) -> list[CallRecord]:
    by_call: dict[str, list[Op]] = {}
    for op in ops:
        by_call.setdefault(op.call_id, []).append(op)
    calls = [CallRecord(**call) for call in book["calls"]]
    return [call for call in calls if is_cut(call, by_call.get(call.call_id, ()))]


def _notice(since: Sequence[Belief], fault: Fault, true: frozenset[str], moments: Moments) -> float | None:
    found = (b.at - moments.fault for b in since if b.server in fault.judged and b.verdict in true)
    return next(found, None)


def _recovered(since: Sequence[Belief], moments: Moments) -> float | None:
    ups = [belief.at - moments.repaired for belief in since if belief.verdict == "up" and belief.at >= moments.repair]
    return ups[-1] if ups else None


def _is_false(belief: Belief, fault: Fault, true: frozenset[str]) -> bool:
    return belief.verdict not in UNHURT and not (belief.server in fault.judged and belief.verdict in true)
