"""The rows of bench/results/avalanche-*.tsv as a markdown table, and whether issue 3's wish is met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Row = Mapping[str, str]
SPREAD = 5.0
"""Percent that a survivor may have more or less than its third."""
HEADINGS = (
    "phones, four servers, one killed", "wanted met", "noticed", "all back, window computed", "spread",
    "most REGISTERs in any second (with repeats), registerrate", "503", "without registration",
    "REGISTERs over 2 s", "worst", "Retry-After ignored by",
)  # fmt: skip


def misses(row: Row) -> list[str]:
    found = []
    if float(row["most_in_a_second"]) > float(row["rate"]):
        found.append(f"{row['most_in_a_second']} in a second, registerrate {row['rate']}")
    if not row["all_back_s"]:
        found.append("not all back")
    elif float(row["all_back_s"]) > float(row["window_s"]):
        found.append(f"back after {row['all_back_s']} s, window {row['window_s']} s")
    if float(row["spread_pct"]) > SPREAD:
        found.append(f"spread {row['spread_pct']} %")
    return found


def shown_avalanches(rows: Sequence[Row]) -> list[Row]:
    """The newest fit row of each way in which the phones come."""
    fit = {row["at_once"]: row for row in rows if not row["void"]}
    return [fit[way] for way in sorted(fit)]


def render_avalanche(rows: Sequence[Row]) -> str:
    lines: list[Sequence[str]] = [HEADINGS, ["---"] * len(HEADINGS), *map(_cells, shown_avalanches(rows))]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(row: Row) -> list[str]:
    come = "all at once" if row["at_once"] == "1" else "at their refresh"
    found = misses(row)
    return [
        f"{row['phones']}, {come}",
        f"no: {', '.join(found)}" if found else "yes",
        f"{row['notice']} s",
        f"{row['all_back_s'] or '-'} s, {row['window_s']} s",
        f"{row['spread_pct']} %",
        f"{row['most_in_a_second']} ({row['with_repeats']}), {row['rate']}",
        row["told_503"],
        f"{row['uncovered_phones']} phones, worst {row['uncovered_worst_s']} s",
        f"{row['over_2_pct']} %",
        f"{row['worst_s']} s",
        f"{row['ignoring_phones']} phones",
    ]
