"""One picture per question, from kept rows: `python -m bench.plots` writes bench/results/*.png.

What is drawn is decided by `panels`, which knows no plot library; only `draw` needs matplotlib.
A bar is the median over the rounds, its whisker goes from the lowest to the highest; void rows are no bars.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

from bench.flat_table import Bed, by_registrations, by_servers, of_bed
from bench.kept import Kept
from bench.overload import Row as StormRow
from bench.programs import BEST_OF, BLIND, BOUND, FORWARD, OURS, OURS_2, OURS_C, T_RELAY
from bench.rows import RESULTS, SATURATING, Row
from bench.run import say
from bench.speed_table import latency_pairs, of

ORDER = (OURS, OURS_C, OURS_2, *BEST_OF[FORWARD], *BEST_OF[T_RELAY], BLIND, BOUND)
MIXES = {"register": "REGISTER", "call": "call"}
COLOURS = ("#1f6f8b", "#e0a458", "#7a9e7e", "#a44a3f")
K = TypeVar("K")


class Bar(NamedTuple):
    value: float
    low: float
    high: float


class Panel(NamedTuple):
    """One picture: groups of bars, a bar of each series in each group; None: not measured, or void."""

    name: str
    title: str
    unit: str
    groups: tuple[str, ...]
    series: dict[str, tuple[Bar | None, ...]]
    logarithmic: bool = False


def bar(rows: Sequence[K], value: Callable[[K], float]) -> Bar | None:
    values = [value(row) for row in rows]
    return Bar(median(values), min(values), max(values)) if values else None


def panels(kept: Kept) -> Iterator[Panel]:
    """A panel for every question that there are rows for."""
    if kept.speed:
        yield _saturated(kept.speed, "cpu", "CPU per message, one core, 256 in flight", "us", lambda row: row.cpu_us)
        yield _saturated(
            kept.speed, "rate", "Messages per second, one core, 256 in flight", "1/s", lambda row: row.rate
        )
        yield _latency(kept.speed)
    if kept.flat:
        yield _flat(kept, "registrations", by_registrations(kept.flat))
        yield _flat(kept, "servers", by_servers(kept.flat))
    if kept.memory:
        yield _memory(kept)
    if kept.pool:
        yield _pool(kept)
    if kept.overload:
        yield _overload(kept)


def _saturated(rows: Sequence[Row], name: str, title: str, unit: str, value: Callable[[Row], float]) -> Panel:
    groups = tuple(each for each in ORDER if any(row.program == each for row in rows))
    series = {
        word: tuple(bar(of([row for row in rows if row.mix == mix], each, SATURATING), value) for each in groups)
        for mix, word in MIXES.items()
    }
    return Panel(name, title, unit, groups, series)


def _latency(rows: Sequence[Row]) -> Panel:
    groups: list[str] = []
    ours: list[Bar | None] = []
    compiled: list[Bar | None] = []
    theirs: list[Bar | None] = []
    for peer in (FORWARD, T_RELAY):
        for mix, word in MIXES.items():
            of_mix = [row for row in rows if row.mix == mix]
            pairs, pairs_compiled = latency_pairs(of_mix, peer), latency_pairs(of_mix, peer, OURS_C)
            for name in ("p50_us", "p99_us"):
                groups.append(f"{peer.split()[-1]}, {word}, {name[:3]}")
                ours.append(bar([getattr(mine, name) for mine, _ in pairs], float))
                compiled.append(bar([getattr(mine, name) for mine, _ in pairs_compiled], float))
                theirs.append(bar([getattr(other, name) for _, other in pairs], float))
    title = "Added latency of a message at half of the load that saturates Kamailio"
    series = {OURS: tuple(ours), OURS_C: tuple(compiled), "kamailio": tuple(theirs)}
    if not any(compiled):
        del series[OURS_C]
    return Panel("latency", title, "us", tuple(groups), series, True)


def _flat(kept: Kept, what: str, beds: Sequence[Bed]) -> Panel:
    groups = tuple(f"{bed[0] if what == 'registrations' else bed[1]:,}" for bed in beds)
    series = {
        word: tuple(bar(list(of_bed(kept.flat, bed, mix).values()), lambda row: row.cpu_us) for bed in beds)
        for mix, word in MIXES.items()
    }
    return Panel(what, f"CPU per message by the number of {what}", "us", groups, series)


def _memory(kept: Kept) -> Panel:
    groups = tuple(row.what for row in kept.memory)
    bars = tuple(Bar(*(row.per_registration,) * 3) for row in kept.memory)
    return Panel("memory", "Memory of one registration", "bytes", groups, {"bytes": bars})


def _pool(kept: Kept) -> Panel:
    ways = tuple(dict.fromkeys(row.way for row in kept.pool))
    series = {
        word: tuple(
            bar([row for row in kept.pool if (row.way, row.mix) == (way, mix)], lambda row: row.rate) for way in ways
        )
        for mix, word in {"register": "registrations/s", "call": "sessions/s"}.items()
    }
    return Panel(
        "pool", "Three Asterisk 22, straight and through sipbalancer, all on the same two CPUs", "1/s", ways, series
    )


def _overload(kept: Kept) -> Panel:
    fit = [row for row in kept.overload if not row.void]
    groups = tuple(dict.fromkeys(row.program for row in kept.overload))
    values: dict[str, Callable[[StormRow], float]] = {
        "peak": lambda row: row.peak,
        "offered": lambda row: row.offered,
        "completed": lambda row: row.completed,
    }
    series = {
        word: tuple(bar([row for row in fit if row.program == name], value) for name in groups)
        for word, value in values.items()
    }
    return Panel("overload", "Three times the peak for a minute: transactions per second", "1/s", groups, series)


def draw(panel: Panel, path: Path) -> None:
    """Write the picture. ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    count = len(panel.series)
    thick = 0.8 / count
    figure, axes = pyplot.subplots(figsize=(8.4, 1.0 + 0.22 * len(panel.groups) * (count + 0.6)), dpi=100)
    for number, (name, bars) in enumerate(panel.series.items()):
        for group, one in enumerate(bars):
            at = group + (number - (count - 1) / 2) * thick
            label = name if group == 0 else None
            if one is None:
                axes.barh(at, 1 if panel.logarithmic else 0, thick, color=COLOURS[number], label=label)
                axes.text(1 if panel.logarithmic else 0, at, " void", va="center", fontsize=8, color="#666666")
                continue
            spread = [[one.value - one.low], [one.high - one.value]]
            axes.barh(at, one.value, thick, xerr=spread, color=COLOURS[number], label=label, error_kw={"lw": 0.8})
            axes.text(one.high, at, f" {_number(one.value)}", va="center", fontsize=8)
    if panel.logarithmic:
        axes.set_xscale("log")
    axes.set_yticks(range(len(panel.groups)), panel.groups, fontsize=8)
    axes.invert_yaxis()
    axes.set_title(panel.title, fontsize=10, loc="left")
    axes.set_xlabel(panel.unit, fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    if count > 1:
        axes.legend(fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def main() -> int:
    """Exit status 1 when there is nothing to draw from or with."""
    found = list(panels(Kept()))
    try:
        for panel in found:
            draw(panel, RESULTS / f"{panel.name}.png")
    except ImportError:
        say("no pictures: matplotlib is missing: pip install --require-hashes -r requirements/bench.txt")
        return 1
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
