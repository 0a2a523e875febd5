from __future__ import annotations

import pytest

from sipbalancer.director.wheel import TICK, Wheel

NOW = 1000.0


def test_never_before_its_time_and_within_a_tick_after() -> None:
    for number in range(200):
        wheel = Wheel(NOW)
        when = NOW + 0.007 * number
        wheel.set(b"key", when)
        at = NOW
        while not wheel.due(at, 1000):
            at += 0.001
            assert at < when + 2 * TICK
        assert at >= when


def test_in_the_order_of_their_ticks() -> None:
    wheel = Wheel(NOW)
    for name, after in ((b"late", 3.0), (b"soon", 0.1), (b"middle", 1.0), (b"soon too", 0.1)):
        wheel.set(name, NOW + after)
    assert wheel.due(NOW + 1.2, 1000) == [b"soon", b"soon too", b"middle"]
    assert wheel.due(NOW + 1.2, 1000) == []
    assert wheel.due(NOW + 9.0, 1000) == [b"late"]


def test_each_key_is_handed_out_once_per_setting() -> None:
    wheel = Wheel(NOW)
    wheel.set(b"key", NOW + 0.2)
    wheel.set(b"key", NOW + 0.4)
    assert [wheel.due(NOW + after, 1000) for after in (0.3, 0.5, 0.7)] == [[b"key"], [b"key"], []]


@pytest.mark.parametrize("after", [-5.0, 0.0])
def test_what_is_past_is_due_at_the_next_tick(after: float) -> None:
    wheel = Wheel(NOW)
    wheel.set(b"key", NOW + after)
    assert wheel.due(NOW, 1000) == []
    assert wheel.due(NOW + 1.1 * TICK, 1000) == [b"key"]


def test_setting_anew_while_taking_what_is_due() -> None:
    wheel = Wheel(NOW)
    wheel.set(b"key", NOW + 0.1)
    assert wheel.due(NOW + 0.2, 1000) == [b"key"]
    wheel.set(b"key", NOW + 0.1)  # already past
    assert wheel.due(NOW + 0.2, 1000) == []
    assert wheel.due(NOW + 0.25 + TICK, 1000) == [b"key"]


def test_a_long_pause_hands_out_all_of_it_in_order() -> None:
    """The machine slept: few entries, many ticks, and the other way round."""
    wheel = Wheel(NOW)
    keys = [b"%d" % number for number in range(100)]
    for number, key in enumerate(keys):
        wheel.set(key, NOW + number)
    assert wheel.due(NOW + 10_000_000, 1000) == keys
    assert wheel.due(NOW + 20_000_000, 1000) == []


def test_nothing_is_kept_of_what_was_handed_out() -> None:
    wheel = Wheel(NOW)
    for number in range(1000):
        wheel.set(b"key", NOW + number * 0.01)
    assert len(wheel.due(NOW + 11, 1000)) == 1000
    assert wheel._ticks == {}


def test_no_more_than_asked_for_and_the_rest_later_in_order() -> None:
    wheel = Wheel(NOW)
    keys = [b"%d" % number for number in range(10)]
    for number, key in enumerate(keys):
        wheel.set(key, NOW + 0.1 * (number // 4))
    assert [wheel.due(NOW + 1, 3) for _ in range(5)] == [keys[:3], keys[3:6], keys[6:9], keys[9:], []]
    assert not wheel._over


def test_a_clock_that_goes_back_does_no_harm() -> None:
    wheel = Wheel(NOW)
    wheel.set(b"key", NOW + 0.1)
    assert wheel.due(NOW - 100, 1000) == []
    assert wheel.due(NOW + 0.2, 1000) == [b"key"]
