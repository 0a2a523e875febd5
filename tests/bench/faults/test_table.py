"""The markdown table of the rows."""

from __future__ import annotations

from bench.faults.table import HEADINGS, document, newest, render
from tests.bench.faults.rows import ROW


def test_a_row() -> None:
    head, rule, line = render([ROW]).splitlines()
    assert head.count("|") == rule.count("|") == line.count("|") == len(HEADINGS) + 1
    assert line.startswith("| kill -9, 90 s | ours | yes | 0.06 s | 0 of 1500 | 1 | 1.0 % | 0.1 % | 0.65 s |")


def test_the_newest_fit_one_of_each_counts_and_ours_comes_first() -> None:
    theirs, newer = ROW | {"balancer": "kamailio"}, ROW | {"notice": "1.0"}
    rows = [theirs, ROW, newer, ROW | {"notice": "2.0", "void": "late"}, ROW | {"mode": "quick", "fault": "hang"}]
    assert newest(rows, "full") == [newer, theirs]


def test_the_document_names_its_origin_and_its_void_rows() -> None:
    text = document([ROW, ROW | {"void": "the phones were 0.30 s late"}], [], "full")
    assert text.startswith("Commit abc1234, Python 3.11.2 of /usr, a machine, 2026-11-21, full runs.\n")
    assert "kill ours (the phones were 0.30 s late)" in text


def test_direct_is_what_the_others_are_compared_with() -> None:
    row = ROW | {"fault": "phones-30", "invite_lost": "9"}
    straight = ROW | {"fault": "phones-30", "balancer": "direct"}
    ours, direct = render([row, straight]).splitlines()[2:]
    assert "| no: 9 of 1500 lost, straight 0 of 1500 |" in ours
    assert "| direct | - |" in direct
