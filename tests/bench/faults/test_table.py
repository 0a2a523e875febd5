"""The markdown table of the rows."""

from __future__ import annotations

from bench.faults.table import HEADINGS, newest, render

ROW = {
    "fault": "kill", "balancer": "ours", "mode": "full", "notice": "0.0641", "register_count": "1500",
    "register_lost": "0", "register_refused": "1", "register_over_half": "15", "register_over_two": "0",
    "register_worst": "0.65", "invite_count": "0", "invite_lost": "0", "invite_refused": "0", "invite_over_half": "0",
    "invite_over_two": "0", "invite_worst": "0.0", "cut_healthy": "0", "cut_hit": "27", "false_verdicts": "0",
    "doubles": "0", "left_up": "0",
}  # fmt: skip


def test_a_row() -> None:
    head, rule, line = render([ROW]).splitlines()
    assert head.count("|") == rule.count("|") == line.count("|") == len(HEADINGS) + 1
    assert line.startswith("| kill -9 | ours | 0.06 s | 0 of 1500 | 1 | 1.0 % | 0.0 % | 0.65 s |")


def test_the_newest_of_each_counts_and_ours_comes_first() -> None:
    rows = [ROW, ROW | {"balancer": "kamailio"}, ROW | {"notice": "1.0"}, ROW | {"mode": "quick", "fault": "hang"}]
    assert [(row["balancer"], row["notice"]) for row in newest(rows, "full")] == [
        ("ours", "1.0"),
        ("kamailio", "0.0641"),
    ]
