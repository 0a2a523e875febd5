"""Virtual time: waiting moves the clock, and a probe takes as long as the test says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from sipbalancer.daemon.pace import FIRST_WITHIN, JITTER, Pace


class VirtualTime:
    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> float:
        return self.now

    async def wait(self, delay: float) -> None:
        assert delay >= 0
        self.now += delay


def probes(interval: float, count: int, fraction: Callable[[], float], took: float = 0.0) -> list[float]:
    """The moments of the first `count` probes, each lasting `took` seconds, from a start at 0."""
    time = VirtualTime()
    pace = Pace(interval, fraction, time.clock, time.wait)

    async def run() -> list[float]:
        moments = []
        await pace.first()
        for _ in range(count):
            moments.append(time.now - 1000.0)
            time.now += took
            await pace.next()
        return moments

    return asyncio.run(run())


def half() -> float:
    """The middle: no jitter."""
    return 0.5


@pytest.mark.parametrize("took", [0.0, 0.3, 1.9])
def test_the_period_is_true_whatever_a_probe_takes(took: float) -> None:
    assert probes(2.0, 5, half, took) == pytest.approx([0.5, 3.0, 5.0, 7.0, 9.0])


def test_fractions_of_a_second() -> None:
    assert probes(0.25, 4, half) == pytest.approx([0.125, 0.375, 0.625, 0.875])


def test_slow_probes_make_the_next_fall_out_and_never_pile_up() -> None:
    moments = probes(2.0, 4, half, took=5.0)
    assert moments == pytest.approx([0.5, 7.0, 13.0, 19.0])


def test_a_pause_of_the_process_is_not_made_up_for() -> None:
    moments = probes(1.0, 3, half, took=3600.0)
    assert all(later - earlier >= 3600 for earlier, later in pairwise(moments))


def test_the_first_probe_comes_soon_and_the_others_are_spread_over_the_interval() -> None:
    runs = [probes(60.0, 2, random.Random(seed).random) for seed in range(400)]
    assert all(0 <= first < FIRST_WITHIN for first, _ in runs)
    phases = sorted(second % 60 for _, second in runs)
    quarters = [sum(1 for phase in phases if quarter <= phase / 15 < quarter + 1) for quarter in range(4)]
    assert min(quarters) > 60  # of 100 expected


def test_jitter_is_small_and_does_not_add_up() -> None:
    moments = probes(10.0, 1000, random.Random(3).random)
    begin = moments[1] - 10.0
    places = [(moment - begin) / 10.0 - number for number, moment in enumerate(moments[1:], 1)]
    assert max(places) - min(places) <= JITTER
    assert len({round(place, 4) for place in places}) > 300


def test_no_interval_is_zero() -> None:
    moments = probes(0.0, 3, half)
    assert moments == sorted(set(moments))
