"""The one mutable root: what a reload keeps, what an operator may do."""

from __future__ import annotations

import pytest

from sipbalancer.config.model import CheckConfig
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult, Verdict
from sipbalancer.errors import AdminError
from tests.director.stage import OTHER, PHONE, A, B, C, Stage, real, request, service_of


def test_a_reload_keeps_pins_counters_health_and_drain_of_what_did_not_change() -> None:
    stage = Stage()
    home = stage.registered()
    server = stage.server(home)
    drained = next(one for one in (A, B, C) if one != home)
    stage.table.drain(drained, stage.now)
    chosen, requests = dict(stage.service.chosen), dict(server.requests)
    stage.apply(service_of(real(A, weight=5), real(B), real(C), scheduler="wlc"))
    assert stage.server(home) is server
    assert (dict(stage.service.chosen), dict(server.requests)) == (chosen, requests)
    assert server.verdict is Verdict.UP
    assert stage.server(drained).drained
    assert stage.to(request("REGISTER", branch="z9hG4bK2")) == home
    assert stage.server(A).weight == 5


def test_a_check_at_another_pace_keeps_what_is_known() -> None:
    """Else a dead server would be as good as any while its first probe at the new pace is unanswered."""
    stage = Stage()
    stage.judge(A, result=ProbeResult.REFUSED)
    asked = stage.server(A).health.probes
    stage.apply(service_of(check=CheckConfig(checkinterval=2.0, risecount=3)))
    assert [stage.server(name).verdict for name in (A, B, C)] == [Verdict.DOWN, Verdict.UP, Verdict.UP]
    assert stage.server(A).health.probes == asked
    stage.judge(A)
    assert (stage.server(A).verdict, stage.server(A).reason) == (Verdict.STARTING, "1 of 3 good answers after down")


def test_another_question_is_judged_anew() -> None:
    stage = Stage()
    stage.apply(service_of(check=CheckConfig(receive="Asterisk")))
    assert stage.server(A).verdict is Verdict.STARTING


def test_who_shares_a_server_and_keeps_the_old_pace_is_not_touched() -> None:
    stage = Stage(service_of(), service_of(host="192.0.2.2"))
    slow = service_of(host="192.0.2.2", check=CheckConfig(checkinterval=60.0))
    stage.apply(service_of(), slow)
    first, second = (service.servers[0] for service in stage.table.state.services.values())
    stage.table.probed(second.health, ProbeOutcome(ProbeResult.REFUSED, "port refused", 0.0), stage.now)
    assert (first.verdict, second.verdict) == (Verdict.UP, Verdict.DOWN)


def test_a_new_server_starts_and_one_that_left_is_retired_until_it_returns() -> None:
    stage = Stage(service_of(real(A), real(B)))
    left = stage.server(B)
    stage.apply(service_of(real(A), real(C)))
    assert left.retired
    assert stage.server(C).verdict is Verdict.STARTING
    stage.apply(service_of(real(A), real(B), real(C)))
    assert stage.server(B) is left and not left.retired


def test_services_that_share_servers_share_health_and_nothing_else() -> None:
    stage = Stage(service_of(real(A), real(B)), service_of(real(A), real(B), host="192.0.2.2"))
    assert len(stage.table.healths) == 2
    first, second = (service.servers[0] for service in stage.table.state.services.values())
    assert first is not second and first.health is second.health
    transitions = ()
    for health in stage.table.healths:
        if health.key == A:
            stage.judge(A, result=ProbeResult.REFUSED)
    assert transitions == ()
    assert first.verdict is second.verdict is Verdict.DOWN


def test_a_leg_is_never_used_again_for_another_address() -> None:
    stage = Stage(service_of(), service_of(host="192.0.2.2"))
    assert [(leg.index, leg.host) for leg in stage.table.legs] == [(0, "192.0.2.1"), (1, "192.0.2.2")]
    stage.apply(service_of(host="192.0.2.3"), service_of(host="192.0.2.2"))
    assert [(leg.index, leg.host) for leg in stage.table.legs] == [(2, "192.0.2.3"), (1, "192.0.2.2")]
    assert stage.send(request(), leg=0) is None


def test_draining_by_any_of_its_names_and_back() -> None:
    named = real(A, name="pbx1")
    stage = Stage(service_of(named, real(B)))
    for name in (A, "192.0.2.11", "pbx1", "pbx1:5060"):
        (change,) = stage.table.drain(name, stage.now)
        assert (change.new, change.reason) == (Verdict.DRAINING, "drained by the operator")
        assert stage.service.eligible == (stage.server(B),)
        (change,) = stage.table.enable(name, stage.now)
        assert change.new is Verdict.UP


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(AdminError, match="192.0.2.1.:5060"):
        Stage().table.drain("192.0.2.1:5060x", 0.0)


def test_contacts_go_out_and_come_back() -> None:
    stage = Stage()
    home = stage.registered()
    rows = stage.table.binding_changes(9)
    assert [(row.aor, row.server, row.client) for row in rows] == [("1001@", home, b"\x13\xc4\x0a\1\0\1")]
    stage.restart()
    stage.table.restore_bindings(rows, stage.now)
    (where,) = stage.table.where("1001", stage.now)
    assert [contact.client for contact in where.contacts] == [PHONE]
    stage.restart()
    stage.table.restore_bindings(rows, stage.now + 100000)
    (where,) = stage.table.where("1001", stage.now)
    assert where.contacts == ()


def test_events_are_told_once() -> None:
    stage = Stage()
    stage.send(request("INVITE", "Route: <sip:elsewhere.example;lr>"), OTHER)
    assert len(stage.table.events()) == 1
    assert stage.table.events() == ()


def test_requests_are_counted_by_server_also_of_one_that_left() -> None:
    stage = Stage(service_of(real(A), real(B)))
    for number in range(6):
        stage.sent(request("MESSAGE", branch=f"z9hG4bK{number}", call=f"c{number}", user=f"u{number}"))
    key = stage.service.key
    assert stage.table.requests() == {(key, A): 3, (key, B): 3}
    stage.apply(service_of(real(A)))
    assert stage.table.requests() == {(key, A): 3, (key, B): 3}
