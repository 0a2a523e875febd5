"""Two generations: what is used stays, no more is held than said, and where nobody comes again it rests."""

from __future__ import annotations

from sipbalancer.director.small_cache import SmallCache

LIMIT = 100


def asked(cache: SmallCache[int, str], *keys: int) -> int:
    """How many had to be made."""
    made = 0
    for key in keys:
        if cache.get(key) is None and cache.again(key) is None:
            made += 1
            cache.keep(key, f"{key}")
        assert len(cache) <= LIMIT
        assert len(cache.older) <= LIMIT
    return made


def test_what_is_used_stays_and_the_rest_goes() -> None:
    cache: SmallCache[int, str] = SmallCache(LIMIT)
    used = range(-LIMIT // 2, 0)
    asked(cache, *used)
    for number in range(0, 1000, 10):
        assert asked(cache, *used, *range(number, number + 10)) == 10
    assert 999 in cache
    assert 700 not in cache
    assert 700 not in cache.older


def test_a_pool_that_fits_is_made_once() -> None:
    cache: SmallCache[int, str] = SmallCache(LIMIT)
    assert asked(cache, *range(LIMIT), *range(LIMIT), *range(LIMIT)) == LIMIT


def test_where_nobody_comes_again_it_rests_with_the_few_it_has() -> None:
    cache: SmallCache[int, str] = SmallCache(LIMIT)
    asked(cache, *range(10 * LIMIT))
    assert not cache.older
    held = set(cache)
    assert len(held) == LIMIT // 32
    assert asked(cache, *held) == 0
    asked(cache, *range(10 * LIMIT, 20 * LIMIT))
    assert set(cache) == held


def test_it_tries_anew_after_a_while() -> None:
    cache: SmallCache[int, str] = SmallCache(LIMIT)
    asked(cache, *range(10 * LIMIT))
    few = range(-LIMIT // 2, 0)
    assert asked(cache, *few) == asked(cache, *few) == len(few)
    for _ in range(32 * LIMIT // len(few)):
        asked(cache, *few)
    assert asked(cache, *few) == 0, "the pool has become small"


def test_forgotten_is_forgotten() -> None:
    cache: SmallCache[int, int] = SmallCache(2)
    for number in range(3):
        cache.keep(number, number)
    cache.forget()
    assert not cache
    assert not cache.older
    assert cache.again(0) is None
