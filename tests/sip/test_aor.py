"""One spelling for each address of record, and tags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbalancer.errors import MalformedMessage
from sipbalancer.sip import aor
from sipbalancer.sip.aor import digest_aors, read_aor, tag, uri_aor
from sipbalancer.sip.uri import parameter, parameters
from tests.sip.messages import ADDRESSES

OURS = frozenset((b"192.0.2.1", b"pbx.example.com", b"[2001:db8::1]"))


@pytest.mark.parametrize(
    ("value", "same"),
    [
        (b"<sip:1001@192.0.2.1>;tag=x", b"1001@"),
        (b"<sip:1001@192.0.2.1:5070;transport=udp>", b"1001@"),
        (b"sip:1001@PBX.Example.Com;tag=x", b"1001@"),
        (b"<sips:%31001@pbx.example.com>", b"1001@"),
        (b"<SIP:1001@pbx.example.com>", b"1001@"),
        (b"<sip:1001@[2001:DB8::1]>", b"1001@"),
        (b"<sip:1001:secret@pbx.example.com>", b"1001@"),
        (b"<sip:Bob@Elsewhere.example>", b"Bob@elsewhere.example"),
        (b'"<sip:no@no>" <sip:1001@192.0.2.1>', b"1001@"),
        (b"<sips:1001@192.0.2.1>;x=<sip:victim@192.0.2.1>", b"1001@"),
        (b"<sip:192.0.2.1>", b""),
        (b"sip:anonymous@anonymous.invalid", b"anonymous@anonymous.invalid"),
    ],
)
def test_the_address_of_record(value: bytes, same: bytes) -> None:
    assert read_aor(value, OURS) == same


@pytest.mark.parametrize(
    "value",
    [
        b"<tel:+49>",
        b"<sip:" + b"a" * 255 + b"@h>",
        b"sip:" + b"a" * 255 + b"@h",
        b"",
        b"<sip:a@b",
        b'"open <sip:a@b>',
        b"nobody",
    ],
)
def test_what_has_none(value: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_aor(value, OURS)


@pytest.mark.parametrize(
    ("username", "means"),
    [
        (b"1001", [b"1001@"]),
        (b"1001@192.0.2.1", [b"1001@"]),
        (b"1001@PBX.example.com", [b"1001@"]),
        (b"1001@asterisk", [b"1001@asterisk", b"1001@"]),
        (b"a@b@Realm", [b"a@b@realm", b"a@b@"]),
        (b"1001@", [b"1001@"]),
        (b"@host", []),
        (b"", []),
        (b"a" * 255, []),
    ],
)
def test_what_a_digest_username_may_mean(username: bytes, means: list[bytes]) -> None:
    assert digest_aors(username, OURS) == means


def outcome(read: object, value: bytes) -> bytes | str:
    try:
        return read(value, OURS)  # type: ignore[operator, no-any-return]
    except MalformedMessage:
        return "malformed"


PIECES = [
    b"<sip:",
    b"<sips:",
    b"a@192.0.2.1",
    b"b@x.org",
    b">",
    b";",
    b'"',
    b" ",
    b"tag=",
    b"\\",
    b":5060",
    b";lr",
    b",",
]
VALUES = st.one_of(st.sampled_from(ADDRESSES), st.lists(st.sampled_from(PIECES)).map(b"".join))


@given(VALUES)
def test_the_quick_way_is_the_general_one(value: bytes) -> None:
    quick = outcome(read_aor, value)
    general = outcome(aor._read_aor, value)
    assert quick == general


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"<sip:a@b>;tag=1", b"1"),
        (b"<sip:a@b>;tag=1;x=y", b"1"),
        (b"<sip:a@b> ;x=y; TAG = 1 ", b"1"),
        (b"sip:a@b;tag=1", b"1"),
        (b"<sip:a@b;tag=no>", b""),
        (b'"x>;tag=no" <sip:a@b>;tag=1', b"1"),
        (b'<sip:a@b>;x=">;tag=no"', b""),
        (b"<sip:a@b>", b""),
        (b"", b""),
        (b'"tag=open', b""),
    ],
)
def test_tags(value: bytes, expected: bytes) -> None:
    assert tag(value) == expected


@given(VALUES)
def test_a_tag_is_the_tag_parameter(value: bytes) -> None:
    try:
        general = parameter(parameters(value), b"tag") or b""
    except MalformedMessage:
        general = b""
    assert tag(value) == general


def test_a_bare_uri() -> None:
    assert uri_aor(b"sip:1001@192.0.2.1", OURS) == b"1001@"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("space", [b" ", b"\t", b"\x0b", b"\x0c", b"\r"])
def test_sixty_thousand_octets_of_white_space_take_no_time_to_speak_of(space: bytes) -> None:
    """What is quadratic takes seconds each time: half a minute and more."""
    white = space * 60000
    for value in (white + b"y", white + b">;tag=", b'"a"' + white + b">;tag=", b"a" + white + b">;tag=1"):
        for _ in range(10):
            tag(value)
            try:
                read_aor(value, OURS)
            except MalformedMessage:
                continue
