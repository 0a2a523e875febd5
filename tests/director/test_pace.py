"""The bucket lets no more than its rate through, and the ramp rises evenly."""

from __future__ import annotations

import tracemalloc

from sipbalancer.director.pace import LEAST_SHARE, Bucket, ramp


def test_in_any_second_no_more_than_the_rate() -> None:
    bucket = Bucket()
    taken = [step / 100 for step in range(1000) if bucket.take(20.0, 50.0 + step / 100, must=False)]
    worst = max(sum(start <= at < start + 1 for at in taken) for start in taken)
    assert worst <= 20
    assert 195 <= len(taken) <= 202, "and nothing of it is wasted"


def test_nor_at_the_server_though_some_leave_later_than_others() -> None:
    """The clock is read once for what arrived together; on a busy machine the last of it left 10 ms later."""
    bucket = Bucket()
    taken = [step / 1000 for step in range(10_000) if bucket.take(20.0, 50.0 + step / 1000, must=False)]
    arrived = sorted(at + 0.01 * (count // 7 % 2) for count, at in enumerate(taken))
    assert max(sum(start <= at < start + 1 for at in arrived) for start in arrived) <= 20


def test_what_must_pass_is_paid_for_later() -> None:
    bucket = Bucket()
    assert all(bucket.take(10.0, 50.0, must=True) for _ in range(5))
    assert not bucket.has(10.0, 50.3) and not bucket.take(10.0, 50.3, must=False)
    assert bucket.has(10.0, 50.6) and bucket.take(10.0, 50.6, must=False)


def test_what_must_pass_passes_no_more_than_the_rate_in_any_second() -> None:
    bucket = Bucket()
    taken = [step / 100 for step in range(1000) if bucket.take(20.0, 50.0 + step / 100, must=step % 3 > 0)]
    assert max(sum(start <= at < start + 1 for at in taken) for start in taken) <= 20
    assert sum(bucket.take(20.0, 80.0, must=True) for _ in range(100)) == 20


def test_a_debt_is_paid_off_in_a_second_however_many_wanted_to_pass() -> None:
    bucket = Bucket()
    assert sum(bucket.take(10.0, 50.0, must=True) for _ in range(10_000)) == 10
    assert not bucket.has(10.0, 50.9) and bucket.has(10.0, 51.1)


def test_looking_takes_nothing() -> None:
    bucket = Bucket()
    bucket.take(10.0, 50.0, must=False)
    assert [bucket.has(10.0, 50.2) for _ in range(5)] == [True] * 5


def test_a_rate_below_one_still_lets_one_through() -> None:
    bucket = Bucket()
    assert [bucket.take(0.5, 50.0 + second, must=False) for second in range(4)] == [True, False, True, False]


def test_a_rate_that_means_no_limit_takes_no_memory() -> None:
    tracemalloc.start()
    bucket = Bucket()
    try:
        assert all(bucket.take(9e6, 50.0, must=False) for _ in range(1000))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert bucket.has(9e6, 50.0)


def test_the_ramp_begins_low_and_ends_whole() -> None:
    assert ramp(100.0, 10.0, 100.0) == LEAST_SHARE
    assert ramp(100.0, 10.0, 105.0) == 0.5
    assert ramp(100.0, 10.0, 110.0) == ramp(0.0, 10.0, 5.0) == ramp(100.0, 0.0, 100.0) == 1.0
