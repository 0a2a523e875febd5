"""The memory of recent choices: how long it holds, what it refuses, and that it forgets one small part at a time."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from sipbalancer.director.recent import RecentPins

KEYS = st.one_of(st.integers(0, 40), st.binary(max_size=2))


def test_holds_for_its_life_and_not_for_twice_its_life() -> None:
    for start in range(0, 97, 3):
        for age in range(65):
            recent: RecentPins[str] = RecentPins(10)
            recent.put(b"call", "pbx1", 1000.0 + start)
            assert recent.get(b"call", 1000.0 + start + age) == "pbx1" or age > 32
            assert recent.get(b"call", 1000.0 + start + age) is None or age < 64


def test_holds_over_its_turn_when_asked_all_the_time() -> None:
    recent: RecentPins[str] = RecentPins(10)
    recent.put(b"call", "pbx1", 1000.0)
    held = [age for age in range(80) if recent.get(b"call", 1000.0 + age) == "pbx1"]
    assert held == list(range(len(held)))
    assert 32 <= len(held) <= 64


def test_a_second_put_renews_and_replaces() -> None:
    recent: RecentPins[int] = RecentPins(10)
    recent.put(7, 1, 1000.0)
    recent.put(7, 2, 1031.0)
    assert recent.get(7, 1063.0) == 2
    assert len(recent) == 1


def test_values_that_are_false_are_still_values() -> None:
    recent: RecentPins[object] = RecentPins(10)
    recent.put(0, 0, 1.0)
    recent.put(b"", b"", 1.0)
    assert recent.get(0, 33.0) == 0
    assert recent.get(b"", 2.0) == b""


def test_refuses_beyond_its_limit_and_says_so() -> None:
    for limit in (5, 20_000):
        recent: RecentPins[int] = RecentPins(limit)
        assert all(recent.put(key, 1, 1000.0) for key in range(limit))
        assert not recent.put(limit, 1, 1000.0)
        assert recent.put(0, 2, 1000.0), "a key it holds needs no room"
        assert (recent.refused, len(recent)) == (1, limit)
        assert recent.drop(1)
        assert recent.put(limit, 1, 1000.0)


def test_there_is_room_again_after_the_turn() -> None:
    recent: RecentPins[int] = RecentPins(2)
    recent.put(1, 1, 1000.0)
    recent.put(2, 1, 1000.0)
    assert recent.put(3, 1, 1033.0)
    assert recent.refused == 0


def test_no_shard_grows_large_even_when_every_key_falls_into_one() -> None:
    recent: RecentPins[int] = RecentPins(1_000_000)
    step = recent._mask + 1
    for key in range(0, 70_000 * step, step):
        recent.put(key, 1, 1000.0)
    assert max(len(shard.young) for shard in recent._shards) == 65_536
    assert recent.refused == 70_000 - 65_536


def test_shards_turn_one_after_the_other() -> None:
    recent: RecentPins[int] = RecentPins(100_000)
    for key in range(50_000):
        recent.put(key, 1, 1000.0)
    sizes = []
    for tick in range(1, 40 * 70):
        recent.sweep(1000.0 + tick / 40)
        sizes.append(len(recent))
    steps = [before - after for before, after in zip([50_000, *sizes], sizes, strict=False)]
    assert sum(steps) == 50_000
    assert 0 < max(steps) <= 4096


def test_drop_forgets_in_both_generations() -> None:
    recent: RecentPins[int] = RecentPins(10)
    recent.put(1, 1, 1000.0)
    recent.get(1, 1033.0)
    assert recent.drop(1)
    assert not recent.drop(1)
    assert recent.get(1, 1033.0) is None


@given(st.lists(st.tuples(st.sampled_from(["put", "get", "drop", "sweep"]), KEYS, st.integers(0, 20))))
def test_agrees_with_a_dict(steps: list[tuple[str, bytes | int, int]]) -> None:
    recent: RecentPins[int] = RecentPins(8)
    model: dict[bytes | int, tuple[int, float]] = {}
    now = 1000.0
    for number, (verb, key, pause) in enumerate(steps):
        now += pause
        if verb == "put":
            if recent.put(key, number, now):
                model[key] = (number, now)
            else:
                assert sum(now - at < 32.0 for _, at in model.values()) >= 1
        elif verb == "drop":
            recent.drop(key)
            model.pop(key, None)
        elif verb == "sweep":
            recent.sweep(now)
        found = recent.get(key, now)
        value, at = model.get(key, (None, -1e9))
        assert found == value or (found is None and now - at >= 32.0)
        assert found is None or now - at < 64.0
        assert len(recent) <= 16
