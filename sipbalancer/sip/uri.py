"""SIP URIs and name-addrs: the few parts a choice or a binding is made by (RFC 3261 19.1, 20.10).

Reads only. Nothing here knows which names are ours; the caller says.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from itertools import islice
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.grammar import (
    DEFAULT_PORT,
    HOST_PORT,
    LONGEST_URI,
    PARAMETER,
    PARAMETERS,
    SIP_URI,
    VALUES,
)

_DISPLAY_NAME = re.compile(rb'\s*"(?:[^"\\]|\\.)*"', re.DOTALL)
_PIECE = re.compile(rb'"(?:[^"\\]|\\.?)*"?|<[^>]*>?|,', re.DOTALL)
"""What a list is split by: a comma, but none inside quotes or <>."""


class Uri(NamedTuple):
    """A SIP URI taken apart; `user` is unescaped, `host` in one spelling, `port` 5060 where none is written."""

    user: bytes
    host: bytes
    port: int
    params: bytes

    @property
    def place(self) -> tuple[bytes, int]:
        """(host, port): what *ours* is tested by (design 4.1)."""
        return self.host, self.port


def read_uri(text: bytes) -> Uri:
    """Read a SIP or SIPS URI. MalformedMessage("uri") when it is none, or longer than `LONGEST_URI`."""
    match = SIP_URI.match(text) if len(text) <= LONGEST_URI else None
    if match is None:
        raise MalformedMessage("uri")
    user, host, port, params = match["user"] or b"", match["host"], match["port"], match["params"] or b""
    number = int(port) if port else DEFAULT_PORT
    if number > 65535:
        raise MalformedMessage("uri")
    return Uri(unescape(user), _one_spelling(host), number, params)


def read_place(text: bytes) -> tuple[bytes, int]:
    """`host[:port]` -> (host in one spelling, port), 5060 where none is written. MalformedMessage("host") otherwise."""
    match = HOST_PORT.match(text.replace(b" ", b"").replace(b"\t", b""))
    if match is None:
        raise MalformedMessage("host")
    port = int(match[2]) if match[2] else DEFAULT_PORT
    if port > 65535:
        raise MalformedMessage("host")
    return _one_spelling(match[1]), port


def _one_spelling(host: bytes) -> bytes:
    """A name in lower case, an IPv6 literal as RFC 5952 writes it. MalformedMessage("host") for a broken literal."""
    if not host.startswith(b"["):
        return host.lower()
    try:
        return b"[%b]" % str(IPv6Address(host[1:-1].decode("ascii"))).encode()
    except ValueError:
        raise MalformedMessage("host") from None


def unescape(text: bytes) -> bytes:
    """Undo %XX (19.1.2); a broken escape stays as it is."""
    return unquote_to_bytes(text) if b"%" in text else text


def addr_spec(value: bytes) -> bytes:
    """The URI of a name-addr or addr-spec (From, To, Contact, Route): what stands in <>, else up to the first `;`."""
    start = _after_display_name(value)
    opening = value.find(b"<", start)
    if opening < 0:
        return value[start:].split(b";", 1)[0].strip()
    closing = value.find(b">", opening)
    if closing < 0:
        raise MalformedMessage("name-addr")
    return value[opening + 1 : closing].strip()


def parameters(value: bytes) -> bytes:
    """What follows the URI of a name-addr or addr-spec: its header parameters, from the first `;`."""
    start = _after_display_name(value)
    closing = value.find(b">", start)
    if closing >= 0:
        return value[closing + 1 :]
    semicolon = value.find(b";", start)
    return value[semicolon:] if semicolon >= 0 else b""


def parameter(params: bytes, name: bytes) -> bytes | None:
    """One parameter by its lower-case name: its value, b"" when it stands bare, None when absent (among the first
    `PARAMETERS`)."""
    for match in islice(PARAMETER.finditer(params), PARAMETERS):
        if match[1].lower() == name:
            return match[2] or b""
    return None


def _after_display_name(value: bytes) -> int:
    """Where a quoted display name ends, so that a `<` or `;` inside it deceives nobody."""
    if b'"' not in value or not value.lstrip().startswith(b'"'):
        return 0
    match = _DISPLAY_NAME.match(value)
    if match is None:
        raise MalformedMessage("name-addr")
    return match.end()


def split_values(value: bytes) -> list[tuple[int, int]]:
    """(start, end) of each comma-separated element of a header value (7.3.1), trimmed; quotes and <> hold.

    MalformedMessage("list") for more than `VALUES` pieces.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _PIECE.finditer(value) if b"," in value else ():
        if match[0] == b",":
            spans.append(_trim(value, start, match.start()))
            start = match.end()
            if len(spans) >= VALUES:
                raise MalformedMessage("list")
    spans.append(_trim(value, start, len(value)))
    return [span for span in spans if span[0] < span[1]]


def _trim(value: bytes, start: int, end: int) -> tuple[int, int]:
    piece = value[start:end].lstrip(b" \t\r\n")
    start = end - len(piece)
    return start, start + len(piece.rstrip(b" \t\r\n"))
