"""Contacts asked for and granted."""

from __future__ import annotations

import pytest
from hypothesis import given

from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.contacts import (
    STAR,
    Contact,
    contact_uri,
    identity,
    read_contacts,
    session_expires,
    session_expires_of,
)
from sipbalancer.sip.headers import read_message
from tests.sip.messages import ANYTHING


def message(*lines: bytes) -> bytes:
    return b"\r\n".join((b"SIP/2.0 200 OK", *lines, b"", b""))


@pytest.mark.parametrize(
    ("lines", "contacts"),
    [
        ([b"Contact: <sip:a@h>;expires=60"], [Contact(b"sip:a@h", 60)]),
        ([b"Contact: <sip:a@h>", b"Expires: 60"], [Contact(b"sip:a@h", 60)]),
        ([b"Expires: 60", b"Contact: <sip:a@h>;expires=0"], [Contact(b"sip:a@h", 0)]),
        ([b"Contact: <sip:a@h>"], [Contact(b"sip:a@h", None)]),
        ([b"m: sip:a@h;expires=5 , <sip:b@h>;q=1"], [Contact(b"sip:a@h", 5), Contact(b"sip:b@h", None)]),
        ([b"Contact: <sip:a@h>", b"Contact: <sip:b@h>"], [Contact(b"sip:a@h", None), Contact(b"sip:b@h", None)]),
        ([b"Contact: <sip:a@h;expires=9>"], [Contact(b"sip:a@h;expires=9", None)]),
        ([b"Contact: <sip:a@h>;expires=99999999999"], [Contact(b"sip:a@h", 0xFFFFFFFF)]),
        ([b"Contact: <sip:a@h>;expires=soon", b"Expires: 7"], [Contact(b"sip:a@h", 7)]),
        ([b'Contact: "a, b" <sip:a@h>'], [Contact(b"sip:a@h", None)]),
        ([b"Contact: *", b"Expires: 0"], [STAR]),
        ([], []),
    ],
)
def test_contacts_and_their_lives(lines: list[bytes], contacts: list[Contact]) -> None:
    assert read_contacts(message(*lines)) == contacts


@pytest.mark.parametrize(
    ("line", "seconds"),
    [(b"Session-Expires: 1800;refresher=uac", 1800), (b"x:90", 90), (b"Session-Expires: x", None), (b"To: a", None)],
)
def test_session_expires(line: bytes, seconds: int | None) -> None:
    assert session_expires(read_message(message(line))) == seconds
    assert session_expires_of(message(line)) == seconds


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b"sip:a@h", b"sip:a@H:5060;transport=udp", True),
        (b"sip:a@h;line=1", b"sip:a@h;line=2", False),
        (b"sip:a@h;x=1;LINE=1", b"sip:a@h;line=1", True),
        (b"sip:a@h", b"sip:a@h:5061", False),
        (b"sip:a@h", b"sip:b@h", False),
        (b"tel:1", b"tel:1", True),
    ],
)
def test_whether_two_contacts_are_one_phone(one: bytes, other: bytes, same: bool) -> None:
    assert (identity(one) == identity(other)) is same


def test_only_sip_uris_have_parts() -> None:
    assert contact_uri(b"tel:1") is None
    read = contact_uri(b"sip:a@h")
    assert read is not None and read.user == b"a"


@given(ANYTHING)
def test_only_malformed_message_is_raised(data: bytes) -> None:
    try:
        contacts = read_contacts(data)
    except MalformedMessage:
        return
    assert all(isinstance(contact, Contact) for contact in contacts)
