from __future__ import annotations

from typing import Any

import pytest

from sipbalancer.daemon.fleet_reports import Reports


def report(received: int, cpu: float = 0.0, **more: Any) -> dict[str, Any]:
    return {
        "numbers": {"internal_errors": 0, "services": {"a": {"chosen": {"scheduler": received}}}},
        "edge": {"received": received, "send_errors": {"EPERM": 1}},
        "batched": True,
        "shed": {"a": {"shed": received}},
        "shed_notes": {"a": "OVERLOAD"},
        "provisional": 2,
        "error": "",
        "lag": 0.01,
        "pauses": (1, 2, 0.5, 0.25),
        "cpu": cpu,
        **more,
    }


def test_the_sum_of_what_all_have_counted() -> None:
    reports = Reports(2)
    assert (reports.numbers(), reports.edge(), reports.lag(), reports.errors()) == ({}, {}, 0.0, [])
    reports.take(0, report(3, lag=0.5), 1.0)
    reports.take(1, report(4, error="a traceback", batched=False), 1.0)
    assert reports.numbers() == {"internal_errors": 0, "services": {"a": {"chosen": {"scheduler": 7}}}}
    assert reports.edge() == {"received": 7, "send_errors": {"EPERM": 2}}
    assert reports.shed("a") == {"shed": 7, "queue full": 0} and reports.shed("b") == {"shed": 0, "queue full": 0}
    assert reports.shed_notes("a") == ["worker 0: OVERLOAD", "worker 1: OVERLOAD"]
    assert (reports.provisional(), reports.lag(), reports.plain(), reports.errors()) == (4, 0.5, True, ["a traceback"])


def test_what_a_dead_worker_counted_stays_and_its_gauges_go() -> None:
    reports = Reports(2)
    for received in (3, 5):
        reports.take(0, report(received), received)
        reports.lost(0)
    reports.take(0, report(1), 9.0)
    assert reports.edge()["received"] == 9
    assert reports.messages(0) == 9 and reports.messages(1) == 0
    assert reports.provisional() == 2
    reports.lost(0)
    reports.lost(1)
    assert reports.shed("a") == {"shed": 9, "queue full": 0} and reports.shed_notes("a") == []
    assert reports.provisional() == 0 and reports.lag_of(0) == 0.0
    assert reports.edge()["received"] == 9


@pytest.mark.parametrize("asked", [[], [1.1, 1.2, 2.3]])
def test_rates_are_over_a_second_or_two_however_often_reports_come(asked: list[float]) -> None:
    reports = Reports(1)
    assert reports.rates(0) == (0.0, 0.0)
    for at in sorted([0.0, 1.0, 2.0, 3.0, *asked]):
        reports.take(0, report(int(at * 1000), at / 4), at)
    messages, cpu = reports.rates(0)
    assert messages == pytest.approx(1000.0) and cpu == pytest.approx(0.25)
