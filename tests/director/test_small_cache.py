"""Two generations: what is used stays, and no more is held than said."""

from __future__ import annotations

from sipbalancer.director.small_cache import SmallCache


def test_what_is_used_stays_and_the_rest_goes() -> None:
    cache: SmallCache[int, str] = SmallCache(10)
    for number in range(100):
        used = cache.get(-1) or cache.older.get(-1)
        assert used or not number
        cache.keep(-1, used or "in use")
        cache.keep(number, "once")
        assert len(cache) <= 10 and len(cache.older) <= 10
    assert 99 in cache
    assert 70 not in cache and 70 not in cache.older


def test_forgotten_is_forgotten() -> None:
    cache: SmallCache[int, int] = SmallCache(2)
    for number in range(3):
        cache.keep(number, number)
    cache.forget()
    assert not cache and not cache.older
