"""A wrong clock, before or now, costs no pin its life and gives none a life without end."""

from __future__ import annotations

import pytest

from sipbalancer.director.epoch import Epoch, go_on, mark, shift
from sipbalancer.director.pins import PinKind, PinTable

KEY = b"12345678"
TODAY = 1_780_000_000.0
HOUR = 3600.0


def _memory() -> memoryview:
    return memoryview(bytearray(PinTable.size_for(100)))


def _written(now: float, life: float = HOUR) -> memoryview:
    """A table with one pin of an hour, made at this director's time."""
    memory = _memory()
    pins = PinTable(memory, KEY, now)
    for key in (5, 1 << 63 | 77):
        assert pins.put(key, pins.server_id("a"), PinKind.BINDING, now + life)
    return memory


def _life(memory: memoryview, epoch: Epoch) -> float:
    """What is left of it at a start."""
    if epoch.shift:
        shift(memory, epoch.shift)
    pins = PinTable(memory, KEY, epoch.now)
    lives = {round(pins.life(key, epoch.now)) for key in (5, 1 << 63 | 77)}
    assert len(lives) == 1
    return lives.pop()


def test_a_table_without_a_mark_goes_by_the_clock() -> None:
    assert go_on(_memory(), TODAY) == Epoch(TODAY)


@pytest.mark.parametrize("away", [0.0, 30.0, 1800.0, -30.0])
def test_a_usual_restart_goes_by_the_clock(away: float) -> None:
    memory = _written(TODAY)
    mark(memory, TODAY, TODAY)
    epoch = go_on(memory, TODAY + away)
    assert epoch == Epoch(TODAY + away)
    assert _life(memory, epoch) == HOUR - away


def test_a_clock_that_fell_back_to_1970_costs_no_life_and_gives_none() -> None:
    memory = _written(TODAY)
    mark(memory, TODAY + 100, TODAY + 100)
    epoch = go_on(memory, 20.0)
    assert epoch.now == TODAY + 100 and "days behind" in epoch.told
    assert _life(memory, epoch) == HOUR - 100


def test_and_the_start_after_that_with_the_right_clock_finds_them() -> None:
    memory = _written(TODAY)
    mark(memory, TODAY + 100, 20.0)
    epoch = go_on(memory, TODAY + 500)
    assert epoch.now == TODAY + 500 and "not set" in epoch.told
    assert _life(memory, epoch) == HOUR - 100


def test_pins_made_in_1970_live_at_a_start_with_the_right_clock() -> None:
    memory = _written(50.0)
    mark(memory, 650.0, 650.0)
    epoch = go_on(memory, TODAY)
    assert epoch.now == TODAY and _life(memory, epoch) == HOUR - 600
    assert PinTable(memory, KEY, TODAY).born == pytest.approx(TODAY - 600)


def test_a_clock_that_was_set_while_it_ran_tells_how_long_nobody_was_there() -> None:
    memory = _written(50.0)
    mark(memory, 650.0, TODAY)
    epoch = go_on(memory, TODAY + 1000)
    assert epoch.now == TODAY + 1000 and "was set by" in epoch.told
    assert _life(memory, epoch) == HOUR - 1600


def test_what_was_over_stays_over() -> None:
    memory = _written(50.0, life=600)
    mark(memory, 500.0, TODAY)
    assert _life(memory, go_on(memory, TODAY + 1000)) == 0


@pytest.mark.parametrize("nonsense", [-1.0, float("nan"), float("inf"), 1e12])
def test_nonsense_in_the_header_is_no_mark(nonsense: float) -> None:
    memory = _written(TODAY)
    mark(memory, nonsense, TODAY)
    assert go_on(memory, TODAY) == Epoch(TODAY)
    mark(memory, TODAY, nonsense)
    assert go_on(memory, TODAY) == Epoch(TODAY)


def test_a_shift_out_of_bounds_is_cut() -> None:
    memory = _written(TODAY)
    shift(memory, -1e10)
    assert PinTable(memory, KEY, TODAY).total(PinKind.BINDING) == 0
    memory = _written(TODAY)
    shift(memory, 1e10)
    assert PinTable(memory, KEY, TODAY).total(PinKind.BINDING) == 2
