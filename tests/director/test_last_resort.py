"""With every server draining, or dead, what is new still goes to one that could serve it (design 5.1)."""

from __future__ import annotations

import pytest

from sipbalancer.director.answers import takes_work
from sipbalancer.director.drain import TAKES_ALL_THE_SAME, drain_of
from sipbalancer.director.explain import explain
from sipbalancer.director.verdict import ProbeResult, Verdict
from tests.director.stage import (
    OTHER,
    PHONE,
    A,
    B,
    C,
    Stage,
    answer,
    packed,
    real,
    request,
    service_of,
    status_of,
)

GONE, LEAVES = ProbeResult.REFUSED, ProbeResult.UNAVAILABLE


def drained(how: str, *more: str) -> Stage:
    """A drained that way, B dead."""
    weight = 0 if how == "weight" else 1
    stage = Stage(service_of(real(A, weight=weight), real(B)))
    if how == "command":
        stage.table.drain(A, stage.now)
    elif how == "file":
        stage.table.maintain({A: "pbx1"}, stage.now)
    elif how == "503":
        stage.judge(A, result=LEAVES)
    assert stage.server(A).verdict is Verdict.DRAINING
    return stage


@pytest.mark.parametrize("how", ["command", "file", "weight", "503"])
@pytest.mark.parametrize("method", ["INVITE", "REGISTER", "SUBSCRIBE"])
def test_a_draining_server_gets_what_nobody_else_takes(how: str, method: str) -> None:
    stage = drained(how)
    assert stage.to(request(method, call="while B lives", branch="z9hG4bK0")) == B
    stage.judge(B, result=GONE)
    stage.due(70)
    data = request(method, user="1002", call="new", branch="z9hG4bK1")
    assert (stage.by(data), stage.to(data)) == ("draining", A)
    assert takes_work(stage.service)
    assert status_of(stage.sent(request("OPTIONS", uri="sip:192.0.2.1", branch="z9hG4bK2"))[0]) == 200
    stage.judge(B)
    stage.due(70)
    data = request(method, user="1003", call="newer", branch="z9hG4bK3")
    assert stage.to(data) == B, "only while nobody else does"
    assert not stage.service.resort


def test_a_phone_that_is_registered_on_the_draining_server_stays_there() -> None:
    stage = Stage(service_of(real(A)))
    stage.registered()
    stage.table.drain(A, stage.now)
    for method in ("INVITE", "REGISTER"):
        data = request(method, call=method, branch=f"z9hG4bK{method}")
        assert (stage.by(data), stage.to(data)) == ("binding", A)


def test_the_fallback_server_first() -> None:
    stage = Stage(service_of(real(A), real(B, weight=0), fallback=real(C)))
    stage.registered()
    stage.table.drain(A, stage.now)
    assert stage.service.resort == ()
    for number, user in enumerate(("1001", "1002")):
        data = request("REGISTER", user=user, call=user, branch=f"z9hG4bK{number}")
        assert (stage.by(data), stage.to(data)) == ("fallback", C)
    stage.judge(C, result=GONE)
    data = request(user="1003", call="new", branch="z9hG4bKnew", via=f"{OTHER};rport")
    assert (stage.by(data, OTHER), stage.to(data, OTHER)) == ("draining", A)


def test_rather_one_drained_by_hand_than_one_of_weight_0_than_one_that_says_503() -> None:
    stage = Stage(service_of(real(A), real(B, weight=0), real(C)))
    stage.judge(A, result=LEAVES)
    stage.table.drain(C, stage.now)
    names = [server.key for server in stage.service.resort]
    assert names == [C]
    stage.judge(C, result=GONE)
    assert [server.key for server in stage.service.resort] == [B]
    stage.judge(B, result=GONE)
    assert [server.key for server in stage.service.resort] == [A]
    stage.judge(A, result=GONE)
    assert stage.service.resort == ()
    assert status_of(stage.sent(request())[0]) == 503


def test_several_share_it() -> None:
    stage = Stage()
    for server in (A, B, C):
        stage.table.drain(server, stage.now)
    went = {stage.to(request(call=f"c{n}", user=f"{n}", branch=f"z9hG4bK{n}")) for n in range(40)}
    assert went == {A, B, C}


def test_servers_that_are_full_are_no_reason() -> None:
    """`u:` is there to refuse."""
    stage = Stage(service_of(real(A, upper=1), real(B)))
    stage.called()
    stage.called("call-2", phone="10.1.0.3:5060")
    stage.table.drain(B, stage.now)
    stage.due(0.05)
    assert stage.server(A).full and stage.service.resort == ()


@pytest.mark.parametrize("method", ["INVITE", "REGISTER"])
@pytest.mark.parametrize("says_503", [False, True])
def test_what_a_dead_server_had_moves_there_unless_it_would_only_be_refused(method: str, says_503: bool) -> None:
    stage = Stage(service_of(real(A), real(B)))
    if says_503:
        stage.judge(A, result=LEAVES)
    else:
        stage.table.drain(A, stage.now)
    _, server = stage.sent(request(method))
    assert server == B
    stage.judge(B, result=GONE)
    sent = stage.due()
    if says_503 and method == "INVITE":
        assert [(status_of(data), to) for data, to in sent] == [(503, PHONE)]
    else:
        assert [(data.split(b" ")[0].decode(), to) for data, to in sent] == [(method, A)]


def test_a_503_of_its_own_is_not_asked_of_the_next_one_too() -> None:
    stage = Stage(service_of(real(A), real(B)))
    stage.judge(result=LEAVES)
    out, server = stage.sent(request())
    assert status_of(stage.sent(answer(out, 503), server)[0]) == 503


def test_it_is_shown_told_and_explained_and_nothing_is_called_safe() -> None:
    stage = drained("command")
    assert stage.table.snapshot(stage.now).services[0].resort == ()
    stage.judge(B, result=GONE)
    assert stage.table.snapshot(stage.now).services[0].resort == (A,)
    assert any(f"what is new goes to {A}, draining" in text for text in stage.table.events())
    found = drain_of(stage.table.state, stage.service, stage.server(A), stage.now)
    assert (found.withheld, found.known_at) == (TAKES_ALL_THE_SAME, 0.0)
    said = explain(stage.table.state, 0, request(), packed(PHONE), stage.now)
    assert said.by == "draining" and said.steps[-1].link == "draining"
    assert said.steps[-1].why == f"nobody else takes work: {A} (draining: drained by the operator)"
