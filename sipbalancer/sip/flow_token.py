"""The flow token: which server and which client flow, sealed into the user part of our Record-Route and Path.

RFC 5626 5.2 (an edge proxy's own choice of form), 28 characters for IPv4:

    base64url( form (1) | server (6 or 18) | client (6 or 18) | leg (1) | seal (7) )

`form` says which of the two addresses are IPv6. The seal is a keyed hash of all before it, so nobody can make the
balancer send to an address it did not itself seal (invariant 6). It does not hide the addresses.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from hashlib import blake2b
from typing import NamedTuple

from sipbalancer.sip.base64url import decode, encode
from sipbalancer.sip.flow import PACKED_V4, PACKED_V6

SEAL = 7
FORM = 0xB0
"""The high bits of the form: another version of the token will have others."""

_LEGS = tuple(bytes((leg,)) for leg in range(256))
LENGTHS = {FORM | v6: (PACKED_V6 if v6 & 2 else PACKED_V4, PACKED_V6 if v6 & 1 else PACKED_V4) for v6 in range(4)}


class FlowToken(NamedTuple):
    """What a token says; addresses are packed (`sip.flow`)."""

    server: bytes
    client: bytes
    leg: int = 0
    """Which of the service's client legs; there is one today (TCP, TLS and a second interface will be others)."""


class TokenSealer:
    """Seals with the newest key, opens with any of at most two."""

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        self._bases = tuple(blake2b(key=key[:64], digest_size=SEAL, person=b"flow token") for key in keys[:2])

    def seal(self, token: FlowToken) -> bytes:
        """The token's text, fit for the user part of a SIP URI."""
        return self.seal_client(token_head(token.server, len(token.client)), token.client, token.leg)

    def seal_client(self, head: bytes, client: bytes, leg: int = 0) -> bytes:
        """The same, by the `token_head` of the server."""
        plain = head + client + _LEGS[leg & 0xFF]
        sealing = self._bases[0].copy()
        sealing.update(plain)
        return encode(plain + sealing.digest())

    def open(self, text: bytes) -> FlowToken | None:
        """What the token says, or None when it is not one or its seal is bad under every key."""
        try:
            raw = decode(text)
        except Base64Error:
            return None
        lengths = LENGTHS.get(raw[0]) if raw else None
        if lengths is None or len(raw) != 2 + sum(lengths) + SEAL:
            return None
        plain, seal = raw[:-SEAL], raw[-SEAL:]
        for base in self._bases:
            sealing = base.copy()
            sealing.update(plain)
            if sealing.digest() == seal:
                middle = 1 + lengths[0]
                return FlowToken(plain[1:middle], plain[middle:-1], plain[-1])
        return None


def token_head(server: bytes, client_length: int) -> bytes:
    """How all tokens of a server begin, by the length of the client's packed address."""
    form = FORM | (2 if len(server) == PACKED_V6 else 0) | (1 if client_length == PACKED_V6 else 0)
    return bytes((form,)) + server


def looks_like_token(user: bytes) -> bool:
    """Whether a user part has the form of a token, sealed by whomever: a phone's Route that we cannot open any more."""
    try:
        raw = decode(user)
    except Base64Error:
        return False
    lengths = LENGTHS.get(raw[0]) if raw else None
    return lengths is not None and len(raw) == 2 + sum(lengths) + SEAL
