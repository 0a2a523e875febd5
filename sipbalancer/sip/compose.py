"""Messages of our own: answers to what we do not forward (RFC 3261 8.2.6, 16.7)."""

from __future__ import annotations

from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.grammar import REQUEST_LINE
from sipbalancer.sip.headers import Message, read_message
from sipbalancer.sip.uri import addr_spec, parameter, parameters

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


def follow_up(request: bytes, method: bytes, via: bytes, to_line: bytes = b"") -> bytes:
    """A CANCEL (9.1) or a non-2xx ACK (17.1.1.3) for an INVITE we sent: its Request-URI, From, Call-ID, CSeq number.

    `via`: our Via line with the INVITE's branch; `to_line`: the To line of the answer, for the ACK.
    """
    message = read_message(request)
    line = REQUEST_LINE.match(message.start_line)
    if line is None:
        raise MalformedMessage("request line")
    uri = line[2]
    lines = [b"%b %b SIP/2.0\r\n" % (method, uri), via, b"Max-Forwards: 70\r\n"]
    for header in message.headers:
        if header.name in (b"from", b"call-id"):
            lines.append(request[header.line : header.next])
        elif header.name == b"to":
            lines.append(to_line or request[header.line : header.next])
        elif header.name == b"cseq":
            lines.append(b"CSeq: %d %b\r\n" % (cseq_number(message), method))
    return b"".join((*lines, b"Content-Length: 0\r\n\r\n"))


def to_line_of(response: bytes) -> bytes:
    """The To line of an answer, tag and all; b"" when it cannot be read."""
    try:
        message = read_message(response)
    except MalformedMessage:
        return b""
    return next((response[header.line : header.next] for header in message.headers if header.name == b"to"), b"")


def end_dialog(answer: bytes, via_ack: bytes, via_bye: bytes) -> tuple[bytes, bytes]:
    """ACK and BYE for a 2xx to an INVITE that nobody wants any more (13.2.2.4, 15.1.1), sent to where it came from.

    We are the hop next to the answerer, so no Route is left to follow: its Contact is the target.
    MalformedMessage when the 2xx has no Contact.
    """
    message = read_message(answer)
    target = addr_spec(message.first(b"contact") or b"<>")
    if not target:
        raise MalformedMessage("contact")
    common = [answer[each.line : each.next] for each in message.headers if each.name in (b"from", b"to", b"call-id")]
    number = cseq_number(message)
    tail = b"Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ack = b"ACK %b SIP/2.0\r\n%b%bCSeq: %d ACK\r\n%b" % (target, via_ack, b"".join(common), number, tail)
    bye = b"BYE %b SIP/2.0\r\n%b%bCSeq: %d BYE\r\n%b" % (target, via_bye, b"".join(common), number + 1, tail)
    return ack, bye


def bye(
    target: bytes,
    via: bytes,
    routes: tuple[bytes, ...],
    local: bytes,
    remote: bytes,
    call_id: bytes,
    seq: int,
    reason: bytes,
) -> bytes:
    """A BYE inside a dialog (12.2.1.1, 15.1.1): `local` and `remote` are whole From and To values, tags included;
    `via` is our Via line, `reason` a Reason value (RFC 3326)."""
    route = b"".join(b"Route: %b\r\n" % value for value in routes)
    return (
        b"BYE %b SIP/2.0\r\n%b%bFrom: %b\r\nTo: %b\r\nCall-ID: %b\r\nCSeq: %d BYE\r\nReason: %b\r\n"
        b"Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ) % (target, via, route, local, remote, call_id, seq, reason)


def cseq_number(message: Message) -> int:
    """The number of its CSeq. MalformedMessage("cseq") for none."""
    number = (message.first(b"cseq") or b"").split(None, 1)[:1]
    if not number or not number[0].isdigit() or len(number[0]) > 10:
        raise MalformedMessage("cseq")
    return int(number[0])


def _with_tag(line: bytes, to_tag: bytes) -> bytes:
    value = line.partition(b":")[2]
    if not to_tag or parameter(parameters(value), b"tag") is not None:
        return line
    return line.rstrip() + b";tag=" + to_tag + b"\r\n"
