"""Base64 in letters that are free in a SIP user part and in a token: RFC 4648 5, without padding."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

_TO_SIP = bytes.maketrans(b"+/", b"-_")
_FROM_SIP = bytes.maketrans(b"-_", b"+/")


def encode(raw: bytes) -> bytes:
    """Bytes to text."""
    return b2a_base64(raw, newline=False).rstrip(b"=").translate(_TO_SIP)


def decode(text: bytes) -> bytes:
    """Text to bytes. binascii.Error when it is not such text."""
    return a2b_base64(text.translate(_FROM_SIP) + b"=" * (-len(text) % 4), strict_mode=True)
