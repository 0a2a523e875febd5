"""The issue's numbers, one by one."""

from __future__ import annotations

from bench.faults import avalanche_table
from bench.faults.avalanche import arguments, most, window_of
from bench.faults.wanted import chance, misses, verdict
from tests.bench.faults.rows import ROW


def test_a_death_noticed_in_time_with_nothing_lost_is_as_wanted() -> None:
    assert misses(ROW) == []
    assert misses(ROW | {"cut_hit": "99", "rung_lost": "1"}) == []


def test_each_miss_of_a_death() -> None:
    for change, word in (
        ({"notice": ""}, "not noticed"),
        ({"notice": "1.5"}, "noticed in 1.50 s"),
        ({"invite_lost": "2"}, "2 lost"),
        ({"next_register_over_half": "75"}, "5.0 % of REGISTERs over 0.5 s"),
        ({"invite_worst": "1.51"}, "worst of calls 1.51 s"),
        ({"false_verdicts": "1"}, "1 false verdicts"),
        ({"cut_healthy": "3"}, "3 healthy dialogs cut"),
        ({"twice_left": "1"}, "1 calls answered twice and left so"),
    ):
        assert misses(ROW | change) == [word]


def test_without_load_the_probes_interval_is_added() -> None:
    assert misses(ROW | {"fault": "idle-hang", "notice": "11.4", "register_worst": "9.0"}) == []
    assert misses(ROW | {"fault": "idle-hang", "notice": "11.5"}) == ["noticed in 11.50 s"]


def test_of_loss_to_all_servers_one_in_a_thousand_may_be_lost() -> None:
    slow = {"fault": "all-30", "notice": "", "register_worst": "20.0", "register_count": "2000"}
    assert misses(ROW | slow | {"register_lost": "2"}) == []
    assert misses(ROW | slow | {"register_lost": "3"}) == ["3 of 2000 lost"]


def test_the_result_of_one_call_is_told_and_tried_once() -> None:
    full = ROW | {"fault": "full", "verdicts": "", "notice": "", "full_calls": "40", "full_tries": "40"}
    assert misses(full) == []
    assert misses(full | {"full_tries": "41"}) == ["40 calls tried 41 times"]
    assert misses(full | {"verdicts": "a1:draining@1.00"}) == ["a verdict changed"]
    assert misses(full | {"full_otherwise": "2"}) == ["2 not told the server's 503"]


def test_on_the_phones_side_a_difference_that_chance_makes_is_none() -> None:
    row, straight = ROW | {"fault": "phones-30", "register_lost": "3"}, ROW | {"fault": "phones-30"}
    assert misses(row, straight) == []
    assert misses(row | {"register_lost": "9"}, straight) == ["9 of 1500 lost, straight 0 of 1500"]
    assert misses(row) == ["no row of the straight way to compare"]
    assert round(chance(1, 10, 0, 10), 3) == 0.5


def test_the_verdict_in_words() -> None:
    assert verdict(ROW) == "yes"
    assert verdict(ROW | {"notice": "", "invite_lost": "1"}) == "no: not noticed, 1 lost"
    assert verdict(ROW | {"balancer": "direct"}) == "-"


def test_the_most_in_any_second_wherever_it_begins() -> None:
    assert most([0.0, 0.9, 1.0, 1.5, 1.8, 1.89, 3.0], 1.0) == 5
    assert most([], 1.0) == 0


def test_the_window_computed() -> None:
    assert window_of(arguments([]), 2500) == 0.8 * 75 + 26
    at_once = arguments(["--at-once", "--rate", "150"])
    assert round(window_of(at_once, 2500), 1) == round(5000 / (450 - 20000 / 60) + 26, 1)


def test_the_avalanche_as_wanted() -> None:
    row = {"most_in_a_second": "130", "rate": "130.0", "all_back_s": "80", "window_s": "86.0", "spread_pct": "0.4"}
    assert avalanche_table.misses(row) == []
    worse = {"most_in_a_second": "143", "all_back_s": "", "spread_pct": "5.1"}
    assert avalanche_table.misses(row | worse) == [
        "143 in a second, registerrate 130.0",
        "not all back",
        "spread 5.1 %",
    ]
    assert avalanche_table.misses(row | {"all_back_s": "90"}) == ["back after 90 s, window 86.0 s"]
