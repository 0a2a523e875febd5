"""Lines and sections: where a statement stands, never what it means.

A file is global statements at column one and sections: an unindented `virtual =` (or `virtual6 =`) and the
indented lines below it. ldirectord's grammar, made kinder where ldirectord would stop: blank lines inside a
section, narrow indentation and trailing comments are accepted; `#` inside quotes is text.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import NamedTuple

from sipbalancer.config.findings import Findings, shown

_STATEMENT = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)[ \t]*=[ \t]*(.*)", re.DOTALL)
_INDENT = 4
_HEADS = ("virtual", "virtual6")
_BARE = "supervised"
"""The one word ldirectord takes without a value."""
_UNDECODED = "\ufffd"
_FREE_TEXT = frozenset(("comment", "servicename", "emailalertfrom"))


class Statement(NamedTuple):
    """`word = value` with its line; the value is raw (quotes kept), comments cut."""

    line: int
    word: str
    value: str


class Section(NamedTuple):
    """A `virtual =` line and the statements below it."""

    head: Statement
    body: tuple[Statement, ...]


class Outline(NamedTuple):
    """A file as statements in order."""

    top: tuple[Statement, ...]
    sections: tuple[Section, ...]


def outline(text: str, global_words: Container[str], findings: Findings) -> Outline:
    """Cut a file into statements. `global_words` are the words that may stand at column one: only they close a
    section, so that one line that lost its indentation does not turn all the lines below it into errors."""
    return _Reader(global_words, findings).read(text)


def cut_comment(body: str) -> tuple[str, bool]:
    """The line without its comment, and whether a `#` inside quotes was kept. A quote that never closes is text."""
    kept = False
    at = 0
    while at < len(body):
        if body[at] == "#":
            return body[:at].rstrip(" \t"), kept
        if body[at] == '"' and (close := body.find('"', at + 1)) > 0:
            kept = kept or "#" in body[at:close]
            at = close
        at += 1
    return body.rstrip(" \t"), kept


def _is_odd(char: str) -> bool:
    return char == _UNDECODED or not (char.isprintable() or char == "\t")


def _odd_advice(char: str) -> str:
    if char == _UNDECODED or "\ud800" <= char <= "\udfff":
        return "has bytes that are not UTF-8; save the file as UTF-8, or type the value anew"
    return f"has the character U+{ord(char):04X}, which cannot be seen; type it anew"


class _Reader:
    def __init__(self, global_words: Container[str], findings: Findings) -> None:
        self._global_words = global_words
        self._findings = findings
        self._top: list[Statement] = []
        self._sections: list[tuple[Statement, list[Statement]]] = []
        self._open: list[Statement] | None = None
        self._closed_at = 0
        self._blank_at = 0
        self._said_blank = self._said_indent = False

    def read(self, text: str) -> Outline:
        for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
            self._line(number, raw.rstrip("\r"))
        return Outline(tuple(self._top), tuple(Section(head, tuple(body)) for head, body in self._sections))

    def _line(self, number: int, raw: str) -> None:
        body, hash_kept = cut_comment(raw)
        content = body.lstrip(" \t")
        if not content:
            self._blank_at = self._blank_at if raw.strip(" \t") else number
            return
        statement = self._statement(number, content)
        if statement is None:
            return
        width = len(body[: len(body) - len(content)].replace("\t", "    "))
        if width:
            self._indented(statement, width, hash_kept)
        else:
            self._at_column_one(statement)
        self._blank_at = 0

    def _statement(self, number: int, content: str) -> Statement | None:
        match = _STATEMENT.fullmatch(content)
        if match is None:
            return self._no_statement(number, content)
        word, value = match.groups()
        odd = next((char for char in value if _is_odd(char)), None)
        if odd is None:
            return Statement(number, word, value)
        if word in _FREE_TEXT:
            self._findings.warn(number, word, "has characters that cannot be shown; `?` stands for them")
            return Statement(number, word, "".join("?" if _is_odd(char) else char for char in value))
        self._findings.error(number, word, _odd_advice(odd))
        return None

    def _no_statement(self, number: int, content: str) -> Statement | None:
        word = content.split()[0] if content.split() else content
        if word == content == _BARE:
            self._findings.warn(number, word, "stands without a value; write `supervised = yes`")
            return Statement(number, word, "yes")
        if not content[0].isascii():
            advice = f"the line begins with the character U+{ord(content[0]):04X}; type its beginning anew"
        elif "=" in content:
            advice = "is no word of this file; a line is `word = value`"
        else:
            advice = f"no `=` on this line; write `{shown(word)} = value`"
        self._findings.error(number, word, advice)
        return None

    def _at_column_one(self, statement: Statement) -> None:
        if statement.word in _HEADS:
            self._open = []
            self._sections.append((statement, self._open))
            self._said_blank = self._said_indent = False
            return
        self._top.append(statement)
        if self._open is not None and statement.word in self._global_words:
            self._open = None
            self._closed_at = statement.line

    def _indented(self, statement: Statement, width: int, hash_kept: bool) -> None:
        line, word, _ = statement
        if word in _HEADS:
            self._findings.error(line, word, "opens a section: write it at column one, without blanks before it")
        elif self._open is None:
            self._findings.error(line, word, self._nothing_open())
        else:
            self._open.append(statement)
            self._odd_section_line(statement, width, hash_kept)

    def _nothing_open(self) -> str:
        if self._closed_at:
            return (
                f"is indented, but line {self._closed_at} (not indented) ended the section;"
                f" move line {self._closed_at} above the `virtual =` line"
            )
        return "is indented, but no section is open; begin it at column one, or put a `virtual =` line above it"

    def _odd_section_line(self, statement: Statement, width: int, hash_kept: bool) -> None:
        line, word, _ = statement
        if self._blank_at and not self._said_blank:
            self._said_blank = True
            self._findings.note(
                line,
                word,
                f"blank line {self._blank_at} inside the section: fine here, ldirectord ends the section there",
            )
        if width < _INDENT and not self._said_indent:
            self._said_indent = True
            self._findings.note(
                line, word, f"indented by {width}: fine here, ldirectord wants four blanks or a tab in a section"
            )
        if hash_kept:
            self._findings.warn(line, word, "`#` inside quotes is kept as text; ldirectord cuts the line there")
