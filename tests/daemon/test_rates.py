from __future__ import annotations

from sipbalancer.daemon.rates import WINDOW_LOOKS, Rates

VIRTUAL, SERVER = "192.0.2.10:5060", "192.0.2.1:5060"


def look(now: float, requests: int) -> tuple[float, dict[tuple[str, str], int]]:
    return now, {(VIRTUAL, SERVER): requests}


def test_the_mean_of_what_was_seen() -> None:
    rates = Rates()
    rates.observe(*look(10.0, 10))
    rates.observe(*look(12.0, 16))
    assert rates.per_second(VIRTUAL, SERVER) == 3.0


def test_nothing_is_known_at_first() -> None:
    rates = Rates()
    assert rates.per_second(VIRTUAL, SERVER) == 0.0
    rates.observe(*look(10.0, 5))
    assert rates.per_second(VIRTUAL, SERVER) == 0.0
    rates.observe(*look(10.0, 7))
    assert rates.per_second(VIRTUAL, SERVER) == 0.0, "no time has passed"
    assert rates.per_second(VIRTUAL, "another") == 0.0


def test_what_is_old_is_forgotten() -> None:
    rates = Rates()
    for second in range(100):
        rates.observe(*look(float(second), min(second, 10) * 100))
    assert rates.per_second(VIRTUAL, SERVER) == 0.0
    assert len(rates._seen) == WINDOW_LOOKS


def test_counters_that_began_anew_are_no_negative_rate() -> None:
    rates = Rates()
    rates.observe(*look(10.0, 500))
    rates.observe(*look(11.0, 1))
    assert rates.per_second(VIRTUAL, SERVER) == 0.0
