"""SIP messages as a test phone needs them: text in, text out. Shares no code with the balancer, on purpose."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from typing import NamedTuple

Headers = tuple[tuple[str, str], ...]
COMPACT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length", "k": "supported"}
COMPACT |= {"o": "event", "c": "content-type", "r": "refer-to"}


class Message(NamedTuple):
    """A request or a response; headers in their order, one entry per line."""

    start: str
    headers: Headers
    body: str = ""

    @property
    def status(self) -> int:
        """0 for a request."""
        return int(self.start.split()[1]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        """Of a response: of the request that it answers."""
        return self.get("CSeq").split()[-1] if self.status else self.start.split()[0]

    @property
    def uri(self) -> str:
        return self.start.split()[1]

    @property
    def branch(self) -> str:
        return parameter(self.all("Via")[0], "branch")

    def get(self, name: str) -> str:
        """The first value of that name, empty when there is none."""
        return next(iter(self.all(name)), "")

    def all(self, name: str) -> list[str]:
        name = name.lower()
        return [value for key, value in self.headers if COMPACT.get(key.lower(), key.lower()) == name]

    def encode(self) -> bytes:
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers)]
        lines.append(f"Content-Length: {len(self.body.encode())}")
        return ("\r\n".join(lines) + "\r\n\r\n" + self.body).encode()

    def replace(self, name: str, value: str) -> Message:
        """The first header of that name with another value."""
        at = next(i for i, (key, _) in enumerate(self.headers) if key.lower() == name.lower())
        return self._replace(headers=(*self.headers[:at], (self.headers[at][0], value), *self.headers[at + 1 :]))


def parse(data: bytes) -> Message:
    """Raises ValueError when `data` is not a SIP message (a keep-alive, say)."""
    head, end, body = data.decode(errors="replace").partition("\r\n\r\n")
    lines = head.split("\r\n")
    if not end or "SIP/2.0" not in lines[0]:
        raise ValueError(f"no SIP: {data[:60]!r}")
    pairs = (line.partition(":")[::2] for line in lines[1:])
    headers = tuple(
        (name.strip(), value.strip()) for name, value in pairs if name.lower() not in ("content-length", "l")
    )
    return Message(lines[0], headers, body)


def response(
    request: Message, status: int, reason: str, extra: Iterable[tuple[str, str]] = (), tag: str = ""
) -> Message:
    """An answer with what RFC 3261 8.2.6.2 copies; Record-Route too (12.1.1)."""
    kept = tuple((k, v) for k, v in request.headers if k.lower() in ("via", "v", "from", "f", "call-id", "i", "cseq"))
    routes = tuple((k, v) for k, v in request.headers if k.lower() == "record-route")
    to = request.get("To")
    if tag and ";tag=" not in to:
        to += f";tag={tag}"
    return Message(f"SIP/2.0 {status} {reason}", (*kept, ("To", to), *routes, *extra))


def parameter(value: str, name: str) -> str:
    found = re.search(rf";\s*{name}=([^;,>\s]+)", value)
    return found.group(1) if found else ""


def uri_of(value: str) -> str:
    """The URI of a Contact, Route, From ... value."""
    found = re.search(r"<([^>]+)>", value)
    return found.group(1) if found else value.split(";")[0].strip()


def host_port(uri: str) -> tuple[str, int]:
    found = re.match(r"sips?:(?:[^@]*@)?([^;:?>]+)(?::(\d+))?", uri)
    if not found:
        raise ValueError(f"no SIP URI: {uri!r}")
    return found.group(1), int(found.group(2) or 5060)


def branch() -> str:
    return "z9hG4bK" + secrets.token_hex(8)


def authorization(challenge: Message, method: str, uri: str, user: str, secret: str) -> tuple[str, str]:
    """The header that answers a 401 or 407 (RFC 2617, MD5, with qop when it is offered)."""
    proxy = challenge.status == 407
    asked = challenge.get("Proxy-Authenticate" if proxy else "WWW-Authenticate")
    fields = {k: q or v for k, q, v in re.findall(r'(\w+)=(?:"([^"]*)"|([^,\s]+))', asked)}
    ha1, ha2 = md5(f"{user}:{fields['realm']}:{secret}"), md5(f"{method}:{uri}")
    text = f'Digest username="{user}", realm="{fields["realm"]}", nonce="{fields["nonce"]}", uri="{uri}", algorithm=MD5'
    if "qop" in fields:
        cnonce = secrets.token_hex(4)
        answer = md5(f"{ha1}:{fields['nonce']}:00000001:{cnonce}:auth:{ha2}")
        text += f', qop=auth, nc=00000001, cnonce="{cnonce}"'
    else:
        answer = md5(f"{ha1}:{fields['nonce']}:{ha2}")
    if "opaque" in fields:
        text += f', opaque="{fields["opaque"]}"'
    return "Proxy-Authorization" if proxy else "Authorization", f'{text}, response="{answer}"'


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
