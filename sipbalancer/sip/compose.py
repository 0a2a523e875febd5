"""Messages of our own: answers to what we do not forward (RFC 3261 8.2.6, 16.7)."""

from __future__ import annotations

from sipbalancer.sip.headers import read_message
from sipbalancer.sip.uri import parameter, parameters

PHRASES = {
    200: b"OK",
    400: b"Bad Request",
    403: b"Forbidden",
    408: b"Request Timeout",
    480: b"Temporarily Unavailable",
    481: b"Call/Transaction Does Not Exist",
    483: b"Too Many Hops",
    487: b"Request Terminated",
    500: b"Server Internal Error",
    503: b"Service Unavailable",
}

_COPIED = (b"via", b"from", b"call-id", b"cseq")


def reply(request: bytes, status: int, to_tag: bytes, extra: bytes = b"") -> bytes:
    """An answer to a request whose top Via already says where it came from (18.2.1).

    Via lines, From, Call-ID and CSeq as they came, To with a tag of ours (8.2.6.2); `extra` is whole header lines.
    MalformedMessage when the request lacks what an answer is made of.
    """
    message = read_message(request)
    lines = [b"SIP/2.0 %d %b\r\n" % (status, PHRASES[status])]
    for header in message.headers:
        if header.name in _COPIED:
            lines.append(request[header.line : header.next])
        elif header.name == b"to":
            lines.append(_with_tag(request[header.line : header.next], to_tag))
    lines.append(extra)
    lines.append(b"Content-Length: 0\r\n\r\n")
    return b"".join(lines)


def _with_tag(line: bytes, to_tag: bytes) -> bytes:
    value = line.partition(b":")[2]
    if not to_tag or parameter(parameters(value), b"tag") is not None:
        return line
    return line.rstrip() + b";tag=" + to_tag + b"\r\n"
