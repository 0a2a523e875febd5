"""Contacts: what a REGISTER asked for and what its 2xx granted (RFC 3261 10.2, 10.3).

Reads only. `Expires` of one Contact is its parameter, else the header's, else None.
"""

from __future__ import annotations

from typing import NamedTuple

from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.grammar import VALUES
from sipbalancer.sip.headers import Message, read_message
from sipbalancer.sip.uri import Uri, addr_spec, parameter, parameters, read_uri, split_values


class Contact(NamedTuple):
    """One Contact: its URI as written, and its life in seconds; None where the message does not say."""

    uri: bytes
    expires: int | None


STAR = Contact(b"*", 0)
"""`Contact: *`: all bindings of the AoR end (10.2.2)."""


def read_contacts(data: bytes) -> list[Contact]:
    """All Contacts of a message in order, [STAR] for `*`. MalformedMessage when they cannot be read."""
    message = read_message(data)
    default = _seconds(message.first(b"expires"))
    contacts: list[Contact] = []
    for value in message.all(b"contact"):
        if value.strip() == b"*":
            return [STAR]
        contacts.extend(_contact(value[start:stop], default) for start, stop in split_values(value))
        if len(contacts) > VALUES:
            raise MalformedMessage("contact")
    return contacts


def only_contact(data: bytes) -> Contact | None:
    """The Contact of the usual REGISTER or its 2xx: one line, one `<URI>`, canonical spelling; None for anything else.

    A life that only the Expires header says is None here too.
    """
    start = data.find(b"\nContact: <") + 11
    if start == 10:
        return None
    end = data.find(b"\r\n", start)
    if data.find(b"\nContact:", end) >= 0 or data.find(b",", start, end) >= 0:
        return None
    closing = data.find(b">", start, end)
    at = data.find(b";expires=", closing, end) + 9
    if closing < 0 or at == 8:
        return Contact(data[start:closing], None) if closing >= 0 else None
    stop = data.find(b";", at, end)
    life = data[at : end if stop < 0 else stop]
    if not life.isdigit() or len(life) > 9:
        return None
    # Past the named tuple's own constructor, which costs 250 ns more on every answer to a REGISTER.
    return tuple.__new__(Contact, (data[start:closing], int(life)))


def _contact(element: bytes, default: int | None) -> Contact:
    own = _seconds(parameter(parameters(element), b"expires"))
    return Contact(addr_spec(element), default if own is None else own)


def _seconds(text: bytes | None) -> int | None:
    """Digits to seconds, at most a 32-bit number (20.19); None for anything else."""
    return min(int(text), 0xFFFFFFFF) if text and text.isdigit() and len(text) < 12 else None


def session_expires(message: Message) -> int | None:
    """Session-Expires in seconds (RFC 4028 4); None when absent."""
    value = message.first(b"session-expires")
    return None if value is None else _seconds(value.split(b";", 1)[0].strip())


def session_expires_of(data: bytes) -> int | None:
    """The same of a whole message: the usual spelling is found, any other is read."""
    at = data.find(b"\nSession-Expires: ") + 18
    if at > 17:
        # As far as the digits go, of the few octets they can be.
        life = data[at : at + 16]
        digits = life[: len(life) - len(life.lstrip(b"0123456789"))]
        return _seconds(digits)
    if data.find(b"ession-") < 0 and data.find(b"ESSION-") < 0 and data.find(b"\nx") < 0 and data.find(b"\nX") < 0:
        return None
    return session_expires(read_message(data))


def identity(uri: bytes) -> bytes:
    """What two Contacts must share to be the same phone's: user, host, port and `line` (design 4.3)."""
    try:
        read = read_uri(uri)
    except MalformedMessage:
        return uri
    return b"%b@%b:%d;%b" % (read.user, read.host, read.port, parameter(read.params, b"line") or b"")


def contact_uri(uri: bytes) -> Uri | None:
    """The parts of a Contact's URI; None when it is no SIP URI (tel:, im: ...)."""
    try:
        return read_uri(uri)
    except MalformedMessage:
        return None
