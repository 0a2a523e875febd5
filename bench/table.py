"""Tables from kept rows: `python -m bench.table [FILE.tsv ...] [--write README.md]`.

Without a file: the newest of each kind in bench/results. Printed in full, or with --write the short form of the newest
ones is put between the markers of that file, and nothing else of it changes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from bench import rows
from bench.flat_rows import CostRow, MemoryRow
from bench.flat_table import by_registrations, by_servers, flat_cost, flat_memory, of_bed, ratio
from bench.kept import Kept
from bench.overload import Row as StormRow
from bench.pool_rows import PoolRow, pool_table
from bench.programs import BEST_OF, BLIND, BOUND, FORWARD, OURS, OURS_2, OURS_C, T_RELAY
from bench.rows import SATURATING, Row
from bench.speed_table import best, lasting, latency_pairs, of, render, where
from bench.worker_rows import WorkerRow, worker_table

BEGIN = "<!-- bench: made by `python -m bench.table --write README.md` -->"
END = "<!-- bench: end -->"
SHOWN = (OURS, OURS_C, OURS_2, *BEST_OF[FORWARD], *BEST_OF[T_RELAY], BLIND, BOUND)


# The README's.


def short(kept: Kept) -> str:
    """What stands between the markers."""
    parts = [
        list(_speed(kept.speed)) if kept.speed else [],
        list(worker_table(kept.workers)) if kept.workers else [],
        list(_flat(kept.flat)) if kept.flat else [],
        list(_memory(kept.memory)) if kept.memory else [],
        list(pool_table(kept.pool)) if kept.pool else [],
        list(_overload(kept.overload)) if kept.overload else [],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _speed(kept: Sequence[Row]) -> Iterator[str]:
    yield f"{where(kept[0])} Medians of {max(row.round for row in kept)} paired rounds."
    yield ""
    yield (
        "| one core, 256 in flight | REGISTER: us CPU/message | messages/s | registrations/s "
        "| call: us CPU/message | messages/s | sessions/s |"
    )
    yield "|---|---|---|---|---|---|---|"
    for name in SHOWN:
        cells = [cell for mix in ("register", "call") for cell in _saturated(kept, name, mix)]
        if any(row.program == name for row in kept):
            yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    for name in (OURS, OURS_C):
        if name == OURS or any(row.program == name for row in kept):
            yield from _comparison(kept, name)
    yield "- Latency: what a message takes more, open loop, at half of the load that saturates that Kamailio."
    for mix, title in (("register", "REGISTERs"), ("call", "calls")):
        costs = list(_at_half_load([row for row in kept if row.mix == mix]))
        if costs:
            yield f"- CPU per message at half of forward()'s load, {title}: {', '.join(costs)}."
    yield from (f"- {line}" for line in lasting(kept))


def _comparison(kept: Sequence[Row], name: str) -> Iterator[str]:
    yield (
        f"| {name} by the better Kamailio | CPU per message, REGISTER | call | messages/s, REGISTER | call "
        "| added latency p50, REGISTER | call | p99, REGISTER | call |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for peer in (FORWARD, T_RELAY):
        yield f"| {peer} | {' | '.join(_ratios(kept, peer, name))} |"
    yield ""


def _at_half_load(kept: Sequence[Row]) -> Iterator[str]:
    """What also is valid of a program that the load cannot saturate."""
    offers = {(row.round, row.offered) for row in kept if row.program == FORWARD and row.loop == "open"}
    for name in (OURS, OURS_C, FORWARD, BLIND, BOUND):
        found = [
            row.cpu_us for row in kept if row.program == name and (row.round, row.offered) in offers and not row.void
        ]
        if found:
            yield f"{name} {median(found):.1f} us"


def _saturated(kept: Sequence[Row], name: str, mix: str) -> list[str]:
    found = of([row for row in kept if row.mix == mix], name, SATURATING)
    if not found:
        return ["void", "void", "void"]
    return [
        f"{median(row.cpu_us for row in found):.1f}",
        f"{median(row.rate for row in found):,.0f}",
        f"{median(row.transaction_rate for row in found):,.0f}",
    ]


def _ratios(kept: Sequence[Row], peer: str, name: str) -> Iterator[str]:
    mixes = [[row for row in kept if row.mix == mix] for mix in ("register", "call")]
    pairs = [(of(mix, name, SATURATING), best(mix, peer)) for mix in mixes]
    for field in ("cpu_us", "rate"):
        for ours, theirs in pairs:
            yield _divided([getattr(row, field) for row in ours], [getattr(row, field) for row in theirs])
    for field in ("p50_us", "p99_us"):
        for mix in mixes:
            shares = [getattr(mine, field) / getattr(other, field) for mine, other in latency_pairs(mix, peer, name)]
            yield f"{median(shares):.2f}" if shares else "no ratio"


def _divided(ours: Sequence[float], theirs: Sequence[float]) -> str:
    return f"{median(ours) / median(theirs):.2f}" if ours and theirs else "no ratio"


def _flat(kept: Sequence[CostRow]) -> Iterator[str]:
    yield "| CPU per message by that of the first | REGISTER | call |"
    yield "|---|---|---|"
    for beds, word in ((by_registrations(kept), "registrations"), (by_servers(kept), "servers")):
        for bed in beds if len(beds) > 1 else []:
            count = bed[0] if word == "registrations" else bed[1]
            cells = []
            for mix in ("register", "call"):
                found = of_bed(kept, bed, mix).values()
                share = ratio(kept, bed, beds[0], mix)
                cells.append(
                    f"{share:.2f} ({median(row.cpu_us for row in found):.1f} us)" if share is not None else "no ratio"
                )
            yield f"| {count:,} {word} | {' | '.join(cells)} |"


def _memory(kept: Sequence[MemoryRow]) -> Iterator[str]:
    yield "| memory of | bytes per registration |"
    yield "|---|---|"
    for row in kept:
        yield f"| {row.what} | {row.per_registration:.0f} |"


def _overload(kept: Sequence[StormRow]) -> Iterator[str]:
    yield "| overload | offered/s | completed/s | of its peak | calls completed | memory grew by | lasts after it |"
    yield "|---|---|---|---|---|---|---|"
    for row in kept:
        if row.void:
            yield f"| {row.program} | void | void | void | void | void | void |"
            continue
        grown = (row.rss_max - row.rss_begin) / 1024
        cells = [
            f"{row.offered:,.0f}",
            f"{row.completed:,.0f}",
            f"{row.ratio:.0%}",
            f"{row.calls_completed / row.calls:.0%}",
        ]
        yield f"| {row.program} | {' | '.join(cells)} | {grown:,.0f} MiB | {row.recovery:.1f} s |"


def written(text: str, table: str) -> str:
    """The text with the table between its markers. ValueError when it has none."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no place for the table: the lines {BEGIN} and {END} are missing")
    return f"{head}{BEGIN}\n\n{table}\n{END}{tail}"


def _in_full(paths: Sequence[Path]) -> Iterator[str]:
    readers = {
        "flat": lambda path: "\n".join(flat_cost(list(rows.read_as(path, CostRow)))) + "\n",
        "memory": lambda path: "\n".join(flat_memory(list(rows.read_as(path, MemoryRow)))) + "\n",
        "pool": lambda path: "\n".join(pool_table(list(rows.read_as(path, PoolRow)))) + "\n",
        "workers": lambda path: "\n".join(worker_table(list(rows.read_as(path, WorkerRow)))) + "\n",
        "overload": lambda path: "\n".join(_overload(list(rows.read_as(path, StormRow)))) + "\n",
        "speed": lambda path: render(list(rows.read(path))),
    }
    for path in paths:
        yield f"{path.name}\n\n{readers[path.name.partition('-')[0]](path)}\n"


def main(arguments: list[str]) -> int:
    """Exit status 1 when there is nothing to print from, or no place to write to."""
    parser = argparse.ArgumentParser(prog="bench.table", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--write", type=Path, metavar="README.md")
    asked = parser.parse_args(arguments)
    kinds = ("speed", "flat", "memory", "pool", "overload")
    paths = asked.files or [path for kind in kinds if (path := rows.newest(kind))]
    if not paths:
        sys.stderr.write("bench: no rows in bench/results: run `make bench` first\n")
        return 1
    if asked.write is None:
        sys.stdout.writelines(_in_full(paths))
        return 0
    try:
        asked.write.write_text(written(asked.write.read_text(), short(Kept())))
    except ValueError as error:
        sys.stderr.write(f"{asked.write}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
