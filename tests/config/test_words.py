"""Statements through the table of words."""

from __future__ import annotations

from sipbalancer.config.directives import GLOBAL, SECTION
from sipbalancer.config.findings import Findings
from sipbalancer.config.grammar import Statement
from sipbalancer.config.words import Given, read_words


def test_the_last_of_two_wins_and_is_named() -> None:
    findings = Findings("f")
    statements = [Statement(2, "scheduler", "wlc"), Statement(3, "scheduler", "rr")]
    assert read_words(statements, SECTION, (), findings) == {"scheduler": Given("rr", 3)}
    assert [str(finding) for finding in findings.warnings()] == ["f:3: scheduler: replaces the value of line 2"]


def test_execute_may_be_written_often() -> None:
    findings = Findings("f")
    given = read_words([Statement(1, "execute", "a"), Statement(2, "execute", "b")], GLOBAL, (), findings)
    assert given == {"execute": Given(("a", "b"), 2)}
    assert all(finding.note for finding in findings.warnings())


def test_words_without_effect_are_notes() -> None:
    findings = Findings("f")
    read_words([Statement(1, "smtp", "mx"), Statement(2, "ops", "yes")], SECTION, (), findings)
    assert [(finding.word, finding.note) for finding in findings.warnings()] == [("ops", True)]


def test_other_peoples_words_are_left_alone() -> None:
    findings = Findings("f")
    assert read_words([Statement(1, "real", "x")], SECTION, ("real",), findings) == {}
    assert findings.warnings() == ()
