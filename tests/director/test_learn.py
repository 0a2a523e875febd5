"""What answers teach (design 4.4)."""

from __future__ import annotations

from math import ceil

import pytest

from sipbalancer.director.pins import PinKind
from tests.director.stage import OTHER, PHONE, A, B, C, Stage, answer, real, request, route_of, service_of

SERVERS = (A, B, C)
IN_DIALOG = "<sip:600@x>;tag=t"


def register(stage: Stage, status: int, *lines: str, contact: str = f"<sip:1001@{PHONE}>") -> str:
    """A REGISTER and its answer; the server."""
    data = request("REGISTER", f"Contact: {contact}", branch=f"z9hG4bK{stage.now}")
    stage.now += 0.5
    out, server = stage.sent(data)
    stage.sent(answer(out, status, *lines), server)
    return server


def life(stage: Stage) -> float:
    where = stage.table.where("1001", stage.now)
    return where[0].expires if where else 0.0


@pytest.mark.parametrize(
    ("lines", "persistent", "expected"),
    [
        ([f"Contact: <sip:1001@{PHONE}>;expires=600"], 100, 600),
        ([f"Contact: <sip:1001@{PHONE}>;expires=60"], 100, 100),
        ([f"Contact: <sip:1001@{PHONE}>", "Expires: 600"], 100, 600),
        ([f"Contact: <sip:1001@{PHONE}>;expires=60", "Contact: <sip:other@y>;expires=900", "Expires: 7"], 100, 900),
        ([f"Contact: <sip:1001@{PHONE}>;expires=60", "Contact: <sip:other@y>;expires=900", "Expires: 0"], 100, 900),
        ([f"Contact: <sip:1001@{PHONE}>"], 100, 100),
        ([], 100, 0),
        ([f"Contact: <sip:1001@{PHONE}>;expires=0"], 100, 0),
        (["Expires: 600"], 100, 0),
    ],
)
def test_the_life_of_a_binding_pin(lines: list[str], persistent: int, expected: float) -> None:
    stage = Stage(service_of(persistent=persistent))
    register(stage, 200, *lines)
    assert expected <= life(stage) <= expected + (1.0 if expected else 0.0)


@pytest.mark.parametrize(("status", "kept"), [(401, True), (407, True), (403, False), (404, False), (500, True)])
def test_what_a_refusal_makes_of_the_provisional_pin(status: int, kept: bool) -> None:
    stage = Stage()
    register(stage, status)
    assert stage.by(request("REGISTER", branch="z9hG4bKnext")) == ("binding" if kept else "scheduler")
    assert stage.table.where("1001", stage.now) == ()


def test_a_refused_refresh_leaves_the_pin() -> None:
    stage = Stage()
    server = stage.registered()
    for status in (401, 403, 500):
        register(stage, status)
    assert stage.to(request("REGISTER", branch="z9hG4bKnext")) == server


def test_one_of_two_phones_unregisters_and_the_other_stays() -> None:
    stage = Stage()
    server = stage.registered("1001", PHONE)
    stage.registered("1001", OTHER, also=f"<sip:1001@{PHONE}>")
    stage.now += 1
    stage.registered("1001", OTHER, expires=0, also=f"<sip:1001@{PHONE}>")
    (where,) = stage.table.where("1001", stage.now)
    assert (where.server, [contact.uri for contact in where.contacts]) == (server, [f"sip:1001@{PHONE}"])


def test_star_forgets_all_contacts() -> None:
    stage = Stage()
    stage.registered()
    register(stage, 200, contact="*")
    assert stage.table.where("1001", stage.now) == ()


def test_a_2xx_we_do_not_remember_asking_for_still_pins() -> None:
    stage = Stage()
    out, server = stage.sent(request("REGISTER", f"Contact: <sip:1001@{PHONE}>"))
    stage.restart()
    stage.sent(answer(out, 200, f"Contact: <sip:1001@{PHONE}>;expires=600"), server)
    assert stage.to(request("REGISTER", branch="z9hG4bK2")) == server


def test_the_pin_moves_to_the_server_that_answered() -> None:
    stage = Stage(service_of(rebalance=False))
    home = stage.registered()
    stage.table.drain(home, stage.now)
    other = register(stage, 200, f"Contact: <sip:1001@{PHONE}>;expires=600")
    assert other != home
    stage.table.enable(home, stage.now)
    assert stage.to(request("REGISTER", branch="z9hG4bK2")) == other
    assert [stage.server(server).registrations for server in (home, other)] == [0, 1]


# Calls.


def call_pin(stage: Stage, call: str = "call-1") -> float:
    state = stage.table.state
    return state.pins.life(state.call_key(stage.service, call.encode()), stage.now)


@pytest.mark.parametrize(
    ("line", "expected"),
    [("", 7200), ("Session-Expires: 1800;refresher=uac", 1800), ("x: 90", 90), ("Session-Expires: x", 7200)],
)
def test_the_life_of_a_call_pin(line: str, expected: float) -> None:
    stage = Stage(service_of(calltimeout=7200))
    out, server = stage.sent(request())
    assert call_pin(stage) == 0
    stage.sent(answer(out, 200, *([line] if line else [])), server)
    assert expected <= call_pin(stage) <= expected + 1
    assert stage.server(server).calls == 1


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_session_refresh_renews_it(method: str) -> None:
    stage = Stage()
    out, server = stage.sent(request())
    stage.sent(answer(out, 200, "Session-Expires: 90"), server)
    stage.now += 45
    again, _ = stage.sent(request(method, route_of(out), branch="z9hG4bK2", to=IN_DIALOG, cseq=2))
    stage.sent(answer(again, 200, "Session-Expires: 90"), server)
    assert 89 <= call_pin(stage) <= 91


@pytest.mark.parametrize(
    ("status", "ended"), [(200, True), (481, True), (408, True), (401, False), (407, False), (500, False)]
)
def test_what_the_answer_to_a_bye_makes_of_it(status: int, ended: bool) -> None:
    stage = Stage()
    server, route = stage.called()
    out, _ = stage.sent(request("BYE", route, branch="z9hG4bKbye", to=IN_DIALOG, cseq=2))
    stage.sent(answer(out, status), server)
    assert (call_pin(stage) < 40) is ended
    assert stage.server(server).calls == (0 if ended else 1)
    assert stage.to(request("INFO", branch="z9hG4bKlate", to=IN_DIALOG)) == server


def test_a_late_2xx_does_not_revive_an_ended_call() -> None:
    stage = Stage()
    out, server = stage.sent(request())
    ok = answer(out, 200, f"Contact: <sip:{server}>")
    stage.sent(ok, server)
    bye, _ = stage.sent(request("BYE", route_of(out), branch="z9hG4bKbye", to=IN_DIALOG, cseq=2))
    stage.sent(answer(bye, 200), server)
    stage.sent(ok, server)
    assert stage.server(server).calls == 0
    assert call_pin(stage) < 40


@pytest.mark.parametrize("status", [180, 302, 404, 486, 603])
def test_what_is_no_2xx_makes_no_call(status: int) -> None:
    stage = Stage()
    out, server = stage.sent(request())
    stage.sent(answer(out, status), server)
    assert (call_pin(stage), stage.server(server).calls) == (0, 0)


def test_a_phones_2xx_makes_the_call_of_the_server_that_asked_whatever_its_vias_say() -> None:
    stage = Stage()
    home = stage.registered()
    out, _ = stage.sent(request(uri=f"sip:1001@{PHONE}", via=f"{home};rport", call="inward"), home)
    another = next(server for server in SERVERS if server != home)
    forged = answer(out, 200).replace(f"received={home[:-5]}".encode(), f"received={another[:-5]}".encode())
    stage.send(forged)
    assert [stage.server(server).calls for server in (home, another)] == [1, 0]


def test_an_answer_to_cancel_says_nothing_of_the_invite() -> None:
    stage = Stage()
    out, server = stage.sent(request())
    stage.sent(answer(out, 180), server)
    cancel, _ = stage.sent(request("CANCEL"))
    stage.sent(answer(cancel, 200), server)
    assert (call_pin(stage), stage.server(server).transactions) == (0, 1)


def test_contacts_that_cannot_be_read_teach_nothing_and_pass() -> None:
    stage = Stage()
    out, server = stage.sent(request("REGISTER"))
    assert stage.sent(answer(out, 200, "Contact: <sip:broken"), server)[1] == PHONE
    assert stage.table.where("1001", stage.now) == ()
    assert any(reason.startswith("not learned") for reason in stage.dropped())


def test_a_burst_of_calls_is_spread_before_the_first_is_answered() -> None:
    for scheduler in ("lc", "wlc", "sed", "nq"):
        stage = Stage(service_of(scheduler=scheduler))
        to = [stage.to(request(call=f"{number}", branch=f"z9hG4bK{number}")) for number in range(30)]
        assert sorted(map(to.count, SERVERS)) == [10, 10, 10]


def test_other_keys_make_pins_of_another_kind() -> None:
    stage = Stage(service_of(real(A), persistencekey="source"))
    out, _ = stage.sent(request("MESSAGE"))
    stage.sent(answer(out, 200), A)
    assert stage.table.state.pins.total(PinKind.PERSISTENT) == 1
    assert stage.server(A).registrations == 0


@pytest.mark.parametrize("key", ["source", "domain", "callid"])
@pytest.mark.parametrize("status", [401, 404, 0])
def test_strangers_make_no_pins_under_any_key(key: str, status: int) -> None:
    stage = Stage(service_of(real(A), persistencekey=key))
    for number in range(50):
        phone = f"10.2.0.{number}:5060"
        out, _ = stage.sent(request(call=f"s{number}", branch=f"z9hG4bKs{number}", via=f"{phone};rport"), phone)
        if status:
            stage.sent(answer(out, status), A)
    pins = stage.table.state.pins
    assert sum(pins.total(kind) for kind in PinKind) == 0
    assert stage.registered() == A and stage.called() and pins.refused == 0


def test_a_choice_by_another_key_holds_until_it_is_proved() -> None:
    stage = Stage(service_of(persistencekey="source", persistent=100))
    first = [stage.sent(request(call=f"c{number}", branch=f"z9hG4bKc{number}")) for number in range(6)]
    assert len({server for _, server in first}) == 1, "before anything was answered"
    stage.now += 31
    out, server = first[0]
    stage.sent(answer(out, 180), server)
    stage.now += 31
    assert stage.to(request(call="while it rings", branch="z9hG4bKr")) == server
    stage.sent(answer(out, 200, f"Contact: <sip:{server}>"), server)
    stage.now += 99
    assert stage.by(request(call="new", branch="z9hG4bKn")) == "binding"


def test_pins_of_other_keys_leave_room_for_registrations() -> None:
    stage = Stage(service_of(real(A), persistencekey="callid"))
    room = ceil(stage.table.state.pins.promised * 0.4)
    for number in range(room + 20):
        out, _ = stage.sent(request("MESSAGE", call=f"m{number}", branch=f"z9hG4bKm{number}"))
        stage.sent(answer(out, 200), A)
    assert stage.table.state.pins.total(PinKind.PERSISTENT) == room
    assert stage.dropped() == {"persistence pins full": 20}
