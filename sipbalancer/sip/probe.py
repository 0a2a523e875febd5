"""One probe on the wire: the OPTIONS we ask with, and what its answer says (RFC 3261 11, 17.1.2).

Identity is fresh for each probe: branch, From tag, Call-ID and CSeq. Asterisk matches a transaction on the
branch alone: under a branch seen before it sends the answer to whoever used that branch first.
Random bytes come in as an argument; nothing raises on what the network sends.
"""

from __future__ import annotations

import re
from typing import NamedTuple

IDENTITY_BYTES = 36
"""Random bytes one identity takes."""
COOKIE = "z9hG4bK"

_STATUS = re.compile(rb"SIP/2\.0 ([1-6]\d\d)(?: ([^\r\n]*))?\r?\n", re.IGNORECASE)
_END = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_BRANCH = re.compile(rb";\s*branch\s*=\s*([^\s;,]+)", re.IGNORECASE)
_CSEQ = re.compile(rb"(\d{1,10})\s+(\S+)$")
_SECONDS = re.compile(rb"\d{1,9}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_LONG = {b"v": b"via", b"i": b"call-id"}
_PHRASE_LIMIT = 80


class ProbeIdentity(NamedTuple):
    """What tells one probe from all others."""

    branch: str
    call_id: str
    tag: str
    cseq: int
    """Below 2**31 (RFC 3261 8.1.1.5)."""


class ProbeAnswer(NamedTuple):
    """What a prober needs of a response."""

    status: int
    reason: str
    """Printable ASCII, bounded: it goes to logs and status."""
    branch: str
    """Of the top Via; empty when there is none."""
    call_id: str
    cseq: int
    method: str
    retry_after: int | None
    """Seconds."""

    def answers(self, identity: ProbeIdentity) -> bool:
        """Whether this is an answer to that probe: branch, Call-ID and CSeq, number and method (17.1.3)."""
        return (self.branch, self.call_id, self.cseq, self.method) == (
            identity.branch,
            identity.call_id,
            identity.cseq,
            "OPTIONS",
        )


def identity_of(random: bytes) -> ProbeIdentity:
    """An identity out of IDENTITY_BYTES random bytes."""
    text = random.hex()
    return ProbeIdentity(
        branch=COOKIE + text[:24],
        call_id=text[24:48],
        tag=text[48:64],
        cseq=1 + (int.from_bytes(random[32:36]) >> 1) % (2**31 - 1),
    )


def host_port(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def compose_options(server: tuple[str, int], local: tuple[str, int], identity: ProbeIdentity, login: str = "") -> bytes:
    """The OPTIONS from `local` to `server` (each address and port).

    Without `login` no URI has a user: Asterisk looks a user of the Request-URI up in the dialplan (404), and one
    in From could be a phone it knows (401). With `login` (`user@host`) that is Request-URI, To and From, as
    ldirectord says it; Contact is our own address always.
    """
    here = host_port(*local)
    asked = f"sip:{login}" if login else f"sip:{host_port(*server)}"
    asking = f"sip:{login}" if login else f"sip:{here}"
    return (
        f"OPTIONS {asked} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {here};branch={identity.branch};rport\r\n"
        "Max-Forwards: 70\r\n"
        f"From: <{asking}>;tag={identity.tag}\r\n"
        f"To: <{asked}>\r\n"
        f"Call-ID: {identity.call_id}\r\n"
        f"CSeq: {identity.cseq} OPTIONS\r\n"
        f"Contact: <sip:{here}>\r\n"
        "Accept: application/sdp\r\n"
        "User-Agent: sipbalancer\r\n"
        "Content-Length: 0\r\n"
        "\r\n"
    ).encode()


def read_answer(data: bytes) -> ProbeAnswer | None:
    """The facts of a SIP response; None when it is none, or lacks a Via, a Call-ID or a CSeq. Never raises."""
    line = _STATUS.match(data)
    if line is None:
        return None
    end = _END.search(data, line.end() - 2)
    headers = _headers(data[line.end() : max(end.start(), line.end()) if end else len(data)])
    branch = _BRANCH.search(headers.get(b"via", b"").partition(b",")[0])
    cseq = _CSEQ.match(headers.get(b"cseq", b""))
    call_id = headers.get(b"call-id", b"")
    if branch is None or cseq is None or not call_id:
        return None
    seconds = _SECONDS.match(headers.get(b"retry-after", b""))
    return ProbeAnswer(
        status=int(line[1]),
        reason=_printable(line[2] or b""),
        branch=_text(branch[1]),
        call_id=_text(call_id),
        cseq=int(cseq[1]),
        method=_text(cseq[2]),
        retry_after=int(seconds[0]) if seconds else None,
    )


def _headers(head: bytes) -> dict[bytes, bytes]:
    """First value of each header by its long name in lower case; folded lines joined (7.3.1)."""
    found: dict[bytes, bytes] = {}
    for line in _FOLD.sub(b" ", head).splitlines():
        name, colon, value = line.partition(b":")
        name = name.strip().lower()
        if colon:
            found.setdefault(_LONG.get(name, name), value.strip())
    return found


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _printable(phrase: bytes) -> str:
    return _UNPRINTABLE.sub("?", _text(phrase)).strip()[:_PHRASE_LIMIT]
