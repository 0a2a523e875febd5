"""Messages of our own."""

from __future__ import annotations

import pytest
from hypothesis import given

from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.compose import PHRASES, end_dialog, follow_up, reply, to_line_of
from tests.sip.messages import ANYTHING, assemble

HEADERS = [
    (b"Via", b"SIP/2.0/UDP 10.1.0.1:5060;rport=5060;received=10.1.0.1;branch=z9hG4bKabc"),
    (b"Max-Forwards", b"70"),
    (b"v", b"SIP/2.0/UDP 10.2.0.1;branch=z9hG4bKdef"),
    (b"Route", b"<sip:b;lr>"),
    (b"From", b"<sip:1001@192.0.2.1>;tag=abc"),
    (b"To", b"<sip:600@192.0.2.1>"),
    (b"i", b"abc@10.1.0.1"),
    (b"CSeq", b"7 INVITE"),
    (b"Contact", b"<sip:1001@10.1.0.1>"),
]
INVITE = assemble(b"INVITE sip:600@192.0.2.1 SIP/2.0", HEADERS, b"v=0\r\n")
ANSWER = assemble(b"SIP/2.0 200 OK", [*HEADERS[:5], (b"To", b"<sip:600@192.0.2.1>;tag=t"), *HEADERS[6:]])


@pytest.mark.parametrize("status", sorted(PHRASES))
def test_an_answer_is_made_of_what_the_request_says(status: int) -> None:
    answer = reply(INVITE, status, b"ours", b"Retry-After: 5\r\n")
    kept = [HEADERS[0], HEADERS[2], HEADERS[4], (b"To", b"<sip:600@192.0.2.1>;tag=ours"), HEADERS[6], HEADERS[7]]
    start = b"SIP/2.0 %d %b" % (status, PHRASES[status])
    assert answer == assemble(start, [*kept, (b"Retry-After", b"5"), (b"Content-Length", b"0")])


@pytest.mark.parametrize(
    ("to", "left"),
    [
        (b"<sip:600@192.0.2.1>;tag=theirs", b"<sip:600@192.0.2.1>;tag=theirs"),
        (b'"x;tag=no" <sip:600@192.0.2.1>', b'"x;tag=no" <sip:600@192.0.2.1>;tag=ours'),
        (b"sip:600@192.0.2.1", b"sip:600@192.0.2.1;tag=ours"),
    ],
)
def test_the_to_tag(to: bytes, left: bytes) -> None:
    request = assemble(b"INVITE sip:x SIP/2.0", [(b"To", to)])
    assert reply(request, 503, b"ours") == assemble(
        b"SIP/2.0 503 Service Unavailable", [(b"To", left), (b"Content-Length", b"0")]
    )


def test_cancel_and_ack_of_an_invite_we_sent() -> None:
    cancel = follow_up(INVITE, b"CANCEL", b"Via: us\r\n")
    common = [(b"Via", b"us"), (b"Max-Forwards", b"70"), HEADERS[4]]
    assert cancel == assemble(
        b"CANCEL sip:600@192.0.2.1 SIP/2.0",
        [*common, HEADERS[5], HEADERS[6], (b"CSeq", b"7 CANCEL"), (b"Content-Length", b"0")],
    )
    ack = follow_up(INVITE, b"ACK", b"Via: us\r\n", to_line_of(ANSWER))
    assert b"\r\nTo: <sip:600@192.0.2.1>;tag=t\r\n" in ack and b"\r\nCSeq: 7 ACK\r\n" in ack


def test_ack_and_bye_of_a_call_nobody_wants() -> None:
    ack, bye = end_dialog(ANSWER, b"Via: a\r\n", b"Via: b\r\n")
    assert ack.startswith(b"ACK sip:1001@10.1.0.1 SIP/2.0\r\nVia: a\r\n") and b"\r\nCSeq: 7 ACK\r\n" in ack
    assert bye.startswith(b"BYE sip:1001@10.1.0.1 SIP/2.0\r\nVia: b\r\n") and b"\r\nCSeq: 8 BYE\r\n" in bye
    for each in (ack, bye):
        assert b"\r\nTo: <sip:600@192.0.2.1>;tag=t\r\n" in each and b"Via: SIP" not in each


@given(ANYTHING)
def test_only_malformed_message_is_raised(data: bytes) -> None:
    for make in (
        lambda: reply(data, 400, b"t"),
        lambda: follow_up(data, b"CANCEL", b"Via: x\r\n"),
        lambda: end_dialog(data, b"Via: a\r\n", b"Via: b\r\n"),
        lambda: to_line_of(data),
    ):
        try:
            make()
        except MalformedMessage:
            continue
