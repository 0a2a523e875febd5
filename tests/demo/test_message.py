"""The demo's reader and writer of SIP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbalancer.demo import message as sip

INVITE = (
    b"INVITE sip:600@192.0.2.1 SIP/2.0\r\n"
    b"v: SIP/2.0/UDP 10.0.0.5:5062;rport;branch=z9hG4bKabc, SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKdef\r\n"
    b'f: "Smith, J" <sip:1001@192.0.2.1>;tag=a1\r\n'
    b"t: <sip:600@192.0.2.1>\r\n"
    b"i: call@host\r\n"
    b"CSeq: 7 INVITE\r\n"
    b"Supported: path,\r\n timer\r\n"
    b"l: 4\r\n"
    b"\r\n"
    b"bodyand more"
)


def read(data: bytes) -> sip.Message:
    message = sip.parse(data)
    assert message is not None
    return message


def test_reads_compact_folded_and_listed_headers() -> None:
    message = read(INVITE)
    assert (message.method, message.uri, message.status, message.cseq) == ("INVITE", "sip:600@192.0.2.1", 0, 7)
    assert message.branch == "z9hG4bKabc"
    assert len(message.all("Via")) == 2
    assert message.has_option("Supported", "timer")
    assert sip.parameter(message.get("From"), "tag") == "a1"
    assert message.body == b"body"


def test_what_is_written_reads_the_same() -> None:
    message = read(INVITE)
    again = read(message.encode())
    assert again.start == message.start
    assert again.body == message.body
    assert [header for header in again.headers if header[0] != "Content-Length"] == [
        header for header in message.headers if header[0] != "Content-Length"
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"INVITE sip:x SIP/2.0\r\n\r\n",
        b"SIP/2.0 20 OK\r\n\r\n",
        b"SIP/2.0 2000 OK\r\n\r\n",
        b"INVITE sip:x HTTP/1.1\r\n\r\n",
        INVITE.replace(b"CSeq: 7 INVITE\r\n", b""),
        INVITE.replace(b"v: SIP/2.0/UDP 10.0.0.5:5062;rport;branch=z9hG4bKabc, SIP/2.0/UDP 10.0.0.9", b"v: ,"),
        INVITE.partition(b"\r\n\r\n")[0],
    ],
)
def test_what_is_no_sip_is_none(data: bytes) -> None:
    assert sip.parse(data) is None


@given(st.binary(max_size=400), st.integers(0, len(INVITE)), st.integers(0, len(INVITE)))
def test_no_bytes_raise(noise: bytes, start: int, end: int) -> None:
    """Rubbish alone, and rubbish in the middle of a message; what parses can be stamped, answered and written."""
    for data in (noise, INVITE[: min(start, end)] + noise + INVITE[max(start, end) :]):
        message = sip.parse(data)
        if message is not None and not message.status:
            sip.stamp(message, ("198.51.100.1", 4321))
            response = sip.reply(message, 200, "OK", "tag")
            sip.reply_address(response.top("Via"))
            assert read(response.encode()).status == 200


def test_stamp_writes_received_and_rport_once() -> None:
    message = read(INVITE)
    sip.stamp(message, ("198.51.100.1", 4321))
    sip.stamp(message, ("198.51.100.1", 4321))
    via = message.top("Via")
    assert via.count("received=198.51.100.1") == 1
    assert via.count("rport=4321") == 1
    assert sip.reply_address(via) == ("198.51.100.1", 4321)


@pytest.mark.parametrize(
    "via, address",
    [
        ("SIP/2.0/UDP 10.0.0.5;branch=z9hG4bKa", ("10.0.0.5", 5060)),
        ("SIP/2.0/UDP 10.0.0.5:5070;branch=z9hG4bKa;received=192.0.2.7", ("192.0.2.7", 5070)),
        ("SIP/2.0/UDP [2001:db8::1]:5070;branch=z9hG4bKa", ("2001:db8::1", 5070)),
    ],
)
def test_responses_go_where_the_via_says(via: str, address: sip.Address) -> None:
    assert sip.reply_address(via) == address


@pytest.mark.parametrize(
    "uri, user, address",
    [
        ("sip:1001@192.0.2.1:5070;line=x", "1001", ("192.0.2.1", 5070)),
        ("sip:192.0.2.1", "", ("192.0.2.1", 5060)),
        ("sip:192.0.2.1:99999", "", ("192.0.2.1", 5060)),
        ("sip:1001:secret@pbx.example.com", "1001", ("pbx.example.com", 5060)),
        ("sips:1001@[2001:db8::1]:5061;lr", "1001", ("2001:db8::1", 5061)),
    ],
)
def test_uris(uri: str, user: str, address: sip.Address) -> None:
    assert (sip.user_of(uri), sip.address_of(uri)) == (user, address)


def test_commas_in_quotes_and_brackets_do_not_split() -> None:
    value = '"a, \\"b, c\\"" <sip:a@b;x=1,2>;q=1, <sip:c@d>'
    assert sip.split_list(value) == ['"a, \\"b, c\\"" <sip:a@b;x=1,2>;q=1', "<sip:c@d>"]


def test_record_route_goes_back_only_where_it_makes_a_dialog() -> None:
    message = read(INVITE)
    message.add("Record-Route", "<sip:proxy;lr>")
    assert sip.reply(message, 180, "Ringing").all("Record-Route") == ["<sip:proxy;lr>"]
    assert sip.reply(message, 100, "Trying").all("Record-Route") == []
    assert sip.reply(message, 404, "Not Found").all("Record-Route") == []


def test_sent_from_keeps_user_and_parameters() -> None:
    value = sip.sent_from("<sip:1001@10.0.0.5:5062;line=7>;expires=60", ("192.0.2.9", 1024))
    assert value == "<sip:1001@192.0.2.9:1024;line=7>;expires=60"
