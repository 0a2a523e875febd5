"""Statements to values through the table of words: who is unknown, misplaced, retired or written twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sipbalancer.config.directives import GLOBAL, RETIRED, SECTION, SERVER_WORDS, Directive, Standing
from sipbalancer.config.findings import Cell, Findings, nearest
from sipbalancer.config.grammar import Statement


class Given(NamedTuple):
    """A value that was written, and where."""

    value: object
    line: int


def read_words(
    statements: Iterable[Statement], table: Mapping[str, Directive], extra: tuple[str, ...], findings: Findings
) -> dict[str, Given]:
    """The values of all statements that the table knows; of two the last one wins, as in ldirectord. Words in
    `extra` are somebody else's; any other word is an error."""
    given: dict[str, Given] = {}
    seen: dict[str, int] = {}
    for statement in statements:
        row = table.get(statement.word)
        if row is None:
            if statement.word not in extra:
                findings.error(statement.line, statement.word, _advice(statement, table, extra))
            continue
        if statement.word in seen and statement.word != "execute":
            findings.warn(statement.line, statement.word, f"replaces the value of line {seen[statement.word]}")
        seen[statement.word] = statement.line
        value = row.read(Cell(findings, *statement))
        if value is not None:
            given[statement.word] = _collected(given, row, Given(value, statement.line))
            _say_standing(statement, row, findings)
    return given


def _collected(given: Mapping[str, Given], row: Directive, new: Given) -> Given:
    """`execute` may be written several times: its value is the list of all."""
    if row.word != "execute":
        return new
    before = given.get(row.word)
    return Given((*(before.value if before and isinstance(before.value, tuple) else ()), new.value), new.line)


def _say_standing(statement: Statement, row: Directive, findings: Findings) -> None:
    if row.standing is Standing.NOTHING:
        findings.note(statement.line, row.word, row.meaning)


def _advice(statement: Statement, table: Mapping[str, Directive], extra: tuple[str, ...]) -> str:
    word = statement.word
    if word in RETIRED:
        return RETIRED[word]
    if table is GLOBAL and (word in SECTION or word in SERVER_WORDS):
        return "belongs in a `virtual` section: indent it by four blanks, below its `virtual =` line"
    if table is SECTION and word in GLOBAL:
        return "is a global word: write it at column one, above the first `virtual =` line"
    return f"unknown word{nearest(word, (*table, *extra, 'virtual')) or '; conf/sipbalancer.cf lists all words'}"
