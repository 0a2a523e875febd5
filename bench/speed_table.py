"""The rows of one speed run in full: all programs, both mixes, each number in flight, the open loop.

Medians over the rounds, [lowest-highest] behind them; void rows are left out, and a ratio is printed only where both
sides have valid rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import TypeVar

from bench.programs import BEST_OF, FORWARD, OURS, OURS_2, OURS_C, PROGRAMS, T_RELAY
from bench.rows import SATURATING, Row

Kept = TypeVar("Kept")
TITLES = {
    "register": "REGISTER and its 200",
    "call": "a call: INVITE, 100, 180, 200, ACK, BYE, 200",
}
RATES = {"register": "registrations/s", "call": "sessions/s"}


def render(rows: Sequence[Row]) -> str:
    """Markdown of one speed run."""
    lines = [
        f"{where(rows[0])} {max(row.round for row in rows)} rounds; median [lowest-highest].",
    ]
    for mix, title in TITLES.items():
        of_mix = [row for row in rows if row.mix == mix]
        lines += ["", f"**{title}**", "", *_saturated(mix, of_mix), "", *_half_load(of_mix), ""]
        lines += [latency_ratio(of_mix, peer, name) for name in _ours(of_mix) for peer in (FORWARD, T_RELAY)]
    if long := list(lasting(rows)):
        lines += ["", *long]
    if faults := list(_faults(rows)):
        lines += ["", *faults]
    return "\n".join(lines) + "\n"


def where(first: Row) -> str:
    """By what the rows were made."""
    return f"Commit {first.commit}, Python {first.python}, {first.machine}, Linux {first.kernel}, {first.time}."


def _saturated(mix: str, rows: Sequence[Row]) -> Iterator[str]:
    yield f"| one core | us CPU/message | 64 in flight | 1 in flight | messages/s | {RATES[mix]} |"
    yield "|---|---|---|---|---|---|"
    for name in names(rows):
        most = of(rows, name, SATURATING)
        cells = [
            spread(most, lambda row: row.cpu_us, ".1f"),
            spread(of(rows, name, 64), lambda row: row.cpu_us, ".1f"),
            spread(of(rows, name, 1), lambda row: row.cpu_us, ".1f"),
            spread(most, lambda row: row.rate, ",.0f"),
            spread(most, lambda row: row.transaction_rate, ",.0f"),
        ]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    for name in _ours(rows):
        for peer in (FORWARD, T_RELAY):
            yield ratio(rows, peer, name)
    yield from by_workers(rows)


def _ours(rows: Sequence[Row]) -> list[str]:
    return [OURS, OURS_C] if any(row.program == OURS_C for row in rows) else [OURS]


def best(rows: Sequence[Row], peer: str) -> list[Row]:
    """The saturated rows of the peer's better way to run: least CPU per message."""
    ways = [found for name in BEST_OF[peer] if (found := of(rows, name, SATURATING))]
    return min(ways, key=lambda found: median(row.cpu_us for row in found), default=[])


def ratio(rows: Sequence[Row], peer: str, name: str = OURS) -> str:
    ours, theirs = of(rows, name, SATURATING), best(rows, peer)
    if not ours or not theirs:
        return f"{name} : {peer}: no ratio, no valid rows of both."
    cpu = median(row.cpu_us for row in ours) / median(row.cpu_us for row in theirs)
    rate = median(row.rate for row in ours) / median(row.rate for row in theirs)
    return f"{name} : {peer} = {cpu:.2f} in CPU per message, {rate:.2f} in messages per second. "


def by_workers(rows: Sequence[Row]) -> Iterator[str]:
    """What it costs to be two processes."""
    one, two = of(rows, OURS, SATURATING), of(rows, OURS_2, SATURATING)
    if one and two:
        share = median(row.cpu_us for row in two) / median(row.cpu_us for row in one)
        yield f"2 workers : 1 = {share:.2f} in CPU per message, both on one core. Scaling over cores: not measured. "


def _half_load(rows: Sequence[Row]) -> Iterator[str]:
    yield "| open loop | offered/s | p50 us | p99 us | us CPU/message | lost |"
    yield "|---|---|---|---|---|---|"
    for name in names(rows):
        for group in _opened(rows, name):
            p50 = spread(group, lambda row: row.p50_us, ",.0f")
            p99 = spread(group, lambda row: row.p99_us, ",.0f")
            cpu = spread(group, lambda row: row.cpu_us, ".1f")
            offered = spread(group, lambda row: row.offered, ",.0f")
            yield f"| {name} | {offered} | {p50} | {p99} | {cpu} | {sum(row.lost for row in group)} |"


def _opened(rows: Sequence[Row], name: str) -> Iterator[list[Row]]:
    """Valid open rows of a program: those of the first offer of each round, then of the second."""
    by_round: dict[int, list[Row]] = {}
    for row in rows:
        if row.loop == "open" and row.program == name:
            by_round.setdefault(row.round, []).append(row)
    for place in range(max(map(len, by_round.values()), default=0)):
        yield [group[place] for group in by_round.values() if place < len(group) and not group[place].void]


def latency_pairs(rows: Sequence[Row], peer: str, name: str = OURS) -> list[tuple[Row, Row]]:
    """Ours and the peer's of the same round under the same load, half of what the peer can do."""
    opened = [row for row in rows if row.loop == "open" and not row.void]
    theirs = {(row.round, row.offered): row for row in opened if row.program == peer}
    ours = [row for row in opened if row.program == name]
    return [(row, other) for row in ours if (other := theirs.get((row.round, row.offered)))]


def latency_ratio(rows: Sequence[Row], peer: str, name: str = OURS) -> str:
    pairs = latency_pairs(rows, peer, name)
    if not pairs:
        return f"Added latency, {name} : {peer}: no ratio, no valid rows of both."
    p50 = median(mine.p50_us / other.p50_us for mine, other in pairs)
    p99 = median(mine.p99_us / other.p99_us for mine, other in pairs)
    return f"Added latency, {name} : {peer} at half of the latter's load = {p50:.2f} at p50, {p99:.2f} at p99. "


def _faults(rows: Sequence[Row]) -> Iterator[str]:
    void = [row for row in rows if row.void]
    if void:
        yield f"{len(void)} of {len(rows)} rows are void:"
        yield from sorted({f"- {row.program}, {row.mix}: {row.void}" for row in void})
    for name in [program.name for program in PROGRAMS if not any(row.program == program.name for row in rows)]:
        yield f"- {name}: not measured."
    for row in rows:
        if row.wrong or (row.lost and row.loop == "closed"):
            place = f"{row.program}, {row.mix}, {row.in_flight} in flight"
            yield f"- {place}: {row.lost} lost, {row.wrong} wrong. {row.note}"


def names(rows: Sequence[Row]) -> list[str]:
    """Programs in the order of the run."""
    return list(dict.fromkeys(row.program for row in rows))


def of(rows: Sequence[Row], name: str, in_flight: int) -> list[Row]:
    """Valid rows of a program with so many in flight."""
    found = [row for row in rows if row.program == name and row.in_flight == in_flight and row.loop == "closed"]
    return [row for row in found if not row.void]


def lasting(rows: Sequence[Row]) -> Iterator[str]:
    """The long measurements, a line each."""
    for row in rows:
        if row.loop == "lasting" and not row.void:
            yield f"{row.program}, REGISTER, {row.seconds:.0f} s: {row.cpu_us:.1f} us, {row.rate:,.0f} messages/s."


def spread(rows: Sequence[Kept], value: Callable[[Kept], float], form: str) -> str:
    """Median [lowest-highest]; void where there is nothing."""
    if not rows:
        return "void"
    values = [value(row) for row in rows]
    return f"{median(values):{form}} [{min(values):{form}}-{max(values):{form}}]"
