"""Lowering the life a 2xx to REGISTER grants (RFC 3261 10.3 step 8): all we ever change of a response below its Via.

Every `expires` parameter of a Contact and the Expires header; never raised, never below `LEAST`, a 0 stays a 0.
"""

from __future__ import annotations

import re

LEAST = 60
"""Seconds; shorter lives would only make phones refresh."""

_CONTACT = re.compile(rb"\n(?:contact|m)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE)
_PARAMETER = re.compile(rb"(;[ \t]*expires[ \t]*=[ \t]*)([0-9]{1,10})(?![0-9])", re.IGNORECASE)
_HEADER = re.compile(rb"(\nexpires[ \t]*:[ \t]*)([0-9]{1,10})(?![0-9])", re.IGNORECASE)


def lower_expires(data: bytes, most: int) -> bytes:
    """The response with no life above `most` seconds."""
    end = data.find(b"\r\n\r\n") + 2
    head, body = data[:end], data[end:]

    def lowered(match: re.Match[bytes]) -> bytes:
        return match[1] + str(min(int(match[2]), most)).encode()

    def contact(match: re.Match[bytes]) -> bytes:
        return _PARAMETER.sub(lowered, match[0])

    return _HEADER.sub(lowered, _CONTACT.sub(contact, head)) + body


def spread(most: int, salt: int) -> int:
    """`most` less up to a tenth, the same for the same salt: phones granted at once do not refresh at once."""
    return max(LEAST, most - salt % (most // 10 + 1))
