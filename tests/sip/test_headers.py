"""The general reader: every spelling of RFC 3261, and its places."""

from __future__ import annotations

import pytest
from hypothesis import given

from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.headers import read_message
from tests.sip.messages import ANYTHING

MESSAGE = (
    b"OPTIONS sip:a SIP/2.0\r\n"
    b"v : SIP/2.0/UDP one\r\n"
    b"VIA:SIP/2.0/UDP two,\r\n"
    b" \tSIP/2.0/UDP three \r\n"
    b"Subject:  \r\n"
    b"X-Odd: a:b\r\n"
    b"\r\n"
    b"Via: in the body\r\n\r\n"
)


def test_names_values_and_body() -> None:
    message = read_message(MESSAGE)
    assert message.start_line == b"OPTIONS sip:a SIP/2.0"
    assert [header.name for header in message.headers] == [b"via", b"via", b"subject", b"x-odd"]
    assert message.all(b"via") == [b"SIP/2.0/UDP one", b"SIP/2.0/UDP two, SIP/2.0/UDP three"]
    assert (message.first(b"subject"), message.first(b"x-odd"), message.first(b"to")) == (b"", b"a:b", None)
    assert MESSAGE[message.body :] == b"Via: in the body\r\n\r\n"


def test_bare_line_feeds_end_lines_too() -> None:
    unix = read_message(MESSAGE.replace(b"\r\n", b"\n"))
    assert [(h.name, unix.value(h)) for h in unix.headers] == [
        (h.name, read_message(MESSAGE).value(h)) for h in read_message(MESSAGE).headers
    ]


def test_line_ends_before_the_start_line_are_passed_over() -> None:
    assert read_message(b"\r\n\r\n" + MESSAGE).start_line == b"OPTIONS sip:a SIP/2.0"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "framing"),
        (b"OPTIONS sip:a SIP/2.0\r\nTo: x\r\n", "framing"),
        (b"OPTIONS sip:a SIP/2.0\r\nTo\r\n\r\n", "header"),
        (b"OPTIONS sip:a SIP/2.0\r\n: x\r\n\r\n", "header"),
        (b"OPTIONS sip:a SIP/2.0\r\n \r\nTo: x\r\n\r\n", "header"),
    ],
)
def test_what_is_no_message(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        read_message(data)
    assert caught.value.reason == reason


@given(ANYTHING)
def test_the_lines_cover_the_whole_head_without_gap_or_overlap(data: bytes) -> None:
    try:
        message = read_message(data)
    except MalformedMessage:
        return
    at = message.headers[0].line if message.headers else message.body
    for header in message.headers:
        assert at == header.line < header.start <= header.stop < header.next
        assert data[header.start : header.stop].strip() == data[header.start : header.stop]
        at = header.next
    assert data[at : message.body] in (b"\r\n", b"\n", b"")
    assert b"\n" not in message.start_line
