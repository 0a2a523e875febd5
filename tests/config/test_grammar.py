"""Lines, sections, comments and quotes."""

from __future__ import annotations

import pytest

from sipbalancer.config.findings import Findings
from sipbalancer.config.grammar import Statement, cut_comment, outline
from sipbalancer.errors import ConfigError, Finding


def read(text: str) -> tuple[list[Statement], list[list[Statement]], tuple[Finding, ...]]:
    findings = Findings("f")
    found = outline(text, {"autoreload", "supervised"}, findings)
    return list(found.top), [[section.head, *section.body] for section in found.sections], findings.warnings()


@pytest.mark.parametrize(
    ("body", "kept", "hash_kept"),
    [
        ("a = b # c", "a = b", False),
        ("# all", "", False),
        ("a = b#c", "a = b", False),
        ('a = "b # c"', 'a = "b # c"', True),
        ('a = "b" # "c"', 'a = "b"', False),
        ('a = 19" rack # c', 'a = 19" rack', False),
        ('r = h "a","#b" # c', 'r = h "a","#b"', True),
        ("a = b \t", "a = b", False),
    ],
)
def test_comments_end_a_line_but_not_inside_quotes(body: str, kept: str, hash_kept: bool) -> None:
    assert cut_comment(body) == (kept, hash_kept)


def test_sections_and_globals() -> None:
    top, sections, said = read("autoreload=yes\nvirtual = a\n    real =  b c \n\tservice=sip\nautoreload\t= no\n")
    assert top == [Statement(1, "autoreload", "yes"), Statement(5, "autoreload", "no")]
    head, *body = sections[0]
    assert head == Statement(2, "virtual", "a")
    assert body == [Statement(3, "real", "b c"), Statement(4, "service", "sip")]
    assert said == ()


def test_blank_lines_and_comments_do_not_end_a_section() -> None:
    _, sections, said = read("virtual = a\n\n# why\n    real = b\n\n    real = c\nvirtual = d\n# why\n    real = e\n")
    assert [len(section) for section in sections] == [3, 2]
    assert [str(finding) for finding in said] == [
        "f:4: real: blank line 2 inside the section: fine here, ldirectord ends the section there"
    ]


def test_narrow_indentation_is_noted_once_a_section() -> None:
    _, sections, said = read("virtual = a\n  real = b\n  real = c\nvirtual = d\n   real = e\n")
    assert [len(section) for section in sections] == [3, 2]
    assert [(finding.line, finding.note) for finding in said] == [(2, True), (5, True)]
    assert said[0].advice == "indented by 2: fine here, ldirectord wants four blanks or a tab in a section"


def test_a_hash_in_quotes_is_kept_with_a_warning_in_sections() -> None:
    top, sections, said = read('autoreload = "a#b"\nvirtual = a\n    login = "a#b"\n')
    assert top[0].value == '"a#b"' and sections[0][1].value == '"a#b"'
    assert [str(f) for f in said] == ["f:3: login: `#` inside quotes is kept as text; ldirectord cuts the line there"]


def test_a_bare_supervised_is_yes_with_a_warning() -> None:
    top, _, said = read("supervised\n")
    assert top == [Statement(1, "supervised", "yes")]
    assert [str(finding) for finding in said] == ["f:1: supervised: stands without a value; write `supervised = yes`"]


@pytest.mark.parametrize("errors", ["surrogateescape", "replace"])
def test_text_for_people_survives_bytes_that_are_not_utf8(errors: str) -> None:
    _, sections, said = read(b"virtual = a\n    comment = Z\xfcrich\n".decode("utf-8", errors))
    assert sections[0][1].value == "Z?rich"
    assert [finding.line for finding in said] == [2]


@pytest.mark.parametrize("errors", ["surrogateescape", "replace"])
def test_other_values_do_not(errors: str) -> None:
    with pytest.raises(ConfigError, match="f:1: autoreload: has bytes that are not UTF-8; save the file as UTF-8"):
        read(b"autoreload = \xff\n".decode("utf-8", errors))


def test_comments_may_hold_any_bytes() -> None:
    text = b"# Z\xfcrich \x00\nvirtual = a # \xff\n".decode("utf-8", "surrogateescape")
    assert read(text)[1] == [[Statement(2, "virtual", "a")]]


def test_only_line_feeds_count_as_lines_as_in_an_editor() -> None:
    _, sections, _ = read("# a\x0bb\x85c\u2028d\nvirtual = a\r\n    real = b\r\n")
    assert sections == [[Statement(2, "virtual", "a"), Statement(3, "real", "b")]]
