from __future__ import annotations

import time

import pytest

from sipbalancer.daemon.clock import STEADY, anchored_clock


def test_it_starts_at_the_wall_and_moves_with_the_monotonic_clock() -> None:
    steady = iter([100.0, 100.0, 107.5])
    now = anchored_clock(wall=lambda: 1_700_000_000.0, steady=lambda: next(steady))
    assert now() == 1_700_000_000.0
    assert now() == 1_700_000_007.5


def test_a_step_of_the_wall_clock_does_not_show() -> None:
    wall = [1_700_000_000.0]
    now = anchored_clock(wall=lambda: wall[0], steady=lambda: 5.0)
    wall[0] = 0.0
    assert now() == 1_700_000_000.0


def test_it_goes_on_while_the_host_is_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def asks(which: int) -> float:
        asked.append(which)
        return 7.0

    monkeypatch.setattr(time, "clock_gettime", asks)
    assert STEADY() == 7.0 and asked == [time.CLOCK_BOOTTIME]
