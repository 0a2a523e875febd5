"""The general reader: any message RFC 3261 allows, as a start line and header lines with their places.

Right rather than quick: it unfolds, knows compact forms and every spelling, and takes a bare LF for a line's end.
`scan` uses it for whatever its quick way declines; the slow verbs (learning Contacts, `explain`) use it directly.
"""

from __future__ import annotations

from typing import NamedTuple

from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.grammar import COMPACT, LINES


class Header(NamedTuple):
    """One header line; places are offsets into the message."""

    name: bytes
    """Long form, lower case."""
    line: int
    """Where the line starts."""
    start: int
    """Where the value starts, white space skipped."""
    stop: int
    """Where the value ends, white space and line end excluded."""
    next: int
    """Where the next line starts."""


class Message(NamedTuple):
    data: bytes
    start_line: bytes
    headers: tuple[Header, ...]
    body: int
    """Where the body starts."""

    def value(self, header: Header) -> bytes:
        """The value, unfolded (7.3.1)."""
        raw = self.data[header.start : header.stop]
        return b" ".join(part.strip() for part in raw.splitlines()) if b"\n" in raw else raw

    def first(self, name: bytes) -> bytes | None:
        """The value of the first header of that lower-case long name."""
        for header in self.headers:
            if header.name == name:
                return self.value(header)
        return None

    def all(self, name: bytes) -> list[bytes]:
        """The values of all header lines of that lower-case long name, in order."""
        return [self.value(header) for header in self.headers if header.name == name]


def read_message(data: bytes) -> Message:
    """Take a message apart.

    MalformedMessage("framing") without the blank line, ("header") for a line with no colon, ("lines") for too many.
    """
    start = 0
    while data[start : start + 2] == b"\r\n":
        start += 2
    at, stop = _line(data, start)
    start_line = data[start:stop]
    headers: list[Header] = []
    lines = 0
    while True:
        line = at
        at, stop = _line(data, line)
        if stop == line:
            return Message(data, start_line, tuple(headers), at)
        lines += 1
        while data[at : at + 1] in (b" ", b"\t") and lines <= LINES:
            at, stop = _line(data, at)
            lines += 1
        if lines > LINES:
            raise MalformedMessage("lines")
        headers.append(_header(data, line, stop, at))


def _line(data: bytes, start: int) -> tuple[int, int]:
    """(start of the next line, end of this one without its line end)."""
    newline = data.find(b"\n", start)
    if newline < 0:
        raise MalformedMessage("framing")
    return newline + 1, newline - 1 if newline > start and data[newline - 1] == 0x0D else newline


def _header(data: bytes, line: int, stop: int, following: int) -> Header:
    colon = data.find(b":", line, stop)
    name = data[line:colon].rstrip(b" \t").lower() if colon > line else b""
    if not name or name[0] in b" \t":
        raise MalformedMessage("header")
    value = data[colon + 1 : stop].lstrip(b" \t\r\n")
    start = stop - len(value)
    stop = start + len(value.rstrip(b" \t\r\n"))
    return Header(COMPACT.get(name, name), line, start, stop, following)
