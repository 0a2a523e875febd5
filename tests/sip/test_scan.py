"""The quick way and the general way agree; nothing but MalformedMessage is ever raised."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sipbalancer.errors import MalformedMessage
from sipbalancer.sip import scan
from sipbalancer.sip.headers import read_message
from sipbalancer.sip.scan import Request, Response, scan_request, scan_response
from tests.sip.messages import ANYTHING, CRLF, assemble, damaged, requests, responses

T = TypeVar("T")

VIA = b"SIP/2.0/UDP 10.1.0.1:5060;rport;branch=z9hG4bKabc"
USUAL = [
    (b"Via", VIA),
    (b"Max-Forwards", b"70"),
    (b"From", b"<sip:1001@192.0.2.1>;tag=abc"),
    (b"To", b"<sip:600@192.0.2.1>"),
    (b"Call-ID", b"abc@10.1.0.1"),
    (b"CSeq", b"1 INVITE"),
    (b"Content-Length", b"0"),
]
START = b"INVITE sip:600@192.0.2.1 SIP/2.0"
INVITE = assemble(START, USUAL)
OK = assemble(b"SIP/2.0 200 OK", [(b"Via", b"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKours"), *USUAL])


def attempt(read: Callable[[bytes], T], data: bytes) -> T | str:
    """What it says, or that it refuses; any other exception is a failure of the test."""
    try:
        return read(data)
    except MalformedMessage:
        return "malformed"


def with_header(name: bytes, value: bytes) -> bytes:
    """The usual INVITE with another value of one header."""
    return assemble(START, [(key, value if key == name else old) for key, old in USUAL])


def doubled(line: bytes) -> bytes:
    """The usual INVITE with one more line below its Via."""
    head, _, rest = INVITE.partition(VIA + CRLF)
    return head + VIA + CRLF + line + CRLF + rest


# The two ways.


@settings(max_examples=400)
@given(st.one_of(requests(), damaged(requests())))
@example(INVITE)
@example(INVITE.replace(b"70\r\nFrom", b"70\nFrom"))
@example(INVITE.replace(b"abc@10.1.0.1\r", b"abc@10.1.0.1 \r"))
@example(INVITE.replace(b"Call-ID: ", b"Call-ID:  "))
@example(INVITE.replace(b"Call-ID: ", b"Call-ID: \r"))
@example(INVITE.replace(b"From: ", b"From: \r"))
@example(INVITE.replace(b"\nTo: ", b"\nTo: \r"))
@example(INVITE.replace(b"Content-Length: 0\r\n", b"Content-Length: 0\n\r\nVia: x\r\n"))
@example(doubled(b"Call-Id: other"))
@example(doubled(b"Cseq: 9 INVITE"))
@example(doubled(b"Max-forwards: 3"))
@example(doubled(b"To:<sip:other@192.0.2.1>"))
@example(with_header(b"From", b" "))
@example(with_header(b"Call-ID", b""))
@example(with_header(b"CSeq", b"12345678901 INVITE"))
@example(with_header(b"Via", b"SIP/2.0/UDP ;branch=z9hG4bKabc"))
@example(INVITE.replace(b"sip:600@", b"sip:6\t00@"))
@example(INVITE.replace(b"sip:600@", b"sip:6\n00@"))
@example(doubled(b"Route: < sip:192.0.2.1;lr >"))
@example(INVITE.replace(b"Content-Length: 0", b"To: <sip:600@192.0.2.1> ").replace(b"\nTo:", b"\nX-To:", 1))
def test_the_quick_request_reader_is_the_general_one(data: bytes) -> None:
    assert attempt(scan_request, data) == attempt(scan._read_request, data)


@settings(max_examples=400)
@given(st.one_of(responses(), damaged(responses())))
@example(OK)
@example(OK.replace(b"200 OK", b"999 OK"))
@example(OK.replace(b"200 OK", b"2000 OK"))
@example(OK.replace(b"200 OK\r\n", b"200 OK\nVia: SIP/2.0/UDP 10.6.6.6;branch=z9hG4bKx\r\n"))
@example(OK.replace(b"rport;branch=z9hG4bKabc", b"rport;branch=z9hG4bKabc \t"))
@example(OK.replace(b"=z9hG4bKours\r\n", b"=z9hG4bKours\nVia:SIP/2.0/UDP\t10.6.6.6;branch=z9hG4bKx\r\n"))
def test_the_quick_response_reader_is_the_general_one_wherever_that_can_read(data: bytes) -> None:
    general = attempt(scan._read_response, data)
    if general != "malformed":
        assert attempt(scan_response, data) == general


@given(responses())
@example(OK.replace(b"rport;branch=z9hG4bKabc", b"rport;\r\n branch=z9hG4bKabc"))
def test_a_response_the_general_reader_refuses_has_at_least_whole_vias(data: bytes) -> None:
    quick = attempt(scan_response, data)
    if isinstance(quick, tuple) and quick[5] >= 0:
        read = Response(*quick)
        assert not re.search(rb"\r\n(?![ \t])", data[read.next_start : read.next_end]), (
            "one line, though it may be folded"
        )
        assert 1 <= read.status // 100 <= 6


def test_the_usual_message_takes_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def general(data: bytes) -> None:
        raise AssertionError("the general reader was asked")

    monkeypatch.setattr(scan, "_read_request", general)
    monkeypatch.setattr(scan, "_read_response", general)
    assert Request(*scan_request(INVITE)).method == b"INVITE"
    assert Response(*scan_response(OK)).status == 200
    asterisk = OK.replace(b";branch=z9hG4bKours", b";rport=5060;received=192.0.2.1;branch=z9hG4bKours")
    assert Response(*scan_response(asterisk)).branch == b"z9hG4bKours"
    assert Request(*scan_request(doubled(b"Route: <sip:192.0.2.1;lr>"))).routes[0][0] == b"sip:192.0.2.1;lr"


# Anything at all.


@settings(max_examples=400)
@given(ANYTHING)
def test_only_malformed_message_is_raised(data: bytes) -> None:
    for read in (scan_request, scan_response, read_message, scan._read_request, scan._read_response):
        attempt(read, data)


@pytest.mark.parametrize(
    "data",
    [
        with_header(b"From", b"<sip:a@b>" + b" " * 60000 + b"x;tag=1"),
        with_header(b"Via", VIA + b" " * 60000 + b"x"),
        with_header(b"Via", b"SIP/2.0/UDP h" + b" " * 60000 + b"x"),
        with_header(b"Via", VIA + b";a=b" * 15000),
        with_header(b"Via", VIA + b',"' * 15000),
        doubled(b"Route: " + b"<" * 60000),
        doubled(b"Route: " + b"<sip:192.0.2.1;lr>," * 3000),
        doubled(b"Supported: " + b"a," * 30000),
        INVITE.replace(b"\r\n", b"\r\n \r\n", 1) + b"\r\n " * 10000,
    ],
    ids=range(9),
)
@pytest.mark.timeout(20)
def test_the_largest_datagram_does_not_stop_the_loop(data: bytes) -> None:
    """What is quadratic takes minutes, far beyond any machine's noise."""
    for _ in range(10):
        attempt(scan_request, data)
        attempt(scan_response, b"SIP/2.0 200 OK" + data[data.index(b"\r\n") :])


# What the facts are.


def test_facts_of_the_usual_request() -> None:
    facts = Request(*scan_request(INVITE))
    assert facts.data is INVITE
    assert (facts.method, facts.uri) == (b"INVITE", b"sip:600@192.0.2.1")
    assert (facts.sent_by, facts.branch) == (b"10.1.0.1:5060", b"z9hG4bKabc")
    assert (facts.call_id, facts.cseq) == (b"abc@10.1.0.1", b"1")
    assert (facts.from_value, facts.to_value) == (b"<sip:1001@192.0.2.1>;tag=abc", b"<sip:600@192.0.2.1>")
    assert (facts.hops, INVITE[facts.hops_start : facts.hops_end]) == (70, b"70")
    assert INVITE[facts.head :].startswith(b"Via: ")
    assert INVITE[: facts.rport].endswith(b";rport")
    assert INVITE[facts.via_end :].startswith(b"\r\nMax-Forwards")
    assert INVITE[facts.end :] == b"\r\n\r\n"
    assert facts.routes == ()


@pytest.mark.parametrize("ending", [b"\r\n", b"\n"])
def test_the_end_is_the_end_of_the_last_header_line(ending: bytes) -> None:
    data = INVITE.replace(b"\r\n", ending)
    facts = Request(*scan_request(data))
    assert data[facts.end :] == ending * 2


@pytest.mark.parametrize(
    ("via", "cleaned"),
    [
        (VIA + b";received=10.9.9.9", VIA),
        (b"SIP/2.0/UDP a;branch=z9hG4bKx;rport=99", b"SIP/2.0/UDP a;branch=z9hG4bKx;rport"),
        (b"SIP/2.0/UDP a ; RPORT = 99 ;branch=z9hG4bKx", b"SIP/2.0/UDP a ;rport;branch=z9hG4bKx"),
        (b"SIP/2.0/UDP a;Received=x;branch=z9hG4bKx", b"SIP/2.0/UDP a;branch=z9hG4bKx"),
        (b"SIP/2.0/UDP a;branch=z9hG4bKx;maddr=10.9.9.9", b"SIP/2.0/UDP a;branch=z9hG4bKx;maddr=10.9.9.9"),
    ],
)
def test_what_a_client_must_not_write_into_its_via_is_taken_out(via: bytes, cleaned: bytes) -> None:
    facts = Request(*scan_request(with_header(b"Via", via)))
    assert facts.data == with_header(b"Via", cleaned)
    assert (facts.rport >= 0) is (b"rport" in cleaned)


def test_only_the_top_via_is_cleaned() -> None:
    below = b"Via: SIP/2.0/UDP b;branch=z9hG4bKy;received=10.2.0.1;rport=7"
    assert Request(*scan_request(doubled(below))).data == doubled(below)
    one_line = with_header(b"Via", VIA + b";received=10.9.9.9, " + below[5:])
    assert Request(*scan_request(one_line)).data == with_header(b"Via", VIA + b", " + below[5:])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "framing"),
        (INVITE[:-2], "framing"),
        (INVITE.replace(b"SIP/2.0\r", b"SIP/3.0\r"), "request line"),
        (INVITE.replace(b"INVITE sip:", b"INVITE  sip:"), "request line"),
        (INVITE.replace(b"Via: " + VIA + b"\r\n", b""), "via"),
        (with_header(b"Via", b"nonsense"), "via"),
        (with_header(b"CSeq", b"1 BYE"), "cseq"),
        (with_header(b"CSeq", b"one INVITE"), "cseq"),
        (with_header(b"Call-ID", b""), "call-id"),
        (with_header(b"From", b""), "from"),
        (with_header(b"To", b""), "to"),
        (with_header(b"Max-Forwards", b"many"), "max-forwards"),
        (with_header(b"Max-Forwards", b"1000"), "max-forwards"),
        (doubled(b"no colon"), "header"),
        (doubled(b"Route: <sip:192.0.2.1"), "name-addr"),
        (doubled(b"X-Odd: " + b"\r\n ".join([b"a"] * 300)), "lines"),
        (doubled(b"X-Usual: a\r\n" * 300 + b"X-Last: a"), "lines"),
        (doubled(b"Route: " + b",".join([b"<sip:192.0.2.1>"] * 65)), "route"),
        (doubled(b"Route: <sip:192.0.2.1>\r\n" * 65 + b"X-Last: a"), "route"),
        (doubled(b"Route: " + b",".join([b"<sip:192.0.2.1>"] * 200)), "list"),
        (with_header(b"Via", VIA + b", a" * 200), "list"),
        (with_header(b"Via", VIA + b";a" * 64), "via"),
        (with_header(b"Via", VIA + b"a" * 2048), "via"),
    ],
)
def test_what_must_not_be_forwarded(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        scan_request(data)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("lines", "popped"),
    [
        (b"Via: SIP/2.0/UDP us;branch=1\r\nVia: SIP/2.0/UDP them;branch=2\r\n", b"Via: SIP/2.0/UDP them;branch=2\r\n"),
        (b"Via: SIP/2.0/UDP us;branch=1,SIP/2.0/UDP them;branch=2\r\n", b"Via: SIP/2.0/UDP them;branch=2\r\n"),
        (b"v:SIP/2.0/UDP us;branch=1 , SIP/2.0/UDP them;branch=2\r\n", b"v:SIP/2.0/UDP them;branch=2\r\n"),
        (b"To: a\r\nVia: SIP/2.0/UDP us;branch=1\r\nv: SIP/2.0/UDP b\r\n", b"To: a\r\nv: SIP/2.0/UDP b\r\n"),
    ],
)
def test_popping_the_top_via(lines: bytes, popped: bytes) -> None:
    data = b"SIP/2.0 200 OK\r\n" + lines + b"CSeq: 1 INVITE\r\n\r\n"
    read = Response(*scan_response(data))
    assert data[: read.pop_start] + data[read.pop_end :] == b"SIP/2.0 200 OK\r\n" + popped + b"CSeq: 1 INVITE\r\n\r\n"
    assert read.sent_by == b"us"


def test_a_response_to_us_alone_has_no_next_via() -> None:
    data = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP us;branch=1\r\nCSeq: 1 OPTIONS\r\n\r\n"
    assert Response(*scan_response(data))[5:] == (-1, -1)


@pytest.mark.parametrize("value", [b"<", b">", b"", b"<>", b"><", b"<<sip:a@b;lr>"])
def test_a_route_that_is_no_route_is_refused_or_read_the_general_way(value: bytes) -> None:
    """Compiled, a slice that ends before it begins raises; see CONTRIBUTING."""
    data = assemble(START, [*USUAL, (b"Route", value)])
    assert attempt(scan_request, data) == attempt(lambda each: scan._read_request(each), data)


@pytest.mark.parametrize("ending", [b"", b"\r", b"\r\n", b"\r\n\r", b"\n\n"])
def test_a_request_without_its_blank_line_is_read_the_general_way(ending: bytes) -> None:
    """Compiled, the look for that line raised SystemError, so the datagram was counted as a fault of ours."""
    data = assemble(START, USUAL).removesuffix(b"\r\n\r\n") + ending
    assert attempt(scan_request, data) == attempt(lambda each: scan._read_request(each), data)
