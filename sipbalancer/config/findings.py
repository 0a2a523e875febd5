"""What is wrong or odd in a file, gathered while it is read: a reader records and goes on, nothing is raised.

`Findings` belongs to one file, `Cell` to one value in it. Texts end up on an operator's terminal, so what
the file says is shown cut and without control characters.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from sipbalancer.errors import ConfigError, Finding

_LONGEST_SHOWN = 60


def shown(text: str) -> str:
    """A piece of the file fit for a message: one line, printable, at most 60 characters."""
    cut = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in cut)


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` when some known word is like this one, else an empty text."""
    found = get_close_matches(word.lower()[:_LONGEST_SHOWN], sorted(set(known)), n=1, cutoff=0.6)
    return f'; did you mean "{found[0]}"?' if found else ""


class Findings:
    """Errors and warnings of one file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._errors: list[Finding] = []
        self._warnings: list[Finding] = []

    def error(self, line: int, word: str, advice: str) -> None:
        self._errors.append(Finding(self.path, line, shown(word), advice))

    def warn(self, line: int, word: str, advice: str) -> None:
        """Something the operator should change or must know."""
        self._warnings.append(Finding(self.path, line, shown(word), advice))

    def note(self, line: int, word: str, advice: str) -> None:
        """A difference from ldirectord that asks for nothing."""
        self._warnings.append(Finding(self.path, line, shown(word), advice, note=True))

    def warnings(self) -> tuple[Finding, ...]:
        """All warnings and notes in line order; raises ConfigError with all errors if there is one."""
        if self._errors:
            raise ConfigError(tuple(sorted(self._errors, key=lambda finding: finding.line)))
        return tuple(sorted(self._warnings, key=lambda finding: finding.line))


class Cell:
    """One value: its text, and where to say what is wrong with it. `wrong` marks it as unusable."""

    def __init__(self, findings: Findings, line: int, word: str, text: str) -> None:
        self.findings = findings
        self.line = line
        self.word = word
        self.text = text

    def wrong(self, advice: str) -> None:
        self.findings.error(self.line, self.word, advice)

    def doubt(self, advice: str) -> None:
        self.findings.warn(self.line, self.word, advice)

    def note(self, advice: str) -> None:
        self.findings.note(self.line, self.word, advice)
