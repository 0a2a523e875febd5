from __future__ import annotations

import pytest

from sipbalancer.director.evidence import SHORTEST_WAIT, Evidence

NOW = 1000.0


def test_a_second_look_comes_after_three_round_trips_but_not_before_100_ms() -> None:
    evidence = Evidence()
    assert evidence.wait == SHORTEST_WAIT == 0.1
    evidence.measured(0.002)
    assert evidence.wait == 0.1
    slow = Evidence()
    slow.measured(0.8)
    assert slow.wait == pytest.approx(2.4)


def test_round_trips_are_smoothed() -> None:
    evidence = Evidence()
    evidence.measured(0.1)
    evidence.measured(0.2)
    assert evidence.rtt == pytest.approx(0.1125)


def test_what_a_server_answers_when_it_wakes_is_no_round_trip() -> None:
    """A hang of 4 s must not make the next hang 4 s harder to see."""
    evidence = Evidence()
    evidence.measured(0.002)
    evidence.measured(4.0)
    assert evidence.wait == 0.1


def test_a_server_that_turned_slow_is_known_as_slow_soon() -> None:
    evidence = Evidence()
    evidence.measured(0.002)
    for _ in range(15):
        evidence.measured(0.8)
    assert evidence.wait > 0.8
    for _ in range(60):
        evidence.measured(0.8)
    assert evidence.rtt == pytest.approx(0.8, rel=0.01)
    for _ in range(60):
        evidence.measured(0.002)
    assert evidence.wait == 0.1


def test_suspected_once_until_it_is_settled() -> None:
    evidence = Evidence()
    assert evidence.missed(NOW) is True
    assert [evidence.missed(NOW + 1), evidence.refusal(NOW + 2)] == [False, False]
    assert (evidence.suspected, evidence.unanswered, evidence.refused) == (NOW, 2, True)
    evidence.settled()
    assert (evidence.suspected, evidence.unanswered, evidence.refused) == (0.0, 0, False)
    assert evidence.refusal(NOW + 3) is True


def test_a_request_is_counted_once_however_often_it_is_repeated() -> None:
    evidence = Evidence()
    told = [evidence.missed(NOW, first) for first in (True, False, True, False)]
    assert (told, evidence.unanswered) == ([True, False, False, False], 2)


def test_answers_inside_dialogs_are_counted_from_the_suspicion_on() -> None:
    evidence = Evidence()
    evidence.answered(True, NOW)
    evidence.missed(NOW + 1)
    assert evidence.dialog_answers == 0
    evidence.answered(True, NOW + 2)
    assert (evidence.dialog_answers, evidence.heard, evidence.heard_new) == (1, NOW + 2, 0.0)
    evidence.answered(False, NOW + 3)
    assert (evidence.dialog_answers, evidence.heard, evidence.heard_new) == (1, NOW + 3, NOW + 3)


def test_a_silent_probe_makes_suspect_and_what_was_answered_before_it_is_past() -> None:
    evidence = Evidence()
    for _ in range(9):
        evidence.answered(True, NOW - 1)
    evidence.probe_silent(NOW)
    evidence.probe_silent(NOW + 0.05)
    assert (evidence.suspected, evidence.silent, evidence.dialog_answers) == (NOW, NOW, 0)
    assert evidence.missed(NOW + 0.2) is False, "its probes are under way"


def test_a_doubt_keeps_the_count() -> None:
    evidence = Evidence()
    evidence.answered(True, NOW)
    evidence.doubted(NOW + 1)
    assert evidence.missed(NOW + 2) is False
    assert (evidence.suspected, evidence.dialog_answers) == (NOW + 1, 1)


@pytest.mark.parametrize(
    ("heard", "silent", "at", "expected"),
    [
        (NOW - 5, 0.0, NOW + 9, False),  # no probe was silent
        (NOW - 5, NOW + 0.2, NOW + 0.25, False),  # its probe still has time
        (NOW - 5, NOW + 0.2, NOW + 0.31, True),
        (NOW - 5, NOW - 2.0, NOW + 0.05, False),  # an older probe was silent, the request itself has time
        (NOW - 5, NOW - 2.0, NOW + 0.11, True),
        (NOW + 0.1, NOW + 0.2, NOW + 9, False),  # something was heard since
    ],
)
def test_silent_since(heard: float, silent: float, at: float, expected: bool) -> None:
    """Of a request sent at NOW (design 5.3 c)."""
    evidence = Evidence()
    evidence.heard = heard
    if silent:
        evidence.probe_silent(silent)
        evidence.probe_silent(silent + 0.05)
    assert evidence.silent_since(NOW, at) is expected
