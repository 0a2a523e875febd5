"""Keyed hashes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sipbalancer.director.keys import SERVER_TAG, TRANSACTION_KEY, Keys

ONE, OTHER = Keys(b"a" * 32), Keys(b"b" * 32)
FREE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
WORD = st.binary(max_size=30)


@given(st.tuples(WORD, WORD, WORD, WORD, WORD))
def test_they_are_short_free_of_separators_and_stable(words: tuple[bytes, bytes, bytes, bytes, bytes]) -> None:
    made = ONE.transaction(*words), ONE.server_tag(words[0]), ONE.to_tag(*words[:3])
    assert [len(text) for text in made] == [TRANSACTION_KEY, SERVER_TAG, 12]
    assert FREE.issuperset(b"".join(made))
    again = Keys(b"a" * 32)
    assert made == (again.transaction(*words), again.server_tag(words[0]), again.to_tag(*words[:3]))


@given(WORD)
def test_another_secret_gives_another_hash(word: bytes) -> None:
    assert ONE.pin(word) != OTHER.pin(word)
    assert ONE.transaction(word, b"", b"", b"", b"") != OTHER.transaction(word, b"", b"", b"", b"")
    assert 0 <= ONE.pin(word) < 1 << 64


def test_each_part_of_a_transaction_tells() -> None:
    words = [b"h:5060", b"z9hG4bK1", b"call", b"1", b"\x0a\1\0\1"]
    made = {ONE.transaction(*words)}
    for at in range(5):
        made.add(ONE.transaction(*[word + b"x" if n == at else word for n, word in enumerate(words)]))
    assert len(made) == 6
