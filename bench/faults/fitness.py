"""When a run says nothing of the balancer: why its row is void."""

from __future__ import annotations

from collections.abc import Sequence

IDLE = 15.0
"""Percent of the machine. Of no account for a run that others' work has to make room for (nice below 0)."""
LATE = 0.15
"""Seconds: a phone that looks up so late makes a wait of half a second out of a third of one."""
WAIT = 25.0
"""Percent of the time in which the balancer could have run and had no CPU."""


def why_void(crashed: Sequence[str], late: float, drops: int, idle: float, wait: float, *, before_others: bool) -> str:
    """`crashed`: Asterisks that died of themselves. `drops`: datagrams the phones did not read in time. "" is fit."""
    if crashed:
        return f"Asterisk {' '.join(crashed)} died of itself"
    if late > LATE:
        return f"the phones were {late:.2f} s late"
    if drops:
        return f"the phones missed {drops} datagrams"
    if wait > WAIT:
        return f"the balancer had no CPU {wait:.0f} % of the time it wanted one"
    if idle < IDLE and not before_others:
        return f"less than {IDLE:.0f} % idle"
    return ""
