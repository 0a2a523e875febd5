"""Keyed hashes under the persistent secret: branches, pin keys, To tags of our own.

A prebuilt blake2b base is copied per hash (0.4 us; hmac costs six times that). All of them agree between workers and
over a restart, which Python's own `hash` does not; strangers cannot compute them, so nobody can aim for a collision.
"""

from __future__ import annotations

from binascii import b2a_base64
from hashlib import blake2b

TRANSACTION_KEY = 12
"""Characters of a transaction's key: 72 bits, the middle of the branch we write."""
SERVER_TAG = 4
"""Characters that tell the servers apart at the end of the branch: 24 bits."""

_integer = int.from_bytes
_TO_TOKEN = bytes.maketrans(b"+/=", b"-_.")


class Keys:
    """The hashes of one secret (32 bytes, the newest key of the file)."""

    def __init__(self, secret: bytes) -> None:
        self._branch = blake2b(key=secret[:64], digest_size=9, person=b"branch")
        self._pin = blake2b(key=secret[:64], digest_size=8, person=b"pin")
        self._tag = blake2b(key=secret[:64], digest_size=9, person=b"to tag")
        self._server = blake2b(key=secret[:64], digest_size=3, person=b"server")

    def transaction(self, sent_by: bytes, branch: bytes, call_id: bytes, cseq: bytes, address: bytes) -> bytes:
        """The key of a transaction (RFC 3261 17.2.3, 16.11): 12 characters, the same for CANCEL and non-2xx ACK."""
        hashing = self._branch.copy()
        hashing.update(b"\0".join((branch, sent_by, call_id, cseq, address)))
        return b2a_base64(hashing.digest(), newline=False).translate(_TO_TOKEN)

    def pin(self, text: bytes) -> int:
        """A 64-bit pin key; the caller makes kinds differ by their first byte."""
        hashing = self._pin.copy()
        hashing.update(text)
        return _integer(hashing.digest(), "little")

    def server_tag(self, packed: bytes) -> bytes:
        """The end of every branch that goes to this server."""
        hashing = self._server.copy()
        hashing.update(packed)
        return b2a_base64(hashing.digest(), newline=False).translate(_TO_TOKEN)

    def to_tag(self, call_id: bytes, cseq: bytes, address: bytes) -> bytes:
        """The To tag of an answer of our own: an ACK that carries it ends here, without memory."""
        hashing = self._tag.copy()
        hashing.update(b"\0".join((call_id, cseq, address)))
        return b2a_base64(hashing.digest(), newline=False).translate(_TO_TOKEN)
