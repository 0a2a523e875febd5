"""The patterns on what they must and must not match."""

from __future__ import annotations

import pytest

from sipbalancer.sip.grammar import (
    COMPACT,
    METHODS,
    ODD_LINE,
    PARAMETER,
    RECORD_ROUTED,
    REQUEST_LINE,
    RETURN_ADDRESS,
    SIP_URI,
    STATUS_LINE,
    VIA,
)


@pytest.mark.parametrize(
    "line",
    [b"Via: x", b"Call-ID: x", b"CSeq: 1 X", b"Max-Forwards: 7", b"X-Foo: y", b"P-Asserted-Identity: y", b"To: z"]
    # Below the top Via no other Via is read.
    + [b"VIA: x", b"Timestamp: 1", b"RSeq: 1", b"RAck: 1", b"Content-Length:0", b"MIME-Version: 1.0"],
)
def test_a_usual_line_is_not_odd(line: bytes) -> None:
    assert ODD_LINE.search(b"X\r\n" + line) is None


@pytest.mark.parametrize(
    "line",
    [
        b"v: x",
        b"via: x",
        b"I: x",
        b"F: x",
        b"T: x",
        b"FROM: x",
        b"ROUTE: x",
        b"CALL-ID: x",
        b"Foo-bar x",
        b" fold",
        b"\tfold",
        b"To:x",
        b"To : x",
        b"Call-Id: x",
        b"Call-ID:x",
        b"Cseq: 1 X",
    ]
    + [b"Max-forwards: 7", b"Max-Forwards:7", b"cseq: 1", b"\r\n", b"\r"],
)
def test_any_other_line_is_odd(line: bytes) -> None:
    assert ODD_LINE.search(b"X\r\n" + line)


def test_a_bare_line_feed_is_odd() -> None:
    assert ODD_LINE.search(b"X\nTo: y")


@pytest.mark.parametrize(
    "line", [b"INVITE sip:a SIP/2.0", b"!%*_+`'~ tel:1 SIP/2.0", b"OPTIONS sip:a@[::1];x=%20?y SIP/2.0"]
)
def test_request_lines(line: bytes) -> None:
    assert REQUEST_LINE.match(line)


@pytest.mark.parametrize(
    "line",
    [b"INVITE sip:a SIP/2.0 ", b"INVITE  sip:a SIP/2.0", b"INVITE sip:a b SIP/2.0", b"INVITE sip:a sip/2.0", b"SIP/2.0"]
    + [b"IN VITE sip:a SIP/2.0", b" INVITE sip:a SIP/2.0", b"INVITE sip:a SIP/2.0\n", b"INVITE sip:a\r SIP/2.0"],
)
def test_what_is_no_request_line(line: bytes) -> None:
    assert REQUEST_LINE.match(line) is None


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"SIP/2.0 200 OK", b"200"),
        (b"SIP/2.0 200", b"200"),
        (b"SIP/2.0 699 \xc3\xa4", b"699"),
        (b"SIP/2.0 700 x", None),
        (b"SIP/2.0 2000 x", None),
        (b"SIP/2.0 099 x", None),
        (b"SIP/2.0  200 OK", None),
        (b"SIP/3.0 200 OK", None),
    ],
)
def test_status_lines(line: bytes, status: bytes | None) -> None:
    match = STATUS_LINE.match(line)
    assert (match and match[1]) == status


@pytest.mark.parametrize(
    ("via", "sent_by"),
    [
        (b"SIP/2.0/UDP host", b"host"),
        (b"SIP / 2.0 / UDP  host : 5060 ;x", b"host : 5060"),
        (b"sip/2.0/tcp [::1]:5060;x", b"[::1]:5060"),
        (b"SIP/2.0/UDP\r\n host;x", b"host"),
        (b"SIP/2.0/UDP ho st", None),
        (b"SIP/2.0/UDP host:port", None),
        (b"SIP/2.0 host", None),
        (b"SIP/2.0/UDP ", None),
        (b"SIP/2.0/UDP a@b", None),
    ],
)
def test_vias(via: bytes, sent_by: bytes | None) -> None:
    match = VIA.match(via)
    assert (match and match["sent_by"]) == sent_by


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        (b"sip:host", (None, b"host", None)),
        (b"sip:user@host:5060;x?y=z", (b"user", b"host", b"5060")),
        (b"SIPS:a;b:c@host", (b"a;b", b"host", None)),
        (b"sip:a?b@host", (b"a?b", b"host", None)),
        (b"sip:user@[2001:db8::1]:5060", (b"user", b"[2001:db8::1]", b"5060")),
        (b"sip:@host", (b"", b"host", None)),
        (b"sip:user@", None),
        (b"sip:a@b@c", None),
        (b"sip:ho st", None),
        (b"sip:host:123456", None),
        (b"tel:1", None),
        (b"sip:", None),
    ],
)
def test_uris(uri: bytes, parts: tuple[bytes | None, bytes, bytes | None] | None) -> None:
    match = SIP_URI.match(uri)
    assert (match and (match["user"], match["host"], match["port"])) == parts


def test_parameters_one_by_one() -> None:
    text = b' ; a=1;b ;c = "x;y=\\"z" ;d=;e'
    found = {match[1]: match[2] for match in PARAMETER.finditer(text)}
    assert found == {b"a": b"1", b"b": None, b"c": b'"x;y=\\"z"', b"d": b"", b"e": None}


def test_the_way_back_as_we_write_it() -> None:
    match = RETURN_ADDRESS.search(b"SIP/2.0/UDP h;rport=5070;received=2001:db8::1;branch=x")
    assert match and match.groups() == (b"5070", b"2001:db8::1")


def test_the_tables_hold_together() -> None:
    assert RECORD_ROUTED <= METHODS
    assert all(len(short) == 1 and long == long.lower() for short, long in COMPACT.items())
