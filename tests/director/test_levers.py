"""ldirectord's levers on the choice of a server: quiescent, readdquiescent, fallback, u: and l:."""

from __future__ import annotations

import pytest

from sipbalancer.config.parser import parse
from sipbalancer.director.verdict import ProbeResult
from tests.director.stage import A, B, C, Stage, real, request, service_of


def invite(number: int) -> bytes:
    return request(call=f"n{number}", branch=f"z9hG4bKn{number}")


# quiescent, readdquiescent.


@pytest.mark.parametrize(("quiescent", "stays"), [(True, True), (False, False)])
def test_pins_of_a_down_server_wait_or_are_made_anew(quiescent: bool, stays: bool) -> None:
    stage = Stage(service_of(quiescent=quiescent))
    home = stage.registered()
    stage.judge(home, result=ProbeResult.REFUSED)
    stage.now += 1
    assert (stage.registered() == home) is stays
    assert (stage.table.where("1001", stage.now)[0].server == home) is stays


@pytest.mark.parametrize(
    ("quiescent", "readd", "stays"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_after_a_restart_pins_wait_for_a_server_found_down_only_with_readdquiescent(
    quiescent: bool, readd: bool, stays: bool
) -> None:
    stage = Stage(service_of(quiescent=quiescent))
    home = stage.registered()
    stage.config = stage.config.model_copy(update={"readdquiescent": readd})
    stage.table = stage._table((bytes(range(32)),))
    for server in (A, B, C):
        stage.judge(server, result=ProbeResult.REFUSED if server == home else ProbeResult.OK)
    assert (stage.to(request("REGISTER", call="r", branch="z9hG4bKr")) == home) is stays


def test_a_server_that_came_back_into_the_file_down_does_not_hold_its_pins() -> None:
    stage = Stage(service_of(quiescent=True))
    home = stage.registered()
    others = [real(server) for server in (A, B, C) if server != home]
    stage.apply(service_of(*others, quiescent=True))
    stage.apply(service_of(*others, real(home), quiescent=True))
    stage.judge(home, result=ProbeResult.REFUSED)
    assert stage.to(request("REGISTER", call="r", branch="z9hG4bKr")) != home
    stage.now += 70
    stage.judge(home)
    stage.judge(home, result=ProbeResult.REFUSED)
    assert stage.to(request("REGISTER", call="r2", branch="z9hG4bKr2")) == home


# fallback.

FILE = """\
fallback = 192.0.2.99
virtual = 192.0.2.1:5060
\treal = 192.0.2.11:5060 masq
\tprotocol = udp
virtual = 192.0.2.2:5070
\treal = 192.0.2.11:5060 masq
\tfallback = 192.0.2.98:5062
\tprotocol = udp
"""


def test_the_global_fallback_is_every_service_s_that_has_none_of_its_own() -> None:
    stage = Stage(*parse(FILE, "f").config.virtual)
    assert stage.to(invite(1)) == A
    stage.judge(A, result=ProbeResult.REFUSED)
    assert stage.to(invite(2)) == "192.0.2.99:5060"
    assert stage.to(invite(3), leg=1) == "192.0.2.98:5062"
    stage.judge(A)
    assert stage.to(invite(4)) == A


# u: and l:.


def limited(**words: object) -> Stage:
    return Stage(service_of(real(A, **words), real(B)))


def calls(stage: Stage, count: int) -> list[str]:
    begun = stage.table.state.services[0].chosen["scheduler"]
    servers = []
    for number in range(count):
        servers.append(stage.called(f"{begun}-{number}")[0])
        stage.due()
    return servers


def test_nothing_new_from_the_upper_threshold_on() -> None:
    stage = limited(upper=2)
    assert sorted(calls(stage, 4)) == [A, A, B, B]
    assert calls(stage, 4) == [B] * 4
    row = stage.table.snapshot(stage.now).services[0].servers[0]
    assert (row.full, row.reason, str(row.verdict)) == (True, "at its upper threshold u:2", "up")


def test_its_registrations_and_the_calls_of_its_phones_stay() -> None:
    stage = Stage(service_of(real(A, upper=1), real(B), scheduler="lc"))
    homes = {stage.registered(user, f"10.1.0.{user}:5060"): user for user in ("11", "12")}
    stage.due()
    assert stage.server(A).full
    assert stage.registered(homes[A], f"10.1.0.{homes[A]}:5060") == A
    assert stage.to(request(user=homes[A], call="x", branch="z9hG4bKx")) == A


@pytest.mark.parametrize(("lower", "free_below"), [(2, 2), (0, 3), (9, 4)])
def test_it_takes_work_again_below_the_lower_threshold(lower: int, free_below: int) -> None:
    stage = Stage(service_of(real(A, upper=4, lower=lower)))
    users = [str(number) for number in range(1001, 1005)]
    for user in users:
        stage.registered(user)
    stage.due()
    left = len(users)
    while left >= free_below:
        assert stage.server(A).full, left
        stage.registered(users.pop(), expires=0)
        stage.due()
        left -= 1
    assert not stage.server(A).full
    assert stage.to(invite(1)) == A


def test_all_at_their_threshold_is_the_fallback_s_hour() -> None:
    stage = Stage(service_of(real(A, upper=1), fallback=real(C)))
    assert calls(stage, 2) == [A, C]


def test_the_next_priority_group_takes_what_the_first_has_no_room_for() -> None:
    stage = Stage(service_of(real(A, upper=1), real(B, priority=1)))
    assert calls(stage, 3) == [A, B, B]


def test_a_reload_without_the_threshold_lifts_it() -> None:
    stage = limited(upper=1)
    calls(stage, 2)
    assert stage.server(A).full
    stage.apply(service_of(real(A), real(B)))
    assert not stage.server(A).full
    assert A in calls(stage, 2)
