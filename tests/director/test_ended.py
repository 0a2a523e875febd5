"""The memory of ended transactions: how long it holds, what falls out of it, and that it does not grow."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from sipbalancer.director.ended import LIFE, LIMIT, Ended
from sipbalancer.director.keys import TRANSACTION_KEY, Keys

KEYS = Keys(b"k" * 32)


def key_of(number: int) -> bytes:
    return KEYS.transaction(b"host", b"%d" % number, b"call", b"1", b"")


class Same(bytes):
    """A key of the one bucket."""

    def __hash__(self) -> int:
        return 7


def test_holds_for_its_life_and_a_second_more_at_most() -> None:
    for start in (0.0, 999.99, 1000.0, 4095.5, 4096.0, 1e9):
        for age in (0.0, 0.5, 31.9, 32.0, 33.0, 34.0, 500.0, 4000.0):
            ended = Ended()
            ended.put(key_of(1), 5, start)
            assert ended.get(key_of(1), start + age) == 5 or age > LIFE
            assert ended.get(key_of(1), start + age) is None or age < LIFE + 1


def test_a_second_put_renews_and_replaces() -> None:
    ended = Ended()
    ended.put(key_of(1), 1, 1000.0)
    ended.put(key_of(1), 2, 1031.0)
    assert ended.get(key_of(1), 1063.0) == 2


def test_a_dropped_one_is_gone_however_often_it_was_put() -> None:
    ended = Ended()
    ended.drop(key_of(1))
    for number in (1, 2, 3):
        ended.put(key_of(number), number, 1000.0)
        ended.put(key_of(1), number, 1000.0)
    ended.drop(key_of(1))
    assert [ended.get(key_of(number), 1000.0) for number in (1, 2, 3)] == [None, 2, 3]


def test_the_oldest_of_a_full_bucket_falls_out_and_is_counted_if_its_time_was_not_over() -> None:
    ended = Ended()
    keys = [Same(key_of(number)) for number in range(40)]
    for number, key in enumerate(keys[:20]):
        ended.put(key, number, 1000.0)
    assert [ended.get(key, 1000.0) for key in keys[:20]] == [None] * 4 + [*range(4, 20)]
    assert ended.forgotten == 4
    for number, key in enumerate(keys[20:]):
        ended.put(key, number, 1040.0)
    assert ended.forgotten == 4 + 4, "16 whose time was over, then 4 of the new ones"


def test_bytes_of_two_entries_are_no_key() -> None:
    ended = Ended()
    one, other = Same(key_of(1)), Same(key_of(2))
    ended.put(other, 2, 1000.0)
    ended.put(one, 1, 1000.0)
    part = next(part for part in ended._parts if part is not None)
    at = part.find(one)
    across = Same(part[at + 6 : at + 6 + TRANSACTION_KEY])
    assert ended.get(across, 1000.0) is None
    assert ended.get(Same(b""), 1000.0) is ended.get(Same(one[:5]), 1000.0) is None
    again = Ended()
    for key, number in ((across, 3), (other, 2), (one, 1)):
        again.put(key, number, 1000.0)
    assert [again.get(key, 1000.0) for key in (across, other, one)] == [3, 2, 1]


def test_holds_as_many_as_it_says_in_no_more_memory_than_they_take() -> None:
    ended = Ended()
    count = LIMIT // 16
    for number in range(count):
        ended.put(key_of(number), number & 0xFF, 1000.0)
    assert ended.forgotten == 0
    assert all(ended.get(key_of(number), 1000.0) == number & 0xFF for number in range(0, count, 31))
    assert sum(len(part) for part in ended._parts if part is not None) == 16 * LIMIT


@given(st.lists(st.tuples(st.sampled_from(["put", "get", "drop"]), st.integers(0, 15), st.integers(0, 20))))
def test_agrees_with_a_dict(steps: list[tuple[str, int, int]]) -> None:
    ended = Ended()
    model: dict[int, tuple[int, int]] = {}
    now = 1000
    for number, (verb, name, pause) in enumerate(steps):
        now += pause
        if verb == "put":
            ended.put(key_of(name), number, now)
            model[name] = (number, now)
        elif verb == "drop":
            ended.drop(key_of(name))
            model.pop(name, None)
        value, at = model.get(name, (None, -1000))
        assert ended.get(key_of(name), now) == (value if now - at <= LIFE else None)
