"""What counts as lost, cut, noticed and falsely believed."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from bench.faults.balancers import Belief
from bench.faults.catalogue import FAULTS
from bench.faults.measure import Found, Moments, Outcome, is_lost, is_refused, outcome, waited
from bench.faults.phones import CallRecord, Op

NAMES = {"10.72.0.11": "a1", "10.72.0.12": "a2", "10.72.0.13": "a3"}
SERVERS = frozenset(NAMES.values())
MOMENTS = Moments(fault=100.0, repair=115.0, repaired=116.0)
FINE = Op("REGISTER", False, "1001", "r", "sip:10.71.0.1", 101.0, 101.1, 200, 101.0, "a2")
INVITE = Op("INVITE", False, "1001", "i", "sip:51002@10.71.0.1", 101.0, 101.3, 200, 101.0, "a2", 101.1)
CALL = CallRecord(True, "c", "c", "1001", "600", "a2", 100.0, 100.1, 108.0, "hung up", 200, 200)


def measured(
    fault: str = "kill",
    ops: tuple[Op, ...] = (FINE,),
    calls: tuple[CallRecord, ...] = (),
    beliefs: tuple[Belief, ...] = (),
    *,
    moments: Moments = MOMENTS,
    full_tries: int = 0,
) -> Outcome:
    book: dict[str, Any] = {
        "ops": [asdict(op) for op in ops],
        "calls": [asdict(call) for call in calls],
        "stopped": 130.0,
        "doubles": 0,
    }
    return outcome(FAULTS[fault], moments, Found(book, beliefs, NAMES, {"a1": 3, "a2": 1}, full_tries))


def test_lost_is_no_answer_a_late_one_or_a_refusal_no_server_said() -> None:
    assert not is_lost(FINE, SERVERS)
    assert is_lost(replace(FINE, ended=0.0, status=0), SERVERS)
    assert is_lost(replace(FINE, ended=134.0), SERVERS)
    assert not is_lost(replace(FINE, ended=134.0, sent=120.0), SERVERS)  # challenged late, then answered in time
    assert is_lost(replace(FINE, status=503, by=""), SERVERS)
    assert is_lost(replace(FINE, status=408, by="kamailio"), SERVERS)
    refused = replace(FINE, status=503, by="a1")
    assert (is_lost(refused, SERVERS), is_refused(refused, SERVERS)) == (False, True)


def test_cut_dialogs_and_channels_are_told_apart_by_the_server_that_was_hit() -> None:
    cut = replace(CALL, ending="peer hung up")
    found = measured(calls=(cut, replace(cut, call_id="d", server="a1")))
    assert (found.cut_healthy, found.cut_hit, found.left_up) == (1, 1, 1)


def test_notice_is_the_first_true_verdict_and_any_other_is_false() -> None:
    found = measured(
        beliefs=(
            Belief(99.0, "10.72.0.12", "down", ""),
            Belief(100.5, "10.72.0.13", "down", "wrong"),
            Belief(101.2, "10.72.0.11", "down", ""),
            Belief(116.5, "10.72.0.11", "up", ""),
        )
    )
    assert found.notice is not None and round(found.notice, 3) == 1.2
    assert (found.recover, found.false_verdicts) == (0.5, 1)


def test_loss_makes_no_verdict_true() -> None:
    found = measured("all-30", beliefs=(Belief(101.0, "10.72.0.11", "down", ""),))
    assert (found.notice, found.false_verdicts) == (None, 1)


def test_each_server_that_was_struck_must_be_noticed_and_the_slowest_counts() -> None:
    moments = replace(MOMENTS, strikes=((101.0, "10.72.0.11"), (110.0, "10.72.0.12")))
    first, second = Belief(104.0, "10.72.0.11", "down", ""), Belief(118.0, "10.72.0.12", "down", "")
    assert measured("idle-kill", beliefs=(first, second), moments=moments).notice == 8.0
    assert measured("idle-kill", beliefs=(first,), moments=moments).notice is None


def test_a_call_that_rang_when_its_server_was_struck_is_told_apart() -> None:
    rang = replace(INVITE, status=503, by="")
    assert (measured("kill", (rang,)).rung_lost, measured("kill", (rang,)).invite.count) == (1, 0)
    assert (measured("all-30", (rang,)).rung_lost, measured("all-30", (rang,)).invite.lost) == (0, 1)


def test_the_ringing_of_a_called_phone_is_no_wait() -> None:
    assert round(waited(INVITE, 130.0), 3) == 0.1
    assert round(waited(replace(INVITE, rang=0.0), 130.0), 3) == 0.3
    assert waited(replace(INVITE, ended=0.0, status=0), 130.0) == 61.0


def test_what_began_in_the_fifteen_seconds_after_is_counted_apart() -> None:
    late = replace(FINE, began=115.5, ended=115.8)
    found = measured(ops=(FINE, late))
    assert (found.register.count, found.next_register.count) == (2, 1)


def test_only_what_was_under_way_during_the_fault_counts() -> None:
    before = replace(FINE, began=90.0, ended=99.9)
    across = replace(FINE, began=99.0, ended=101.5)
    after = replace(FINE, began=120.0, ended=125.0)
    waits = measured(ops=(before, across, after, FINE)).register
    assert (waits.count, waits.over_half, waits.over_two, waits.worst) == (2, 1, 1, 2.5)


def test_calls_to_the_full_extension_may_be_refused() -> None:
    call = Op("INVITE", False, "1001", "i", "sip:634@10.71.0.1", 101.0, 101.1, 503, 101.0, "a1")
    found = measured("full", (call, replace(call, by="")), full_tries=1)
    assert (found.invite.count, found.full_calls, found.full_tries, found.full_otherwise) == (0, 2, 1, 1)
    assert measured("kill", (call,)).invite.refused == 1
