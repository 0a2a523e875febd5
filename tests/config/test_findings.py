"""What may stand in a message, and in which order messages come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbalancer.config.findings import Cell, Findings, nearest, shown
from sipbalancer.errors import ConfigError


@given(st.text(st.characters()))
def test_what_is_shown_is_printable_and_short(text: str) -> None:
    assert shown(text).isprintable() or text == ""
    assert len(shown(text)) <= 60 * len(r"\x10ffff")


def test_escapes_and_cuts() -> None:
    assert shown("a\x1bb\n") == r"a\x1bb\x0a"
    assert shown("x" * 60) == "x" * 60
    assert shown("x" * 61) == "x" * 57 + "..."


def test_the_nearest_word_or_nothing() -> None:
    assert nearest("SHEDULER", ("scheduler", "service")) == '; did you mean "scheduler"?'
    assert nearest("zzz", ("scheduler", "service")) == ""


def test_errors_come_in_line_order_and_hide_no_other() -> None:
    findings = Findings("f")
    findings.warn(1, "w", "odd")
    findings.error(9, "late", "wrong")
    Cell(findings, 3, "early", "x").wrong("wrong too")
    with pytest.raises(ConfigError) as caught:
        findings.warnings()
    assert str(caught.value) == "f:3: early: wrong too\nf:9: late: wrong"


def test_warnings_and_notes_come_in_line_order() -> None:
    findings = Findings("f")
    cell = Cell(findings, 5, "word", "x")
    cell.doubt("odd")
    findings.note(2, "other", "different")
    cell.note("by the way")
    assert [(str(finding), finding.note) for finding in findings.warnings()] == [
        ("f:2: other: different", True),
        ("f:5: word: odd", False),
        ("f:5: word: by the way", True),
    ]
