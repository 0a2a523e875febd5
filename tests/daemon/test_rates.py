from __future__ import annotations

from sipbalancer.daemon.rates import WINDOW_SNAPSHOTS, Rates
from sipbalancer.director.snapshot import ServerSnapshot, ServiceSnapshot, Snapshot
from sipbalancer.director.verdict import Verdict

VIRTUAL, SERVER = "192.0.2.10:5060", "192.0.2.1:5060"


def snapshot(now: float, **requests: int) -> Snapshot:
    server = ServerSnapshot(
        SERVER, SERVER, Verdict.UP, "", 0.0, 0.0, 1, False, False, 0, 0, 0, requests, {}, {}, (), 0.0
    )
    return Snapshot(now, 0.0, (ServiceSnapshot(VIRTUAL, "rr", (server,), {}, {}, {}, ()),), {})


def test_the_mean_over_all_methods() -> None:
    rates = Rates()
    rates.observe(snapshot(10.0, INVITE=5, BYE=5))
    rates.observe(snapshot(12.0, INVITE=10, BYE=6))
    assert rates.per_second(VIRTUAL, SERVER) == 3.0


def test_nothing_is_known_at_first() -> None:
    rates = Rates()
    assert rates.per_second(VIRTUAL, SERVER) == 0.0
    rates.observe(snapshot(10.0, INVITE=5))
    assert rates.per_second(VIRTUAL, SERVER) == 0.0
    rates.observe(snapshot(10.0, INVITE=7))
    assert rates.per_second(VIRTUAL, SERVER) == 0.0, "no time has passed"
    assert rates.per_second(VIRTUAL, "another") == 0.0


def test_what_is_old_is_forgotten() -> None:
    rates = Rates()
    for second in range(100):
        rates.observe(snapshot(float(second), INVITE=min(second, 10) * 100))
    assert rates.per_second(VIRTUAL, SERVER) == 0.0
    assert len(rates._seen) == WINDOW_SNAPSHOTS


def test_counters_that_began_anew_are_no_negative_rate() -> None:
    rates = Rates()
    rates.observe(snapshot(10.0, INVITE=500))
    rates.observe(snapshot(11.0, INVITE=1))
    assert rates.per_second(VIRTUAL, SERVER) == 0.0
