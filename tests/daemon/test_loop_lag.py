from __future__ import annotations

import gc

from sipbalancer.daemon.loop_lag import WINDOW, Collections, Longest, Pauses, together


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_longest_is_kept_for_one_window_at_least_and_two_at_most() -> None:
    clock = Clock()
    longest = Longest(clock)
    clock.now += 0.9 * WINDOW
    longest.add(0.3)
    longest.add(0.1)
    clock.now += 0.9 * WINDOW
    assert longest.value == 0.3
    longest.add(0.2)
    clock.now += 0.9 * WINDOW
    assert longest.value == 0.2
    clock.now += 1.2 * WINDOW
    assert longest.value == 0.0


def test_after_a_long_silence_nothing_old_is_shown() -> None:
    clock = Clock()
    longest = Longest(clock)
    longest.add(0.3)
    clock.now += 3 * WINDOW
    assert longest.value == 0.0


def test_collections_are_timed() -> None:
    clock = Clock()
    collections = Collections(clock)
    collections._collected("start", {})
    clock.now += 0.25
    collections._collected("stop", {})
    collections._collected("start", {})
    clock.now += 0.5
    collections._collected("stop", {})
    assert (collections.count, collections.seconds, collections.longest.value) == (2, 0.75, 0.5)


def test_the_collector_tells_until_it_is_stopped() -> None:
    collections = Collections()
    collections.stop()
    collections.start()
    gc.collect()
    collections.stop()
    seen = collections.count
    gc.collect()
    assert seen >= 1 and collections.count == seen and collections.seconds > 0


def test_of_several_processes_counts_are_sums_and_the_longest_is_the_longest() -> None:
    assert together([Pauses(1, 2, 0.5, 0.25), Pauses(3, 4, 0.5, 0.125)]) == Pauses(4, 6, 1.0, 0.25)
    assert together([Pauses()]) == Pauses()
