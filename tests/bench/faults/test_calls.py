"""Which calls were cut, answered twice, or left to themselves."""

from __future__ import annotations

from dataclasses import replace

from bench.faults.calls import Cuts, Legs, is_cut
from bench.faults.phones import CallRecord, Op, shown_name

HOLD = Op("INVITE", True, "1001", "c", "sip:10.72.0.12", 104.0, 104.1, 200, 104.0, "a2")
BYE = replace(HOLD, method="BYE", began=108.0, ended=108.1)
CALLER = CallRecord(True, "c", "c", "1001", "51002", "a2", 100.0, 100.3, 108.0, "hung up", 200, 200)
CALLEE = CallRecord(False, "d", "c", "1002", "1001", "a2", 100.1, 100.3, 108.1, "peer hung up", 200, None)
NONE: frozenset[str] = frozenset()


def test_a_call_is_cut_by_the_other_side_or_by_what_its_hold_is_told_never_by_its_own_bye() -> None:
    assert not is_cut(CALLER, [HOLD, BYE, replace(BYE, status=481)])
    assert not is_cut(CALLER, [replace(HOLD, ended=133.0, status=0)])  # hung up long before
    assert is_cut(replace(CALLER, ending="peer hung up"), [])
    assert is_cut(CALLER, [replace(HOLD, status=481)])
    assert not is_cut(replace(CALLER, answered=0.0), [replace(HOLD, status=481)])


def test_a_hang_up_of_either_phone_cuts_neither_end() -> None:
    assert Cuts.of([CALLER, CALLEE], [HOLD, BYE], NONE) == Cuts(0, 0)
    theirs = replace(CALLEE, ending="hung up", ended=107.0)
    assert Cuts.of([replace(CALLER, ending="peer hung up", ended=107.1), theirs], [], NONE) == Cuts(0, 0)


def test_both_ends_are_cut_when_neither_hung_up() -> None:
    ends = [replace(CALLER, ending="peer hung up"), CALLEE]
    assert Cuts.of(ends, [], NONE) == Cuts(2, 0)
    assert Cuts.of(ends, [], frozenset({"a2"})) == Cuts(0, 2)


def test_who_hangs_up_because_it_was_told_481_did_not_want_to() -> None:
    told = replace(HOLD, user="1002", call_id="d", status=481)
    callee = replace(CALLEE, ending="hung up", ended=104.1)
    assert Cuts.of([replace(CALLER, ending="peer hung up", ended=104.2), callee], [told], NONE) == Cuts(2, 0)


def test_a_call_answered_twice_and_whether_it_was_left_so() -> None:
    again = replace(CALLEE, call_id="e", server="a3", answered=101.0)
    repaired = replace(CALLEE, ended=101.5)
    assert Legs.of([CALLER, CALLEE], NONE) == Legs(1, 0, 0, 0)
    assert Legs.of([CALLER, repaired, again], NONE) == Legs(2, 1, 0, 0)
    assert Legs.of([CALLER, CALLEE, again], NONE) == Legs(2, 1, 1, 0)
    assert Legs.of([CALLER, CALLEE, replace(again, answered=0.0)], NONE) == Legs(1, 0, 0, 0)


def test_a_called_phone_that_nobody_told_is_forsaken_unless_its_server_was_hit() -> None:
    for forsaken in (replace(CALLEE, ended=0.0, ending=""), replace(CALLEE, ended=142.0, ending="hung up")):
        assert Legs.of([CALLER, forsaken], NONE).forsaken == 1
        assert Legs.of([CALLER, forsaken], frozenset({"a2"})).forsaken == 0
    assert Legs.of([replace(CALLER, ended=0.0), replace(CALLEE, ended=0.0)], NONE).forsaken == 0


def test_the_callers_call_id_is_read_from_the_name_shown() -> None:
    assert shown_name('"2bfd4897" <sip:1001@10.72.0.12>;tag=x') == "2bfd4897"
    assert shown_name("2bfd4897 <sip:1001@10.72.0.12>") == "2bfd4897"
