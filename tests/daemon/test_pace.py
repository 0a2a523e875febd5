"""Moments in, moments out; a probe takes as long as the test says."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from sipbalancer.daemon.pace import FIRST_WITHIN, JITTER, LARGEST_JITTER, Pace

BEGIN = 1000.0


def probes(interval: float, count: int, fraction: Callable[[], float], took: float = 0.0) -> list[float]:
    """The moments of the first `count` probes, each lasting `took` seconds, from a start at 0."""
    pace = Pace(interval, fraction, BEGIN)
    now = pace.first(BEGIN)
    moments = []
    for _ in range(count):
        moments.append(now - BEGIN)
        now = max(now + took, pace.next(now + took))
    return moments


def half() -> float:
    """The middle: no jitter."""
    return 0.5


@pytest.mark.parametrize(("took", "second"), [(0.0, [1.0]), (0.3, [1.0]), (1.9, [])])
def test_the_period_is_true_whatever_a_probe_takes(took: float, second: list[float]) -> None:
    """It begins at 1.0; the first probe lies outside it."""
    assert probes(2.0, 5, half, took) == pytest.approx([0.5, *second, 3.0, 5.0, 7.0, 9.0][:5])


def test_fractions_of_a_second() -> None:
    assert probes(0.25, 4, half) == pytest.approx([0.125, 0.375, 0.625, 0.875])


def test_slow_probes_make_the_next_fall_out_and_never_pile_up() -> None:
    assert probes(2.0, 4, half, took=5.0) == pytest.approx([0.5, 7.0, 13.0, 19.0])


def test_a_pause_of_the_process_is_not_made_up_for() -> None:
    moments = probes(1.0, 3, half, took=3600.0)
    assert all(later - earlier >= 3600 for earlier, later in pairwise(moments))


def test_the_first_probe_comes_soon_and_the_others_are_spread_over_the_interval() -> None:
    runs = [probes(60.0, 2, random.Random(seed).random) for seed in range(400)]
    assert all(0 <= first < FIRST_WITHIN for first, _ in runs)
    phases = sorted(second % 60 for _, second in runs)
    quarters = [sum(1 for phase in phases if quarter <= phase / 15 < quarter + 1) for quarter in range(4)]
    assert min(quarters) > 60  # of 100 expected


@pytest.mark.parametrize("interval", [0.5, 1.0, 10.0, 60.0])
def test_no_server_waits_longer_than_its_interval_and_a_fifth_of_a_second(interval: float) -> None:
    """What dies right after its probe is seen at the next one: from the first on, also where the period begins."""
    for seed in range(300):
        moments = probes(interval, 6, random.Random(seed).random)
        longest = max(later - earlier for earlier, later in pairwise(moments))
        assert longest <= interval + min(JITTER * interval, LARGEST_JITTER) + 1e-9


def test_jitter_is_small_and_does_not_add_up() -> None:
    moments = probes(2.0, 1000, random.Random(3).random)[1:]
    begin = moments[0]
    places = [(moment - begin) / 2.0 - number for number, moment in enumerate(moments)]
    assert max(places) - min(places) <= JITTER
    assert len({round(place, 4) for place in places}) > 300


def test_no_interval_is_zero() -> None:
    moments = probes(0.0, 3, half)
    assert moments == sorted(set(moments))
