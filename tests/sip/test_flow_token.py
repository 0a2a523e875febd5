"""The flow token: small, sealed, and nobody else's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbalancer.sip.flow import pack_address
from sipbalancer.sip.flow_token import FlowToken, TokenSealer, looks_like_token
from sipbalancer.sip.uri import read_uri

NEW, OLD, FOREIGN = b"n" * 32, b"o" * 32, b"f" * 32
V4 = st.binary(min_size=6, max_size=6)
V6 = st.binary(min_size=18, max_size=18)
TOKENS = st.builds(FlowToken, st.one_of(V4, V6), st.one_of(V4, V6), st.integers(0, 255))
ONE = FlowToken(pack_address("192.0.2.11", 5060), pack_address("10.1.0.1", 40000))


@given(TOKENS)
def test_open_undoes_seal(token: FlowToken) -> None:
    sealer = TokenSealer((NEW,))
    text = sealer.seal(token)
    assert sealer.open(text) == token
    assert looks_like_token(text)


@given(TOKENS)
def test_it_is_free_of_anything_a_user_part_must_escape(token: FlowToken) -> None:
    text = TokenSealer((NEW,)).seal(token)
    assert read_uri(b"sip:" + text + b"@192.0.2.1;lr").user == text


def test_its_length() -> None:
    six = pack_address("2001:db8::1", 5060)
    lengths = [
        len(TokenSealer((NEW,)).seal(FlowToken(*pair))) for pair in ((ONE[0], ONE[1]), (ONE[0], six), (six, six))
    ]
    assert lengths == [28, 44, 60]


def test_two_keys_may_open_and_the_newest_seals() -> None:
    old, rotated = TokenSealer((OLD,)), TokenSealer((NEW, OLD))
    assert rotated.open(old.seal(ONE)) == ONE
    assert old.open(rotated.seal(ONE)) is None
    assert TokenSealer((NEW,)).open(old.seal(ONE)) is None
    assert TokenSealer((FOREIGN, NEW, OLD)).open(old.seal(ONE)) is None, "two, not three"


def test_every_flipped_bit_breaks_the_seal() -> None:
    sealer = TokenSealer((NEW, OLD))
    text = sealer.seal(ONE)
    for at in range(len(text)):
        for bit in range(8):
            flipped = text[:at] + bytes((text[at] ^ 1 << bit,)) + text[at + 1 :]
            assert sealer.open(flipped) is None, flipped


@given(st.integers(0, 27), st.binary(min_size=1, max_size=3))
def test_no_other_text_of_that_length_opens(at: int, piece: bytes) -> None:
    sealer = TokenSealer((NEW,))
    text = sealer.seal(ONE)
    other = (text[:at] + piece + text[at + len(piece) :])[:28]
    if other.translate(bytes.maketrans(b"+/", b"-_")) != text:
        assert sealer.open(other) is None


@given(st.one_of(st.binary(max_size=80), st.text("ABCabc019-_", max_size=64).map(str.encode)))
def test_anything_else_is_no_token(text: bytes) -> None:
    assert TokenSealer((NEW,)).open(text) is None


@pytest.mark.parametrize("user", [b"", b"1001", b"alice", b"a" * 28, b"A" * 28, b"\xff" * 28])
def test_users_do_not_look_like_tokens(user: bytes) -> None:
    assert not looks_like_token(user)
