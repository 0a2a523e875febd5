"""Every exception of ours.

SipBalancerError
├── ConfigError          the file, a flag or a command is wrong: exit status 2
├── EnvironmentFault     a permission, address or program is missing: exit status 1
├── Unresolved           a host name has no address now; asked again later
├── AdminError           a command over the admin socket cannot be carried out
└── MalformedMessage     bytes that are not the SIP they claim to be; never leaves the forwarder
"""

from __future__ import annotations

from typing import NamedTuple


class SipBalancerError(Exception):
    """The root: catch this to catch all of ours."""


class Finding(NamedTuple):
    """One thing wrong (or odd) in a file: where, which word, and what to write instead."""

    path: str
    line: int
    word: str
    advice: str
    note: bool = False
    """Only worth knowing (a difference from ldirectord): nothing has to be done."""

    def __str__(self) -> str:
        # Line 0: the whole file is meant (it cannot be read), and no word of it.
        where = f"{self.path}:{self.line}" if self.line else self.path
        return ": ".join(part for part in (where, self.word, self.advice) if part)


class ConfigError(SipBalancerError):
    """All errors of one file, in line order, never only the first."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__("\n".join(str(finding) for finding in findings))
        self.findings = findings


class EnvironmentFault(SipBalancerError):
    """Something outside is missing; the text names it and how to get it."""


class Unresolved(SipBalancerError):
    """A host name could not be resolved; the text says what was asked and what came of it."""


class AdminError(SipBalancerError):
    """The command was understood and refused; the text says why."""


class MalformedMessage(SipBalancerError):
    """Raised by `sip`, caught at one place in the forwarder; `reason` is a metric label."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
