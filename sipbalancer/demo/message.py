"""SIP messages as the demo's phones and servers see them: start line, header list, body.

A reader and a writer that stand on their own: nothing here is shared with the balancer's own reader, so a mistake in
one is not hidden by the same mistake in the other. `parse` never raises; what is not SIP is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

Address = tuple[str, int]
Datagram = tuple[bytes, Address]

MAGIC_COOKIE = "z9hG4bK"
COMPACT_FORMS = {
    "b": "Referred-By",
    "c": "Content-Type",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
}
MANDATORY = ("Via", "From", "To", "Call-ID", "CSeq")


@dataclass(slots=True)
class Message:
    """One request or response; `headers` keeps order, and compact names are written out."""

    start: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    @property
    def status(self) -> int:
        """The status code, or 0 for a request."""
        return int(self.start[8:11]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        """The method of a request; of a response, the method it answers (CSeq)."""
        return self.get("CSeq").rpartition(" ")[2] if self.status else self.start.partition(" ")[0]

    @property
    def uri(self) -> str:
        """The Request-URI (of a request only)."""
        return self.start.split(" ")[1]

    @property
    def cseq(self) -> int:
        """The CSeq number; 0 when it is no number."""
        return number(self.get("CSeq").partition(" ")[0])

    @property
    def call_id(self) -> str:
        return self.get("Call-ID")

    @property
    def branch(self) -> str:
        """The branch of the topmost Via."""
        return parameter(self.top("Via"), "branch")

    def get(self, name: str) -> str:
        """The first header of that name, whole, or an empty string."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), "")

    def all(self, name: str) -> list[str]:
        """Every value of a list header, commas taken apart, in order."""
        wanted = name.lower()
        return [item for key, value in self.headers if key.lower() == wanted for item in split_list(value)]

    def top(self, name: str) -> str:
        """The first value of a list header, or an empty string."""
        values = self.all(name)
        return values[0] if values else ""

    def has_option(self, name: str, option: str) -> bool:
        """Whether an option-tag header (Supported, Require ...) lists `option`."""
        return option in (tag.lower() for tag in self.all(name))

    def add(self, name: str, value: str) -> None:
        self.headers.append((name, value))

    def remove(self, name: str) -> None:
        wanted = name.lower()
        self.headers = [(key, value) for key, value in self.headers if key.lower() != wanted]

    def replace(self, name: str, values: Iterable[str]) -> None:
        """Put `values`, one header each, where the first header of that name stood (or in front)."""
        wanted = name.lower()
        at = next((i for i, (key, _) in enumerate(self.headers) if key.lower() == wanted), 0)
        self.remove(name)
        self.headers[at:at] = [(name, value) for value in values]

    def copy(self) -> Message:
        return Message(self.start, list(self.headers), self.body)

    def encode(self) -> bytes:
        """The bytes to send, with a true Content-Length."""
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers if name.lower() != "content-length")]
        lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join((*lines, "", "")).encode("utf-8", "surrogateescape") + self.body


def parse(data: bytes) -> Message | None:
    """Read one datagram; None when it is no SIP message with the headers RFC 3261 8.1.1 asks for."""
    head, blank, body = data.partition(b"\r\n\r\n")
    lines = _unfolded(head.decode("utf-8", "surrogateescape"))
    start = next(lines, "")
    if not blank or not _is_start_line(start):
        return None
    message = Message(start, [_header(line) for line in lines], body)
    if not all(message.get(name) for name in MANDATORY) or not sent_by(message.top("Via")):
        return None
    message.body = body[: number(message.get("Content-Length"), len(body))]
    return message


def _unfolded(head: str) -> Iterator[str]:
    """Lines with their continuation lines joined (RFC 3261 7.3.1)."""
    pending = ""
    for line in head.split("\r\n"):
        if line[:1] in (" ", "\t"):
            pending += " " + line.strip()
            continue
        if pending:
            yield pending
        pending = line
    if pending:
        yield pending


def _is_start_line(line: str) -> bool:
    words = line.split(" ")
    if line.startswith("SIP/2.0 "):
        return len(words) > 1 and len(words[1]) == 3 and words[1].isdecimal()
    return len(words) == 3 and words[2] == "SIP/2.0" and bool(words[0]) and bool(words[1])


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    name = name.strip()
    return COMPACT_FORMS.get(name.lower(), name), value.strip()


def number(text: str, otherwise: int = 0) -> int:
    """A count as SIP writes them (at most ten digits), or `otherwise`."""
    return int(text) if text.isdecimal() and len(text) <= 10 else otherwise


def port_of(text: str, otherwise: int) -> int:
    """A port, or `otherwise` when it is none that exists."""
    port = number(text)
    return port if 0 < port < 65536 else otherwise


def split_list(value: str) -> list[str]:
    """Take a comma-separated value apart; commas in quotes and angle brackets do not count."""
    items, start, quoted, bracketed = [], 0, False, False
    for i, char in enumerate(value):
        if char == '"' and value[i - 1 : i] != "\\":
            quoted = not quoted
        elif not quoted and char in "<>":
            bracketed = char == "<"
        elif char == "," and not quoted and not bracketed:
            items.append(value[start:i].strip())
            start = i + 1
    items.append(value[start:].strip())
    return [item for item in items if item]


def uri_in(value: str) -> str:
    """The URI of a From, To, Contact, Route ... value, without brackets and header parameters."""
    if "<" in value:
        return value.partition("<")[2].partition(">")[0]
    return value.partition(";")[0].strip()


def parameter(value: str, name: str) -> str:
    """A parameter behind the URI of a header value (tag, branch, expires ...); empty when absent or bare."""
    for item in value.rpartition(">")[2].split(";")[1:]:
        key, _, text = item.partition("=")
        if key.strip().lower() == name:
            return text.strip()
    return ""


def has_parameter(value: str, name: str) -> bool:
    """Whether the parameter is there, with a value or bare (`;rport`)."""
    items = value.rpartition(">")[2].split(";")[1:]
    return name in (item.partition("=")[0].strip().lower() for item in items)


def user_of(uri: str) -> str:
    """The user part of a SIP URI, or an empty string."""
    rest = uri.partition(":")[2]
    return rest.rpartition("@")[0].partition(":")[0].partition(";")[0]


def address_of(uri: str) -> Address:
    """Host and port of a SIP URI; 5060 when it names no port."""
    hostport = uri.partition(":")[2].rpartition("@")[2].partition(";")[0].partition("?")[0]
    return split_hostport(hostport)


def sent_from(value: str, source: Address) -> str:
    """The same Contact or Route value with `source` in place of its URI's host and port."""
    uri = uri_in(value)
    scheme, _, rest = uri.partition(":")
    user, at, place = rest.rpartition("@")
    _, semicolon, parameters = place.partition(";")
    return value.replace(uri, f"{scheme}:{user}{at}{hostport(source)}{semicolon}{parameters}", 1)


def split_hostport(text: str) -> Address:
    host, bracket, rest = text.partition("]")
    if bracket:
        host, port = host.lstrip("["), rest.lstrip(":")
    else:
        host, _, port = text.partition(":")
    return host.strip(), port_of(port.strip(), 5060)


def hostport(address: Address) -> str:
    """`host:port`, IPv6 in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def sent_by(via: str) -> str:
    """The sent-by of a Via value (`SIP/2.0/UDP host:port;...`)."""
    return via.partition(";")[0].rstrip().rpartition(" ")[2]


def stamp(request: Message, source: Address) -> None:
    """Write where the request really came from into its top Via (RFC 3261 18.2.1, RFC 3581 4)."""
    vias = request.all("Via")
    if split_hostport(sent_by(vias[0]))[0] != source[0] or has_parameter(vias[0], "rport"):
        vias[0] = _with_parameter(vias[0], "received", source[0])
    if has_parameter(vias[0], "rport"):
        vias[0] = _with_parameter(vias[0], "rport", str(source[1]))
    request.replace("Via", vias)


def _with_parameter(via: str, name: str, value: str) -> str:
    head, *items = via.split(";")
    kept = [item for item in items if item.partition("=")[0].strip().lower() != name]
    return ";".join((head, *kept, f"{name}={value}"))


def reply_address(via: str) -> Address:
    """Where a response with this top Via goes (RFC 3261 18.2.2, RFC 3581 4)."""
    host, port = split_hostport(sent_by(via))
    return parameter(via, "received") or host, port_of(parameter(via, "rport"), port)


def reply(request: Message, status: int, reason: str, to_tag: str = "") -> Message:
    """A response with the headers RFC 3261 8.2.6.2 copies; Record-Route too when it makes a dialog (12.1.1)."""
    response = Message(f"SIP/2.0 {status} {reason}")
    for via in request.all("Via"):
        response.add("Via", via)
    if 100 < status < 300 and request.method != "REGISTER":
        for route in request.all("Record-Route"):
            response.add("Record-Route", route)
    response.add("From", request.get("From"))
    response.add("To", _tagged(request.get("To"), to_tag))
    response.add("Call-ID", request.call_id)
    response.add("CSeq", request.get("CSeq"))
    return response


def _tagged(to: str, tag: str) -> str:
    return to if not tag or parameter(to, "tag") else f"{to};tag={tag}"
