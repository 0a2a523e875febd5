"""What issue 3 wants of each fault, in its numbers, and whether a row has it. Pure.

A row is a line of bench/results/faults-*.tsv as text; the words of `misses` are what the table prints after "no".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import comb

Row = Mapping[str, str]
NOTICE = 1.5
"""Seconds to notice under load; without it `checkinterval` (ldirectord's default, 10) more."""
CHECKINTERVAL = 10.0
OVER_HALF = 5.0
"""Percent of what began in the 15 s after the fault."""
WORST = 1.5
ONE_IN = 1000
CHANCE = 0.05
"""More lost than on the straight way by a difference that chance alone would make less often than this."""

DEATHS = ("kill", "hang", "refuse", "one-100")
IDLE = ("idle-kill", "idle-hang", "idle-refuse")
NOTHING_LOST = (
    *DEATHS, "none", "one-10", "one-30", "graceful", "overload", "flap", "slow", "full",
)  # fmt: skip
"""There was always a server that could have answered."""


def misses(row: Row, straight: Row | None = None) -> list[str]:
    """What is wanted and not so; `straight`: the row of phones that talk straight to one Asterisk."""
    found = [word for judge in _judges(row["fault"]) for word in judge(row)]
    if row["fault"].startswith("phones-"):
        found += _against(row, straight)
    return found


def verdict(row: Row, straight: Row | None = None) -> str:
    """For the table."""
    if row["balancer"] == "direct":
        return "-"
    found = misses(row, straight)
    return f"no: {', '.join(found)}" if found else "yes"


def lost_of(row: Row) -> tuple[int, int]:
    """New transactions lost, and all."""
    kinds = ("register", "invite")
    return sum(_int(row, f"{kind}_lost") for kind in kinds), sum(_int(row, f"{kind}_count") for kind in kinds)


Judge = Callable[[Row], Iterator[str]]


def _judges(fault: str) -> Iterator[Judge]:
    yield _always
    if fault in IDLE:
        yield lambda row: _noticed(row, CHECKINTERVAL + NOTICE)
    if fault in DEATHS:
        yield lambda row: _noticed(row, NOTICE)
        yield _quick
    if fault in NOTHING_LOST:
        yield _nothing_lost
    if fault in ("all-10", "all-30"):
        yield _one_in_a_thousand
    if fault == "full":
        yield _one_calls_result


def _always(row: Row) -> Iterator[str]:
    for column, words in (
        ("false_verdicts", "false verdicts"),
        ("cut_healthy", "healthy dialogs cut"),
        ("twice_left", "calls answered twice and left so"),
    ):
        if _int(row, column):
            yield f"{row[column]} {words}"


def _noticed(row: Row, limit: float) -> Iterator[str]:
    if not row["notice"]:
        yield "not noticed"
    elif float(row["notice"]) >= limit:
        yield f"noticed in {float(row['notice']):.2f} s"


def _quick(row: Row) -> Iterator[str]:
    for kind, words in (("register", "REGISTERs"), ("invite", "calls")):
        share = percent(row, f"next_{kind}", "half")
        if share >= OVER_HALF:
            yield f"{share:.1f} % of {words} over 0.5 s"
        worst = float(row[f"{kind}_worst"])
        if worst >= WORST:
            yield f"worst of {words} {worst:.2f} s"


def _nothing_lost(row: Row) -> Iterator[str]:
    lost, _ = lost_of(row)
    if lost:
        yield f"{lost} lost"


def _one_in_a_thousand(row: Row) -> Iterator[str]:
    lost, count = lost_of(row)
    if lost * ONE_IN > count:
        yield f"{lost} of {count} lost"


def _one_calls_result(row: Row) -> Iterator[str]:
    if row["verdicts"]:
        yield "a verdict changed"
    if row["full_tries"] != row["full_calls"]:
        yield f"{row['full_calls']} calls tried {row['full_tries']} times"
    if _int(row, "full_otherwise"):
        yield f"{row['full_otherwise']} not told the server's 503"


def _against(row: Row, straight: Row | None) -> Iterator[str]:
    if straight is None:
        yield "no row of the straight way to compare"
        return
    (lost, count), (theirs, of) = lost_of(row), lost_of(straight)
    if lost * of > theirs * count and chance(lost, count, theirs, of) < CHANCE:
        yield f"{lost} of {count} lost, straight {theirs} of {of}"


def chance(lost: int, count: int, theirs: int, of: int) -> float:
    """Probability that at least so many of all that were lost fall on us, were both ways equal (Fisher's test)."""
    all_lost, everything = lost + theirs, count + of
    ways = comb(everything, all_lost)
    most = min(all_lost, count)
    return sum(comb(count, ours) * comb(of, all_lost - ours) for ours in range(lost, most + 1)) / ways


def percent(row: Row, kind: str, over: str) -> float:
    """Of transactions of that kind, those over `half` a second or over `two`."""
    return 100 * _int(row, f"{kind}_over_{over}") / max(1, _int(row, f"{kind}_count"))


def _int(row: Row, column: str) -> int:
    return int(row.get(column) or 0)
