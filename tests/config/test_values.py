"""Readers of single values: what they give, what they doubt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbalancer.config import values
from sipbalancer.config.findings import Cell, Findings
from sipbalancer.config.values import Reader
from sipbalancer.errors import ConfigError


def read(reader: Reader, text: str) -> tuple[object, list[str]]:
    """The value and what was said about it."""
    findings = Findings("f")
    value = reader(Cell(findings, 1, "word", text))
    return value, [finding.advice for finding in findings.warnings()]


@pytest.mark.parametrize(
    ("text", "value", "said"),
    [
        ("10", 10, []),
        ('"10"', 10, []),
        ("3s", 3, ["`3s` is read as 3, as ldirectord does; write word = 3"]),
        ("1.5", 1, ["`1.5` is read as 1, as ldirectord does; write word = 1"]),
        ("abc7", 7, ["`abc7` is read as 7, as ldirectord does; write word = 7"]),
        ("5m", 5, ["`5m` is read as 5, as ldirectord does; write word = 300 if 5m was meant, else word = 5"]),
        ("-5", 5, ["`-5` is read as 5, as ldirectord does; write word = 5"]),
    ],
)
def test_whole_numbers_are_read_as_ldirectord_reads_them(text: str, value: int, said: list[str]) -> None:
    assert read(values.count(1), text) == (value, said)


@pytest.mark.parametrize(
    ("text", "value", "said"),
    [
        ("10", 10.0, []),
        ("1.5", 1.5, ["`1.5` seconds here; ldirectord reads 1"]),
        ("0.25", 0.25, ["`0.25` seconds here; ldirectord reads 0"]),
        ("3s", 3.0, ["`3s` is read as 3, as ldirectord does; write word = 3"]),
    ],
)
def test_time_limits_may_have_fractions(text: str, value: float, said: list[str]) -> None:
    assert read(values.seconds(1), text) == (value, said)


@pytest.mark.parametrize(
    ("text", "value", "said"),
    [
        ('"a b"', "a b", []),
        ("a b", "a b", []),
        ('"a"b"', 'a"b', []),
        ('"a" junk', "a", ["`junk` after the closing quote is ignored"]),
    ],
)
def test_quotes_come_off(text: str, value: str, said: list[str]) -> None:
    assert read(values.text, text) == (value, said)


def test_text_for_people_keeps_its_quotes() -> None:
    assert read(values.free_text, '"Me" <me@x>') == ('"Me" <me@x>', [])
    assert read(values.free_text, "") == ("", [])


def test_more_words_than_one_are_ignored_and_named() -> None:
    assert read(values.yes_no, "yes it is") == (True, ["`it is` after `yes` is ignored"])


@pytest.mark.parametrize(("text", "value"), [("0", 0.0), ("30", 30.0), ("1.5", 1.5)])
def test_times_of_ours(text: str, value: float) -> None:
    assert read(values.own_seconds, text) == (value, [])


@pytest.mark.parametrize("text", ["255.255.255.0", "0.0.0.0", "255.255.255.255", "1", "64", "128"])
def test_netmasks(text: str) -> None:
    assert read(values.netmask, text) == (text, [])


@pytest.mark.parametrize("text", ["0", "129", "255.0.255.0", "255.255.255", "x", "0.0.0.255"])
def test_what_is_no_netmask(text: str) -> None:
    with pytest.raises(ConfigError, match="is no netmask"):
        read(values.netmask, text)


@pytest.mark.parametrize("text", ["X-Client", "P-Asserted-Address", "x"[:1] * 2])
def test_headers_we_may_set(text: str) -> None:
    assert read(values.header_name, text) == (text, [])


@pytest.mark.parametrize("text", ["Via", "ROUTE", "contact", "v", "X:Y", "X Y", "X\u00e4"])
def test_headers_we_must_not_touch(text: str) -> None:
    with pytest.raises(ConfigError, match="write word = X-Client-Address"):
        read(values.header_name, text)


@pytest.mark.parametrize("pattern", ["(", "*", "a{99999999999}", "(?P<a", "[b-a]"])
def test_a_pattern_that_does_not_compile_is_told_why(pattern: str) -> None:
    assert values.regex_fault(pattern) != ""
    assert values.regex_fault("^SIP/2.0 200") == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        ((), "-"),
        (True, "yes"),
        (False, "no"),
        (10.0, "10"),
        (2.5, "2.5"),
        (86400.0, "86400"),
        (2e9, "2000000000"),
        (7, "7"),
        (("a", "b"), "a, b"),
        ("x", "x"),
    ],
)
def test_values_are_written_as_in_the_file(value: object, text: str) -> None:
    assert values.written(value) == text


READERS: list[Reader] = [
    values.text,
    values.yes_no,
    values.count(0),
    values.seconds(1),
    values.own_count(1),
    values.own_seconds,
    values.path,
    values.socket_path,
    values.regular_expression,
    values.mail_states,
    values.netmask,
    values.header_name,
]


@given(st.sampled_from(READERS), st.text())
def test_a_reader_gives_a_value_or_says_why_not(reader: Reader, text: str) -> None:
    try:
        value, _ = read(reader, text)
    except ConfigError as wrong:
        assert wrong.findings[0].advice
    else:
        assert value is not None
