"""SIP URIs and name-addrs: the few parts a choice or a binding is made by (RFC 3261 19.1, 20.10).

Reads only. Nothing here knows which names are ours; the caller says.
"""

from __future__ import annotations

from typing import NamedTuple

from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.grammar import DEFAULT_PORT, HOST_PORT, PARAMETER, SIP_URI


class Uri(NamedTuple):
    """A SIP URI taken apart; `user` is unescaped, `host` lower-case, `port` 5060 where none is written."""

    user: bytes
    host: bytes
    port: int
    params: bytes

    @property
    def place(self) -> tuple[bytes, int]:
        """(host, port): what *ours* is tested by (design 4.1)."""
        return self.host, self.port


def read_uri(text: bytes) -> Uri:
    """Read a SIP or SIPS URI. MalformedMessage("uri") when it is none."""
    match = SIP_URI.match(text)
    if match is None:
        raise MalformedMessage("uri")
    user, host, port, params = match["user"] or b"", match["host"], match["port"], match["params"] or b""
    number = int(port) if port else DEFAULT_PORT
    if number > 65535:
        raise MalformedMessage("uri")
    return Uri(unescape(user), host.lower(), number, params)


def read_place(text: bytes) -> tuple[bytes, int]:
    """`host[:port]` -> (lower-case host, port), 5060 where none is written. MalformedMessage("host") otherwise."""
    match = HOST_PORT.match(text.replace(b" ", b"").replace(b"\t", b""))
    if match is None:
        raise MalformedMessage("host")
    port = int(match[2]) if match[2] else DEFAULT_PORT
    if port > 65535:
        raise MalformedMessage("host")
    return match[1].lower(), port


def unescape(text: bytes) -> bytes:
    """Undo %XX (19.1.2); a broken escape stays as it is."""
    if b"%" not in text:
        return text
    head, *rest = text.split(b"%")
    return head + b"".join(_unescape_one(part) for part in rest)


def _unescape_one(part: bytes) -> bytes:
    try:
        return bytes((int(part[:2], 16),)) + part[2:] if len(part[:2].strip()) == 2 else b"%" + part
    except ValueError:
        return b"%" + part


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
    """One parameter by its lower-case name: its value, b"" when it stands bare, None when absent."""
    for match in PARAMETER.finditer(params):
        if match[1].lower() == name:
            return match[2] or b""
    return None


def _after_display_name(value: bytes) -> int:
    """Where a quoted display name ends, so that a `<` or `;` inside it deceives nobody."""
    stripped = value.lstrip()
    if not stripped.startswith(b'"'):
        return 0
    at = len(value) - len(stripped) + 1
    while at < len(value):
        if value[at] == 0x5C:
            at += 2
        elif value[at] == 0x22:
            return at + 1
        else:
            at += 1
    raise MalformedMessage("name-addr")


def split_values(value: bytes) -> list[tuple[int, int]]:
    """(start, end) of each comma-separated element of a header value (7.3.1), trimmed; quotes and <> hold."""
    spans: list[tuple[int, int]] = []
    start, quoted, angle, at = 0, False, False, 0
    while at < len(value):
        octet = value[at]
        if octet == 0x5C and quoted:
            at += 1
        elif octet == 0x22 and not angle:
            quoted = not quoted
        elif not quoted and octet == 0x3C:
            angle = True
        elif not quoted and octet == 0x3E:
            angle = False
        elif octet == 0x2C and not quoted and not angle:
            spans.append(_trim(value, start, at))
            start = at + 1
        at += 1
    spans.append(_trim(value, start, len(value)))
    return [span for span in spans if span[0] < span[1]]


def _trim(value: bytes, start: int, end: int) -> tuple[int, int]:
    while start < end and value[start] in b" \t\r\n":
        start += 1
    while end > start and value[end - 1] in b" \t\r\n":
        end -= 1
    return start, end
