"""A row of bench/results/faults-*.tsv as it is read back."""

from __future__ import annotations

WAITS = {"count": "0", "lost": "0", "refused": "0", "over_half": "0", "over_two": "0", "worst": "0.0"}
REGISTERS = WAITS | {"count": "1500", "refused": "1", "over_half": "15", "over_two": "1", "worst": "0.65"}
ROW = {
    "when": "2026-11-21T06:06:54Z", "fault": "kill", "balancer": "ours", "mode": "full", "seconds": "90", "void": "",
    "notice": "0.0641", "verdicts": "a1:down@0.06", "false_verdicts": "0",
    **{f"register_{name}": value for name, value in REGISTERS.items()},
    **{f"next_register_{name}": value for name, value in REGISTERS.items()},
    **{f"{kind}_{name}": value for kind in ("invite", "next_invite") for name, value in WAITS.items()},
    "rung_lost": "0", "cut_healthy": "0", "cut_hit": "27", "twice": "0", "twice_left": "0", "left_up": "0",
    "full_calls": "0", "full_tries": "0", "full_otherwise": "0",
    "commit": "abc1234", "machine": "a machine", "python": "3.11.2 of /usr",
}  # fmt: skip
