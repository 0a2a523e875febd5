"""Base64 in a SIP user part."""

from __future__ import annotations

from binascii import Error as Base64Error

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbalancer.sip.base64url import decode, encode

FREE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.binary(max_size=64))
def test_decode_undoes_encode_in_free_letters(raw: bytes) -> None:
    assert decode(encode(raw)) == raw
    assert FREE.issuperset(encode(raw))


@pytest.mark.parametrize("text", [b"a", b"ab\xff", b"a b=", b"abc*", b"====", b"ab=c", b"\r\n"])
def test_what_is_no_such_text_is_refused(text: bytes) -> None:
    with pytest.raises(Base64Error):
        decode(text)


@given(st.binary(max_size=64))
def test_any_text_decodes_or_is_refused(text: bytes) -> None:
    try:
        decode(text)
    except Base64Error:
        return
