"""Nothing is called safe that is not known to be."""

from __future__ import annotations

import pytest

from sipbalancer.director.drain import LONGEST_REGISTRATION, drain_of, watch_drains
from sipbalancer.director.epoch import BEGINNING, vouch
from sipbalancer.director.snapshot import Drain, ServerSnapshot
from sipbalancer.director.verdict import ProbeResult, Verdict
from tests.director.stage import START, A, B, Stage, answer, real, request, service_of

TIMEOUT = 43200
KNOWN = START + LONGEST_REGISTRATION + TIMEOUT
SHORT = {"calltimeout": 1, "maxexpires": 60, "persistent": 10}


def shown(stage: Stage, server: str) -> ServerSnapshot:
    rows = stage.table.snapshot(stage.now).services[0].servers
    return next(row for row in rows if row.key == server)


def drained(stage: Stage, server: str = A) -> Drain:
    stage.table.drain(server, stage.now)
    return drain_of(stage.table.state, stage.service, stage.server(server), stage.now)


def test_a_server_that_takes_work_is_not_being_emptied() -> None:
    stage = Stage()
    assert shown(stage, A).drain == Drain(False, None, "", 0.0)
    assert not shown(stage, A).safe


@pytest.mark.parametrize("result", [ProbeResult.UNAVAILABLE, ProbeResult.REFUSED])
def test_a_server_that_leaves_by_itself_is_and_a_dead_one_is_not(result: ProbeResult) -> None:
    stage = Stage()
    stage.judge(A, result=result)
    assert shown(stage, A).drain.leaving is (result is ProbeResult.UNAVAILABLE)


def test_weight_and_file_are_drains_too() -> None:
    stage = Stage(service_of(real(A, weight=0), real(B)))
    assert shown(stage, A).drain.leaving
    stage.table.maintain({B: "pbx2"}, stage.now)
    assert (shown(stage, B).verdict, shown(stage, B).reason) == (Verdict.DRAINING, "maintenancedir file pbx2")
    assert shown(stage, B).drain.leaving
    stage.table.maintain({}, stage.now)
    assert shown(stage, B).verdict is Verdict.UP


def test_pins_that_began_empty_withhold_the_word_for_a_registration_and_a_call() -> None:
    stage = Stage()
    found = drained(stage)
    assert (found.withheld[:21], found.known_at) == ("the pins began empty:", KNOWN)
    assert "ask the server" in found.withheld
    assert shown(stage, A).empty and not shown(stage, A).safe
    stage.now = KNOWN
    assert shown(stage, A).safe


def test_a_first_start_says_so_and_withholds_it_as_long() -> None:
    stage = Stage()
    stage.table.state.first_start = True
    found = drained(stage)
    assert ("first start" in found.withheld, "drain --vouch" in found.withheld, found.known_at) == (True, True, KNOWN)


def test_an_operator_who_knows_may_vouch() -> None:
    stage = Stage()
    drained(stage)
    stage.table.state.pins.born = BEGINNING
    assert shown(stage, A).safe
    with memoryview(stage.memory) as memory:
        vouch(memory)
    stage.restart()
    drained(stage)
    assert shown(stage, A).safe, "and it holds over a restart"


def test_a_restart_does_not_make_it_known() -> None:
    stage = Stage()
    stage.now += 100
    stage.restart()
    assert drained(stage).known_at == KNOWN


def test_maxexpires_shortens_the_wait() -> None:
    assert drained(Stage(service_of(**SHORT))).known_at == START + 61


def test_a_table_that_refused_pins_knows_nothing() -> None:
    stage = Stage(service_of(**SHORT))
    stage.table.state.pins.refused = 1
    stage.now += 1000
    found = drained(stage)
    assert ("too small" in found.withheld, found.known_at) == (True, 0.0)


def test_safe_in_the_second_after_the_last_registration_has_moved_and_the_last_call_ended() -> None:
    stage = Stage(service_of(**{**SHORT, "calltimeout": 7000}))
    home = stage.registered()
    server, route = stage.called()
    assert server == home
    drained(stage, home)
    stage.now += 200
    left = shown(stage, home)
    assert (left.calls, left.registrations, left.safe) == (1, 1, False)
    assert stage.registered() != home, "the refresh goes elsewhere, and the pin with its 2xx"
    bye = request("BYE", route, branch="z9hG4bKbye", to="<sip:600@x>;tag=t", cseq=2)
    out, _ = stage.sent(bye)
    assert shown(stage, home).transactions == 1
    stage.send(answer(out, 200), home)
    left = shown(stage, home)
    assert (left.calls, left.registrations, left.transactions, left.empty) == (0, 0, 0, True)
    stage.now += 8000
    assert shown(stage, home).safe


# Silent calls.


def sweep(stage: Stage) -> None:
    """Two whole rounds: the first counts, the second begins."""
    watch_drains(stage.table.state, stage.now)
    for _ in range(3):
        stage.table.state.pins.sweep(stage.now, 1 << 20)


def test_calls_that_were_silent_for_an_hour_are_counted_and_those_with_a_timer_are_not() -> None:
    stage = Stage(service_of(real(A)))
    stage.called("old")
    stage.now += 3000
    stage.called("young")
    out, _ = stage.sent(request(call="timed", branch="z9hG4bKtimed"))
    stage.send(answer(out, 200, "Contact: <sip:x>", "Session-Expires: 1800"), A)
    drained(stage)
    assert shown(stage, A).drain.silent is None, "not counted yet"
    stage.now += 700
    sweep(stage)
    assert (shown(stage, A).calls, shown(stage, A).drain.silent) == (3, 1)
    stage.now += 3000
    sweep(stage)
    assert (shown(stage, A).calls, shown(stage, A).drain.silent) == (2, 2), "the timed one had no refresh: it is gone"


def test_an_update_keeps_a_timed_call() -> None:
    stage = Stage(service_of(real(A)))
    out, _ = stage.sent(request(call="timed", branch="z9hG4bKtimed"))
    stage.send(answer(out, 200, "Contact: <sip:x>", "Session-Expires: 1800"), A)
    stage.now += 1000
    update, _ = stage.sent(request("UPDATE", call="timed", branch="z9hG4bKu", to="<sip:600@x>;tag=t", cseq=2))
    stage.send(answer(update, 200, "Session-Expires: 1800"), A)
    stage.now += 1000
    stage.table.state.pins.sweep(stage.now, 1 << 20)
    assert shown(stage, A).calls == 1


def test_an_update_does_not_begin_a_call() -> None:
    stage = Stage(service_of(real(A)))
    update, _ = stage.sent(request("UPDATE", call="early", branch="z9hG4bKu"))
    stage.send(answer(update, 200), A)
    assert shown(stage, A).calls == 0


def test_where_no_call_can_be_an_hour_old_none_is_silent() -> None:
    assert drained(Stage(service_of(**SHORT))).silent == 0
