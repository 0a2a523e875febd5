"""The README's table from kept rows: `python -m bench.table [FILE.tsv]` (the newest run when none is named).

Medians over the rounds, [lowest-highest] behind them; void rows are left out, and a ratio without a peer's rows is not
printed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

from bench.programs import FORWARD, OURS, PROGRAMS, T_RELAY
from bench.rows import RESULTS, SATURATING, Row, read

TITLES = {
    "register": "REGISTER and its 200",
    "call": "a call: INVITE, 100, 180, 200, ACK, BYE, 200",
}
RATES = {"register": "registrations/s (RFC 7502)", "call": "sessions/s (RFC 7502)"}


def render(rows: Sequence[Row]) -> str:
    """Markdown."""
    first = rows[0]
    lines = [
        f"Commit {first.commit}, Python {first.python}, {first.machine}, Linux {first.kernel}, {first.time}. "
        f"{max(row.round for row in rows)} rounds; median [lowest-highest]."
    ]
    for mix, title in TITLES.items():
        lines += ["", f"**{title}**", "", *_saturated(mix, [row for row in rows if row.mix == mix])]
        lines += ["", *_half_load([row for row in rows if row.mix == mix])]
    if faults := list(_faults(rows)):
        lines += ["", *faults]
    return "\n".join(lines) + "\n"


def _saturated(mix: str, rows: Sequence[Row]) -> Iterator[str]:
    yield f"| one process on one core | us CPU/message | 64 in flight | 1 in flight | messages/s | {RATES[mix]} |"
    yield "|---|---|---|---|---|---|"
    for name in _names(rows):
        most = _of(rows, name, SATURATING)
        cells = [
            _spread(most, lambda row: row.cpu_us, ".1f"),
            _spread(_of(rows, name, 64), lambda row: row.cpu_us, ".1f"),
            _spread(_of(rows, name, 1), lambda row: row.cpu_us, ".1f"),
            _spread(most, lambda row: row.rate, ",.0f"),
            _spread(most, lambda row: row.transaction_rate, ",.0f"),
        ]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    for peer in (FORWARD, T_RELAY):
        yield _ratio(rows, peer)


def _ratio(rows: Sequence[Row], peer: str) -> str:
    ours, theirs = _of(rows, OURS, SATURATING), _of(rows, peer, SATURATING)
    if not ours or not theirs:
        return f"sipbalancer : {peer}: no ratio, no valid rows of both."
    cpu = median(row.cpu_us for row in ours) / median(row.cpu_us for row in theirs)
    rate = median(row.rate for row in ours) / median(row.rate for row in theirs)
    return f"sipbalancer : {peer} = {cpu:.2f} in CPU per message, {rate:.2f} in messages per second. "


def _half_load(rows: Sequence[Row]) -> Iterator[str]:
    yield "| open loop | offered/s | p50 us | p99 us | us CPU/message | lost |"
    yield "|---|---|---|---|---|---|"
    opened = [row for row in rows if row.loop == "open" and not row.void]
    for name in _names(rows):
        mine = [row for row in opened if row.program == name]
        for group in _by_offer(mine):
            p50 = _spread(group, lambda row: row.p50_us, ",.0f")
            p99 = _spread(group, lambda row: row.p99_us, ",.0f")
            cpu = _spread(group, lambda row: row.cpu_us, ".1f")
            offered = _spread(group, lambda row: row.offered, ",.0f")
            yield f"| {name} | {offered} | {p50} | {p99} | {cpu} | {sum(row.lost for row in group)} |"


def _by_offer(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The first offer of each round, then the second: half of forward(), half of t_relay()."""
    by_round: dict[int, list[Row]] = {}
    for row in rows:
        by_round.setdefault(row.round, []).append(row)
    for place in range(max(map(len, by_round.values()), default=0)):
        yield [group[place] for group in by_round.values() if place < len(group)]


def _faults(rows: Sequence[Row]) -> Iterator[str]:
    void = [row for row in rows if row.void]
    if void:
        yield f"{len(void)} of {len(rows)} rows are void:"
        yield from sorted({f"- {row.program}, {row.mix}: {row.void}" for row in void})
    for name in [program.name for program in PROGRAMS if not any(row.program == program.name for row in rows)]:
        yield f"- {name}: not measured."
    for row in rows:
        if row.wrong or (row.lost and row.loop == "closed"):
            where = f"{row.program}, {row.mix}, {row.in_flight} in flight"
            yield f"- {where}: {row.lost} lost, {row.wrong} wrong. {row.note}"


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.program for row in rows))


def _of(rows: Sequence[Row], name: str, in_flight: int) -> list[Row]:
    return [row for row in rows if row.program == name and row.in_flight == in_flight and not row.void]


def _spread(rows: Sequence[Row], value: Callable[[Row], float], form: str) -> str:
    if not rows:
        return "void"
    values = [value(row) for row in rows]
    return f"{median(values):{form}} [{min(values):{form}}-{max(values):{form}}]"


def main(arguments: list[str]) -> int:
    """Print; exit status 1 when there is nothing to print from."""
    paths = [Path(text) for text in arguments] or sorted(RESULTS.glob("speed-*.tsv"))[-1:]
    if not paths:
        sys.stderr.write("bench: no rows in bench/results: run `make bench` first\n")
        return 1
    sys.stdout.write(render([row for path in paths for row in read(path)]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
