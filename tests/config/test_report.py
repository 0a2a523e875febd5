"""The text of `sipbalancer check`."""

from __future__ import annotations

from sipbalancer.config.directives import SECTION, Standing
from sipbalancer.config.parser import parse
from sipbalancer.config.report import counted, report

TEXT = """metrics = no
checkinterval = 2
virtual = 10.0.0.1:5060
    real = 10.0.0.11 gate 5 l:1 u:2
    real = _sip._udp.example.com masq
    fallback = 10.0.0.9:5070
    alias = pbx.example.com
    passwd = tiger
    emailalert = a@x
    checktype = 3
"""


def text_of(text: str) -> str:
    parsed = parse(text, "a.cf")
    return report(parsed.config, parsed.warnings)


def row(text: str, word: str) -> list[str]:
    """The columns of the first line that begins with the word (after blanks)."""
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [word])


def test_each_value_has_its_line_or_default() -> None:
    text = text_of(TEXT)
    assert row(text, "metrics") == ["metrics", "no", "line", "1"]
    assert row(text, "admin") == ["admin", "/run/sipbalancer/admin.sock", "default"]
    assert row(text, "secret") == ["secret", "/var/lib/sipbalancer/secret", "default"]
    assert row(text, "virtual") == ["virtual", "10.0.0.1:5060", "line", "3"]
    assert row(text, "checkinterval") == ["checkinterval", "2", "s", "line", "2"]
    assert row(text, "negotiatetimeout") == ["negotiatetimeout", "30", "s", "default"]
    assert row(text, "alias") == ["alias", "pbx.example.com", "line", "7"]
    assert row(text, "checktype")[:2] == ["checktype", "3"]


def test_each_server_has_its_values() -> None:
    text = text_of(TEXT)
    servers = text[text.index("  real") : text.index("warnings\n")].splitlines()
    assert [" ".join(line.split()) for line in servers if line] == [
        "real 10.0.0.11:5060 line 4",
        "port 5060 default",
        "weight 5 line 4",
        "forwarding gate line 4",
        "lower 1 line 4",
        "upper 2 line 4",
        "real _sip._udp.example.com (SRV) line 5",
        "weight 1 default",
        "forwarding masq line 5",
        "fallback 10.0.0.9:5070 line 6",
        "weight 1 default",
        "forwarding gate default",
    ]


def test_words_that_only_stand_there_are_shown_when_written_and_passwords_never() -> None:
    text = text_of(TEXT)
    assert row(text, "emailalert") == ["emailalert", "a@x", "line", "9"]
    assert row(text, "passwd") == ["passwd", "(hidden)", "line", "8", "(no", "effect", "here)"]
    assert "tiger" not in text
    assert "schedflags" not in text


def test_every_word_that_works_is_shown() -> None:
    shown = {line.split()[0] for line in text_of(TEXT).splitlines() if line.strip()}
    assert {word for word, row in SECTION.items() if row.standing is Standing.WORKS} - shown == set()


def test_warnings_then_notes_at_the_end_and_a_summary_first() -> None:
    text = text_of(TEXT)
    first, *_ = text.splitlines()
    assert first == "a.cf: 1 virtual service, 2 real servers, 2 warnings, 7 notes"
    warnings = text[text.index("\nwarnings\n") : text.index("\nnotes (nothing to do)\n")]
    assert warnings.count("\n  a.cf:") == 2
    assert text.index("virtual   ") < text.index("\nwarnings\n")


def test_columns_are_aligned() -> None:
    parsed = parse("virtual = 10.0.0.1:5060\n    real = 10.0.0.11 masq\n", "a.cf")
    for table in report(parsed.config, ()).split("\n\n")[1:]:
        starts = {line.rindex("default") for line in table.splitlines() if line.endswith("default")}
        assert len(starts) == 1
    assert report(parsed.config, ()).endswith("\n")


def test_one_is_not_many() -> None:
    assert [counted(number, "server") for number in (0, 1, 2)] == ["0 servers", "1 server", "2 servers"]
