"""Bytes to the few facts a balancer needs. Reads; never changes a byte.

Strategy: the spelling every common stack writes is found with `bytes.find`, one fact after the other; whatever
deviates (compact or odd spelling, folding, a Via that is not the first header, several Vias in one line ...) goes
to the general reader, and a property test proves that both agree. Facts are plain tuples, unpacked where they are
used: a named tuple costs 300 ns more per message.

Content-Length is not held against the datagram (18.3): the server behind must do that, and does.

Every function raises MalformedMessage(reason) and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.grammar import (
    HOPS,
    LINES,
    LONGEST_VIA,
    ODD_LINE,
    PARAMETERS,
    REQUEST_HEAD,
    REQUEST_LINE,
    RESPONSE_HEAD,
    ROUTES,
    STATUS_LINE,
    VIA,
)
from sipbalancer.sip.headers import Header, Message, read_message
from sipbalancer.sip.uri import addr_spec, parameter, split_values

_ROOMY = 6 * LINES
"""Octets below which that many lines have no room in the usual spelling."""
_HOPS = {text: hops for hops, text in enumerate(HOPS)}

RouteElement = tuple[bytes, int, int]
"""(URI, cut start, cut end): cutting the spans of the leading elements removes just them, whole lines where whole."""

RequestFacts = tuple[
    bytes,
    bytes,
    bytes,
    int,
    int,
    int,
    bytes,
    bytes,
    bytes,
    bytes,
    bytes,
    bytes,
    int,
    int,
    int,
    tuple[RouteElement, ...],
    int,
]

ResponseFacts = tuple[int, bytes, int, int, bytes, int, int]


class Request(NamedTuple):
    """What the items of RequestFacts are, in order; the slow paths say `Request(*facts)`."""

    data: bytes
    """The message; as it came, but for what a client wrote of received and rport into its own Via."""
    method: bytes
    uri: bytes
    head: int
    """Where the first header line starts."""
    rport: int
    """Just behind an empty `;rport` of the top Via; -1 when it does not ask."""
    via_end: int
    """Where the top Via ends (its line, or its element)."""
    sent_by: bytes
    branch: bytes
    """b"" when there is none."""
    call_id: bytes
    cseq: bytes
    """The number, as written."""
    from_value: bytes
    to_value: bytes
    hops: int
    """Max-Forwards; -1 when absent."""
    hops_start: int
    hops_end: int
    routes: tuple[RouteElement, ...]
    end: int
    """Where the header section ends: at the blank line's own CRLF minus one line end."""


class Response(NamedTuple):
    """What the items of ResponseFacts are, in order."""

    status: int
    sent_by: bytes
    pop_start: int
    pop_end: int
    """Cutting data[pop_start:pop_end] removes the top Via."""
    branch: bytes
    """Of the top Via, whole; b"" when there is none."""
    next_start: int
    next_end: int
    """The span of the next Via's value; (-1, -1) when there is none."""


def scan_request(data: bytes) -> RequestFacts:
    """Facts of a request (see Request). MalformedMessage for what must not be forwarded (RFC 3261 16.3)."""
    top = REQUEST_HEAD.match(data)
    if top is None:
        return _read_request(data)
    via_end = top.end() - 2
    blank = ODD_LINE.search(data, via_end)
    if blank is None:
        return _read_request(data)
    end = blank.start() - 1
    if data[end : end + 4] != b"\r\n\r\n" or data[end - 1] in b" \t\r":
        return _read_request(data)
    method, uri, sent_by, before, branch, after = top.groups()
    hops_start = data.find(b"\nMax-Forwards: ", via_end, end) + 15
    call_at = data.find(b"\nCall-ID: ", via_end, end) + 10
    cseq_at = data.find(b"\nCSeq: ", via_end, end) + 7
    from_at = data.find(b"\nFrom: ", via_end, end) + 7
    to_at = data.find(b"\nTo: ", via_end, end) + 5
    if hops_start == 14 or call_at == 9 or cseq_at == 6 or from_at == 6 or to_at == 4:
        return _read_request(data)
    hops_end = data.find(b"\r\n", hops_start)
    hops = _HOPS.get(data[hops_start:hops_end])
    number, _, cseq_method = data[cseq_at : data.find(b"\r\n", cseq_at)].partition(b" ")
    if hops is None or cseq_method != method or not number.isdigit() or len(number) > 10:
        return _read_request(data)
    if end > _ROOMY and data.count(b"\n", 0, end) > LINES:
        return _read_request(data)
    route = data.find(b"\nRoute: ", via_end, end)
    return (
        data,
        method,
        uri,
        top.end(2) + 10,
        top.end(4) if before else via_end if after else -1,
        via_end,
        sent_by,
        branch,
        data[call_at : data.find(b"\r\n", call_at)],
        number,
        data[from_at : data.find(b"\r\n", from_at)],
        data[to_at : data.find(b"\r\n", to_at)],
        hops,
        hops_start,
        hops_end,
        () if route < 0 else _scan_routes(data, route + 1, end),
        end,
    )


def _scan_routes(data: bytes, line: int, end: int) -> tuple[RouteElement, ...]:
    """The usual case, one line with one `<...>`; anything else is read the general way."""
    stop = data.find(b"\r\n", line)
    value = data[line + 6 : stop].strip(b" \t\r")
    one = value.startswith(b"<") and value.endswith(b">") and value.count(b"<") == value.count(b">") == 1
    if not one or data.find(b"\nRoute:", stop, end) >= 0:
        return read_routes(read_message(data))
    return ((value[1:-1].strip(), line, stop + 2),)


def scan_response(data: bytes) -> ResponseFacts:
    """Facts of a response (see Response).

    Headers below the second Via are not looked at here: what the general reader would refuse for one of them goes on
    to the client as the server wrote it.
    """
    top = RESPONSE_HEAD.match(data)
    if top is None:
        return _read_response(data)
    status, sent_by, branch, _ = top.groups()
    start, stop = top.span(4)
    return int(status), sent_by, top.start(2) - 17, start - 5, branch, start, stop


# The general way.


def _read_request(data: bytes) -> RequestFacts:
    message = read_message(data)
    line = REQUEST_LINE.match(message.start_line)
    if line is None:
        raise MalformedMessage("request line")
    via, stop = _top_via(message)
    cleaned = _clean_via(data, via, stop)
    if cleaned is not data:
        return _read_request(cleaned)
    sent_by, params = read_via(data[via:stop])
    cseq, cseq_method = _cseq(message)
    if cseq_method != line[1]:
        raise MalformedMessage("cseq")
    hops, hops_start, hops_end = _hops(message)
    return (
        data,
        line[1],
        line[2],
        message.headers[0].line,
        _rport(data, via, stop),
        stop,
        sent_by,
        parameter(params, b"branch") or b"",
        _one(message, b"call-id"),
        cseq,
        _one(message, b"from"),
        _one(message, b"to"),
        hops,
        hops_start,
        hops_end,
        read_routes(message),
        _end(message),
    )


def _read_response(data: bytes) -> ResponseFacts:
    message = read_message(data)
    line = STATUS_LINE.match(message.start_line)
    if line is None:
        raise MalformedMessage("status line")
    vias = list(islice(_vias(message), 2))
    if not vias:
        raise MalformedMessage("via")
    header, start, stop = vias[0]
    sent_by, params = read_via(data[start:stop])
    following = vias[1] if len(vias) > 1 else (None, -1, -1)
    shared = following[0] is header
    return (
        int(line[1]),
        sent_by,
        start if shared else header.line,
        following[1] if shared else header.next,
        parameter(params, b"branch") or b"",
        following[1],
        following[2],
    )


def _end(message: Message) -> int:
    """Where the last header line ends, without its line end."""
    end = message.headers[-1].next - 1
    return end - 1 if message.data[end - 1] == 0x0D else end


def _vias(message: Message) -> Iterator[tuple[Header, int, int]]:
    """Each Via element: its line, and where it stands."""
    for header in message.headers:
        if header.name == b"via":
            for start, stop in split_values(message.data[header.start : header.stop]):
                yield header, header.start + start, header.start + stop


def _top_via(message: Message) -> tuple[int, int]:
    """Of a request: one that `parameter` will see all of, also with what we write behind it, when it comes back."""
    for _, start, stop in _vias(message):
        if stop - start > LONGEST_VIA or message.data.count(b";", start, stop) > PARAMETERS - 2:
            break
        return start, stop
    raise MalformedMessage("via")


def read_via(value: bytes) -> tuple[bytes, bytes]:
    """(sent-by without white space, parameters) of one Via. MalformedMessage("via") when it is none."""
    match = VIA.match(value)
    if match is None:
        raise MalformedMessage("via")
    return b"".join(match["sent_by"].split()), match["params"] or b""


def _clean_via(data: bytes, start: int, stop: int) -> bytes:
    """Take out what a client must not write: received, and the value of rport (RFC 3581 3). Else `data` itself."""
    pieces: list[bytes] = []
    changed = False
    for piece in data[start:stop].split(b";"):
        name = piece.partition(b"=")[0].strip().lower()
        if name == b"received" and pieces:
            changed = True
        elif name == b"rport" and pieces and piece != b"rport":
            pieces.append(b"rport")
            changed = True
        else:
            pieces.append(piece)
    return data[:start] + b";".join(pieces) + data[stop:] if changed else data


def _rport(data: bytes, start: int, stop: int) -> int:
    at = start
    for piece in data[start:stop].split(b";"):
        at += len(piece)
        if piece == b"rport":
            return at
        at += 1
    return -1


def _one(message: Message, name: bytes) -> bytes:
    """A header that must be there once (8.1.1); where it is repeated the first counts."""
    value = message.first(name)
    if not value:
        raise MalformedMessage(name.decode())
    return value


def _cseq(message: Message) -> tuple[bytes, bytes]:
    parts = _one(message, b"cseq").split()
    if len(parts) != 2 or not parts[0].isdigit() or len(parts[0]) > 10:
        raise MalformedMessage("cseq")
    return parts[0], parts[1]


def _hops(message: Message) -> tuple[int, int, int]:
    for header in message.headers:
        if header.name == b"max-forwards":
            value = message.value(header)
            if not value.isdigit() or len(value) > 3:
                raise MalformedMessage("max-forwards")
            return int(value), header.start, header.stop
    return -1, -1, -1


def read_routes(message: Message) -> tuple[RouteElement, ...]:
    """All Route elements in order (20.34).

    MalformedMessage("name-addr") for one without a closing bracket, ("route") for more than `ROUTES`.
    """
    routes: list[RouteElement] = []
    for header in message.headers:
        if header.name == b"route":
            routes.extend(_route_line(message.data, header))
            if len(routes) > ROUTES:
                raise MalformedMessage("route")
    return tuple(routes)


def _route_line(data: bytes, header: Header) -> list[RouteElement]:
    value = data[header.start : header.stop]
    spans = split_values(value)
    cuts = [header.start + start for start, _ in spans[1:]]
    routes = [
        (addr_spec(value[start:stop]), header.start + start, cut)
        for (start, stop), cut in zip(spans, cuts, strict=False)
    ]
    if spans:
        routes.append((addr_spec(value[spans[-1][0] : spans[-1][1]]), header.line, header.next))
    return routes
