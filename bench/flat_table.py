"""The rows of bench.flat as tables. A cost is set against the smallest bed of its own round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from bench.flat_rows import CostRow, MemoryRow
from bench.speed_table import spread

Bed = tuple[int, int]
"""Registrations, servers."""
FEW_SERVERS = 3
"""What the beds of the first question have."""


def by_registrations(rows: Sequence[CostRow]) -> list[Bed]:
    """The beds of the question: what does a message cost with more registrations? Fewest first."""
    return sorted({(row.registrations, row.servers) for row in rows if row.servers == FEW_SERVERS})


def by_servers(rows: Sequence[CostRow]) -> list[Bed]:
    """The beds of the question: and with more servers? Fewest first; none where only one number was measured."""
    registrations = {row.registrations for row in rows if row.servers != FEW_SERVERS}
    return sorted({(row.registrations, row.servers) for row in rows if row.registrations in registrations})


def of_bed(rows: Sequence[CostRow], bed: Bed, mix: str) -> dict[int, CostRow]:
    """Round -> its valid row."""
    return {
        row.round: row for row in rows if (row.registrations, row.servers) == bed and row.mix == mix and not row.void
    }


def ratio(rows: Sequence[CostRow], bed: Bed, first: Bed, mix: str) -> float | None:
    """Median over the rounds of a bed's cost by that of the first one; None without valid rows of both."""
    ours, base = of_bed(rows, bed, mix), of_bed(rows, first, mix)
    both = ours.keys() & base.keys()
    return median(ours[each].cpu_us / base[each].cpu_us for each in both) if both else None


def flat_cost(rows: Sequence[CostRow]) -> Iterator[str]:
    yield "| registrations | servers | REGISTER, us CPU/message | : first | a call, us CPU/message | : first |"
    yield "|---|---|---|---|---|---|"
    for beds in (by_registrations(rows), by_servers(rows)):
        for bed in beds if len(beds) > 1 else []:
            cells = [f"{bed[0]:,}", str(bed[1])]
            for mix in ("register", "call"):
                cells.append(spread(list(of_bed(rows, bed, mix).values()), lambda row: row.cpu_us, ".1f"))
                share = ratio(rows, bed, beds[0], mix)
                cells.append("no ratio" if share is None else f"{share:.2f}")
            yield f"| {' | '.join(cells)} |"


def flat_memory(rows: Sequence[MemoryRow]) -> Iterator[str]:
    yield "| memory of | bytes per registration | how |"
    yield "|---|---|---|"
    for row in rows:
        grown = f"{row.first:,} to {row.last:,}: " if row.first else ""
        yield f"| {row.what} | {row.per_registration:.0f} | {grown}{row.note} |"
