"""Cost of a pin: `python -m bench.pins [ENTRIES]`; tab-separated "what, value, unit" on stdout. Asserts nothing."""

from __future__ import annotations

import mmap
import random
import sys
from collections.abc import Callable, Iterable
from time import perf_counter

from sipbalancer.director.pins import PinKind, PinTable, RecentPins

NOW = 1_700_000_000.0


def row(what: str, value: float, unit: str) -> None:
    sys.stdout.write(f"{what}\t{value:.6g}\t{unit}\n")


def timed(what: str, verb: Callable[[int], object], keys: list[int]) -> None:
    """Mean and worst cost of `verb` over `keys`; the worst from a second pass of single calls."""
    start = perf_counter()
    for key in keys:
        verb(key)
    row(what, (perf_counter() - start) / len(keys) * 1e9, "ns")


def worst(what: str, verb: Callable[[int], object], keys: Iterable[int]) -> None:
    most = 0.0
    for key in keys:
        start = perf_counter()
        verb(key)
        most = max(most, perf_counter() - start)
    row(what, most * 1e6, "us")


def bench_table(entries: int) -> None:
    rng = random.Random(1)
    keys = [rng.getrandbits(64) for _ in range(entries)]
    strangers = [rng.getrandbits(64) for _ in range(200_000)]
    some = rng.sample(keys, min(200_000, entries))
    size = PinTable.size_for(entries)
    buffer = mmap.mmap(-1, size)
    table = PinTable(buffer, b"benchkey", NOW)
    until = NOW + 3600
    timed("table put new", lambda k: table.put(k, k & 255, PinKind.BINDING, until), keys)
    timed("table put again", lambda k: table.put(k, k & 255, PinKind.BINDING, until), some)
    timed("table get hit", lambda k: table.get(k, NOW), some)
    timed("table get miss", lambda k: table.get(k, NOW), strangers)
    worst("table put worst", lambda k: table.put(k, 1, PinKind.CALL, until), strangers)
    timed("table drop", table.drop, strangers)
    start = perf_counter()
    table.sweep(NOW, 2000)
    row("table sweep of 2000 slots", (perf_counter() - start) * 1e6, "us")
    start = perf_counter()
    PinTable(buffer, b"benchkey", NOW)
    row("table open", perf_counter() - start, "s")
    row("table refused", table.refused, "pins")
    row("table size", size / entries, "bytes/pin")


def bench_recent(entries: int) -> None:
    rng = random.Random(2)
    keys = [rng.getrandbits(64) for _ in range(entries)]
    plain: dict[int, int] = {}
    recent: RecentPins[int] = RecentPins(entries)
    timed("dict put", lambda k: plain.__setitem__(k, 1), keys)
    timed("recent put", lambda k: recent.put(k, 1, NOW), keys)
    timed("dict get", plain.get, keys)
    timed("recent get", lambda k: recent.get(k, NOW), keys)
    worst("recent get worst over a turn", lambda k: recent.get(k, NOW + 33), keys)
    timed("(an empty call, included in each above)", lambda k: k, keys)


if __name__ == "__main__":
    bench_table(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
    bench_recent(200_000)
