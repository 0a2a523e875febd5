"""Answers of our own."""

from __future__ import annotations

import pytest

from sipbalancer.director.verdict import ProbeResult
from tests.director.stage import OTHER, PHONE, VIP, A, Stage, lines_of, request, status_of

OPTIONS = request("OPTIONS", uri=f"sip:{VIP}", to=f"<sip:{VIP}>")


def test_options_to_us_is_answered_200() -> None:
    stage = Stage()
    data, to = stage.sent(OPTIONS)
    assert (status_of(data), to) == (200, PHONE)
    assert lines_of(data, "Via")[0].endswith("rport=5060;received=10.1.0.1;branch=z9hG4bK1")


def test_and_503_when_no_server_takes_work() -> None:
    stage = Stage(up=False)
    stage.judge(result=ProbeResult.REFUSED)
    data, _ = stage.sent(OPTIONS)
    assert status_of(data) == 503
    assert 5 <= int(lines_of(data, "Retry-After")[0]) <= 14


def test_a_server_may_ask_too() -> None:
    data, to = Stage().sent(request("OPTIONS", uri=f"sip:{VIP}", to=f"<sip:{VIP}>", via=f"{A};rport"), A)
    assert (status_of(data), to) == (200, A)


@pytest.mark.parametrize(
    "data",
    [
        request("OPTIONS", uri=f"sip:600@{VIP}"),
        request("OPTIONS", uri="sip:elsewhere.example"),
        request("OPTIONS", uri=f"sip:{VIP}:5070"),
        request("OPTIONS", uri=f"sip:{VIP}", to=f"<sip:{VIP}>;tag=t"),
        request("INVITE", uri=f"sip:{VIP}"),
    ],
)
def test_anything_else_goes_to_a_server(data: bytes) -> None:
    assert Stage().to(data).startswith("192.0.2.1")


def test_options_to_us_need_no_hop() -> None:
    assert status_of(Stage().sent(OPTIONS.replace(b"Max-Forwards: 70", b"Max-Forwards: 0"))[0]) == 200


@pytest.mark.parametrize("data", [b"\r\n\r\n", b"\r\n", b"\0", b"", b"\0\1\0\0\x21\x12\xa4\x42" + b"x" * 12])
def test_keepalives_and_stun_are_taken_silently(data: bytes) -> None:
    stage = Stage()
    assert stage.send(data) is None
    assert stage.dropped() == {"keepalive": 1}


def test_too_many_hops() -> None:
    data, to = Stage().sent(request().replace(b"Max-Forwards: 70", b"Max-Forwards: 0"))
    assert (status_of(data), to) == (483, PHONE)


def test_our_finals_carry_a_tag_and_their_ack_ends_here() -> None:
    stage = Stage(up=False)
    stage.judge(result=ProbeResult.REFUSED)
    data, _ = stage.sent(request())
    assert status_of(data) == 503
    to = lines_of(data, "To")[0]
    assert ";tag=" in to
    stage.judge()
    assert stage.send(request("ACK", to=to)) is None
    assert stage.send(request("ACK", to=to, branch="z9hG4bKother")) is None
    assert stage.dropped()["ack to us"] == 2


def test_what_we_answered_stays_answered_for_32_s() -> None:
    stage = Stage(up=False)
    stage.judge(result=ProbeResult.REFUSED)
    first, _ = stage.sent(request())
    stage.judge()
    assert stage.sent(request()) == (first, PHONE)
    stage.now += 31.9
    assert stage.sent(request())[0] == first
    assert status_of(stage.sent(request("CANCEL"))[0]) == 200
    stage.now += 65
    assert stage.to(request()) != PHONE


def test_the_answer_to_a_cancel_is_not_said_to_its_invite() -> None:
    stage = Stage(up=False)
    stage.judge(result=ProbeResult.REFUSED)
    assert b"CSeq: 1 CANCEL" in stage.sent(request("CANCEL"))[0]
    stage.judge()
    data, to = stage.sent(request())
    assert data.startswith(b"INVITE") and to != PHONE


def test_nothing_is_answered_to_an_ack() -> None:
    stage = Stage()
    for data in (
        request("ACK").replace(b"Max-Forwards: 70", b"Max-Forwards: 0"),
        request("ACK", "Route: <sip:elsewhere.example;lr>"),
        request("ACK").replace(b"CSeq: 1 ACK", b"CSeq: x"),
        request("ACK"),
    ):
        assert stage.send(data) is None


def test_no_answer_is_longer_than_its_request() -> None:
    head = b"INVITE sip:x SIP/2.0\r\nv:SIP/2.0/UDP h\r\nf:<sip:a@b>\r\nt:<sip:a@b>\r\ni:1\r\n"
    head += b"CSeq:1 INVITE\r\nMax-Forwards:0\r\n\r\n"
    stage = Stage()
    assert stage.send(head) is None
    lengths = set()
    for more in range(150):
        data = head.replace(b"i:1", b"s:" + b"x" * more + b"\r\ni:%d" % more)
        out = stage.send(data)
        assert out is None or len(out[0]) <= len(data)
        lengths.add(out is None)
    assert lengths == {True, False}


def test_an_answer_does_without_content_length_rather_than_be_too_long() -> None:
    stage = Stage(up=False)
    stage.judge(result=ProbeResult.REFUSED)
    stage.sent(request())
    stage.judge()
    cancel = b"\r\n".join(line for line in request("CANCEL").split(b"\r\n") if not line.startswith(b"User-Agent"))
    data, _ = stage.sent(cancel)
    assert status_of(data) == 200
    assert len(data) <= len(cancel)
    assert data.endswith(b"\r\n\r\n")


def test_a_shorter_repeat_does_not_get_the_longer_answer() -> None:
    stage = Stage()
    long = request("INVITE", "Via: SIP/2.0/UDP 10.2.0.1;branch=" + "x" * 2000).replace(b"Forwards: 70", b"Forwards: 0")
    assert len(stage.sent(long)[0]) > 2000
    assert stage.send(request()) is None


def test_a_large_answer_is_not_kept() -> None:
    stage = Stage()
    data = request("INVITE", "Via: " + "x" * 60000).replace(b"Max-Forwards: 70", b"Max-Forwards: 0")
    assert status_of(stage.sent(data)[0]) == 483
    assert len(stage.table.state.transactions.answered) == 0


def test_malformed_requests_are_answered_400_where_that_is_safe() -> None:
    stage = Stage()
    bad = request().replace(b"CSeq: 1 INVITE", b"CSeq: 1 BYE")
    data, to = stage.sent(bad)
    assert (status_of(data), to) == (400, PHONE)
    assert stage.send(bad, A) is None
    assert stage.dropped() == {"malformed: cseq": 2}


@pytest.mark.parametrize("ours", [PHONE, OTHER])
def test_the_tag_of_one_client_is_not_anothers(ours: str) -> None:
    stage = Stage(up=False)
    stage.judge(result=ProbeResult.REFUSED)
    to = lines_of(stage.sent(request(), ours)[0], "To")[0]
    assert stage.send(request("ACK", to=to, branch="z9hG4bKother"), PHONE) is None
    assert ("ack to us" in stage.dropped()) is (ours == PHONE)
