from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbalancer.sip.probe import (
    IDENTITY_BYTES,
    ProbeAnswer,
    ProbeIdentity,
    compose_options,
    host_port,
    identity_of,
    read_answer,
)

IDENTITY = ProbeIdentity("z9hG4bKabc", "call-1", "tag-1", 4711)
SERVER = ("192.0.2.7", 5060)
LOCAL = ("192.0.2.1", 40000)
ANSWER = (
    b"SIP/2.0 200 OK\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:40000;rport=40000;received=192.0.2.1;branch=z9hG4bKabc\r\n"
    b"Call-ID: call-1\r\n"
    b"From: <sip:192.0.2.1:40000>;tag=tag-1\r\n"
    b"To: <sip:192.0.2.7>;tag=x\r\n"
    b"CSeq: 4711 OPTIONS\r\n"
    b"Content-Length: 0\r\n"
    b"\r\n"
)


def test_options_on_the_wire() -> None:
    assert compose_options(SERVER, LOCAL, IDENTITY) == (
        b"OPTIONS sip:192.0.2.7:5060 SIP/2.0\r\n"
        b"Via: SIP/2.0/UDP 192.0.2.1:40000;branch=z9hG4bKabc;rport\r\n"
        b"Max-Forwards: 70\r\n"
        b"From: <sip:192.0.2.1:40000>;tag=tag-1\r\n"
        b"To: <sip:192.0.2.7:5060>\r\n"
        b"Call-ID: call-1\r\n"
        b"CSeq: 4711 OPTIONS\r\n"
        b"Contact: <sip:192.0.2.1:40000>\r\n"
        b"Accept: application/sdp\r\n"
        b"User-Agent: sipbalancer\r\n"
        b"Content-Length: 0\r\n"
        b"\r\n"
    )


def test_login_is_request_uri_to_and_from_but_never_contact() -> None:
    text = compose_options(SERVER, LOCAL, IDENTITY, "ping@example.com").decode()
    assert text.startswith("OPTIONS sip:ping@example.com SIP/2.0\r\n")
    assert "From: <sip:ping@example.com>;tag=tag-1\r\n" in text
    assert "To: <sip:ping@example.com>\r\n" in text
    assert "Contact: <sip:192.0.2.1:40000>\r\n" in text


def test_ipv6_addresses_stand_in_brackets() -> None:
    text = compose_options(("2001:db8::7", 5060), ("2001:db8::1", 40000), IDENTITY).decode()
    assert text.startswith("OPTIONS sip:[2001:db8::7]:5060 SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::1]:40000;")
    assert host_port("192.0.2.7", 5060) == "192.0.2.7:5060"


def test_identity_uses_every_random_byte() -> None:
    """A byte that is drawn and not used would be freshness that is not there."""
    for at in range(IDENTITY_BYTES):
        changed = bytearray(IDENTITY_BYTES)
        changed[at] = 0x80
        assert identity_of(bytes(changed)) != identity_of(bytes(IDENTITY_BYTES))


def test_a_thousand_probes_share_nothing() -> None:
    source = random.Random(5)
    identities = [identity_of(source.randbytes(IDENTITY_BYTES)) for _ in range(1000)]
    for field in ("branch", "call_id", "tag"):
        assert len({getattr(identity, field) for identity in identities}) == 1000
    assert all(a.cseq != b.cseq for a, b in pairwise(identities))
    assert len({compose_options(SERVER, LOCAL, identity) for identity in identities}) == 1000


@given(st.binary(min_size=IDENTITY_BYTES, max_size=IDENTITY_BYTES))
def test_identities_are_legal(random_bytes: bytes) -> None:
    identity = identity_of(random_bytes)
    assert 1 <= identity.cseq < 2**31
    assert identity.branch.startswith("z9hG4bK")


def test_reads_the_facts() -> None:
    assert read_answer(ANSWER) == ProbeAnswer(200, "OK", "z9hG4bKabc", "call-1", 4711, "OPTIONS", None)


@pytest.mark.parametrize(
    "change",
    [
        (b"Via:", b"v :"),
        (b"Via:", b"VIA:"),
        (b"Call-ID:", b"i:"),
        (b"\r\n", b"\n"),
        (b"Via: SIP/2.0/UDP 192.0.2.1:40000;", b"Via: SIP/2.0/UDP 192.0.2.1:40000\r\n ;"),
        (b";branch=z9hG4bKabc", b"; Branch = z9hG4bKabc"),
        (b"branch=z9hG4bKabc", b"branch=z9hG4bKabc, SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKother"),
        (b"Call-ID:", b"Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKother\r\nCall-ID:"),
        (b"\r\n\r\n", b"\r\n\r\nCSeq: 1 INVITE\r\nVia: SIP/2.0/UDP x;branch=y"),
        (b"\r\n\r\n", b"\r\n"),
        (b"200 OK", b"200 "),
        (b"200 OK", b"200"),
    ],
)
def test_reads_every_spelling(change: tuple[bytes, bytes]) -> None:
    answer = read_answer(ANSWER.replace(*change))
    assert answer is not None
    assert answer._replace(reason="OK").answers(IDENTITY)


@pytest.mark.parametrize(
    "change",
    [
        (b"branch=z9hG4bKabc", b"branch=z9hG4bKabd"),
        (b"branch=z9hG4bKabc", b"branch=z9hG4bKABC"),
        (b"call-1", b"call-2"),
        (b"4711 OPTIONS", b"4712 OPTIONS"),
        (b"4711 OPTIONS", b"4711 INVITE"),
    ],
)
def test_an_answer_to_something_else_is_none_of_ours(change: tuple[bytes, bytes]) -> None:
    answer = read_answer(ANSWER.replace(*change))
    assert answer is not None
    assert not answer.answers(IDENTITY)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\n\r\n",
        b"SIP/2.0 999 OK\r\n\r\n",
        b"SIP/2.0 200 OK",
        b"SIP/2.0 200 OK\r\n\r\n",
        ANSWER.replace(b"Via:", b"Vya:"),
        ANSWER.replace(b"branch=", b"brunch="),
        ANSWER.replace(b"CSeq: 4711", b"CSeq: x"),
        ANSWER.replace(b"CSeq: 4711", b"CSeq: 99999999999"),
        ANSWER.replace(b"Call-ID: call-1", b"Call-ID:"),
    ],
)
def test_what_is_no_answer(data: bytes) -> None:
    assert read_answer(data) is None


@pytest.mark.parametrize(
    ("line", "seconds"),
    [(b"Retry-After: 300", 300), (b"retry-after: 18 (maintenance)", 18), (b"Retry-After: soon", None), (b"X: 1", None)],
)
def test_retry_after(line: bytes, seconds: int | None) -> None:
    answer = read_answer(ANSWER.replace(b"Content-Length: 0", line))
    assert answer is not None
    assert answer.retry_after == seconds


def test_a_reason_phrase_is_safe_to_print() -> None:
    answer = read_answer(ANSWER.replace(b"200 OK", b"200 \x1b[31mred\xff" + b"x" * 5000))
    assert answer is not None
    assert answer.reason.isprintable()
    assert len(answer.reason) <= 80


@given(st.binary(max_size=300), st.integers(0, len(ANSWER)), st.integers(0, 40))
def test_reading_never_raises(junk: bytes, at: int, cut: int) -> None:
    answer = read_answer(ANSWER[:at] + junk + ANSWER[at + cut :])
    assert answer is None or 100 <= answer.status <= 699
    read_answer(junk)
