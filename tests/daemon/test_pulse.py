from __future__ import annotations

import asyncio

from sipbalancer.daemon.loop_lag import WINDOW
from sipbalancer.daemon.pulse import BEAT, QUIETLY, Pulse


class Steps:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Ticker:
    """A pulse beaten by hand: `late` seconds after each expected beat."""

    def __init__(self, watchdog_period: float = 0.0) -> None:
        self.clock = Steps()
        self.fed: list[float] = []
        self.pulse = Pulse(lambda: self.fed.append(self.clock.now), watchdog_period, self.clock)
        self.loop = asyncio.new_event_loop()
        self.pulse.start(self.loop)

    def beat(self, late: float = 0.0) -> None:
        self.clock.now += BEAT + late
        self.pulse.beat()
        self.pulse.stop()
        self.pulse.start(self.loop)

    def close(self) -> None:
        self.pulse.stop()
        self.loop.close()


def test_the_worst_delay_is_shown_and_forgotten() -> None:
    ticker = Ticker()
    ticker.beat(0.0)
    assert ticker.pulse.lag < 1e-6
    ticker.beat(0.25)
    ticker.beat(0.01)
    assert abs(ticker.pulse.lag - 0.25) < 1e-6
    for _ in range(int(2 * WINDOW / BEAT) + 2):
        ticker.beat()
    assert ticker.pulse.lag < 1e-6
    ticker.close()


def test_long_gaps_are_counted() -> None:
    ticker = Ticker()
    for late in (0.0, 0.019, 0.021, 3.0):
        ticker.beat(late)
    assert ticker.pulse.pauses.gaps == 2
    ticker.close()


def test_the_watchdog_is_fed_at_least_every_half_period() -> None:
    ticker = Ticker(watchdog_period=4.0)
    for _ in range(1000):
        ticker.beat()
    gaps = [later - earlier for earlier, later in zip(ticker.fed, ticker.fed[1:], strict=False)]
    assert gaps and max(gaps) <= 2.0 + 1e-6
    assert min(gaps) > 1.0, "and not at every beat"
    ticker.close()


def test_nobody_is_fed_when_nobody_asks() -> None:
    ticker = Ticker()
    for _ in range(50):
        ticker.beat()
    assert ticker.fed == []
    ticker.close()


def test_where_nobody_waits_a_quiet_beat_is_on_time() -> None:
    ticker = Ticker()
    ticker.pulse.stop()
    ticker.pulse.start(ticker.loop, QUIETLY)
    ticker.clock.now += QUIETLY
    ticker.pulse.beat()
    assert ticker.pulse.lag < 1e-6
    ticker.close()


def test_it_beats_by_itself() -> None:
    async def run() -> None:
        beaten = asyncio.Event()
        pulse = Pulse(beaten.set, 0.2)
        pulse.start(asyncio.get_running_loop())
        await asyncio.wait_for(beaten.wait(), 20)
        pulse.stop()

    asyncio.run(run())
