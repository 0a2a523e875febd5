"""Who has proved nothing gets nobody's calls."""

from __future__ import annotations

import pytest

from sipbalancer.director.verdict import ProbeResult
from tests.director.stage import OTHER, PHONE, VIP, A, Stage, answer, real, request, service_of


@pytest.mark.parametrize(
    ("method", "to"), [("OPTIONS", OTHER), ("NOTIFY", OTHER), ("INVITE", A), ("MESSAGE", A), ("SUBSCRIBE", A)]
)
def test_invented_credentials_bring_no_call_for_that_name(method: str, to: str) -> None:
    """A REGISTER with any credentials at all is expected to be answered 2xx; what its server asks and tells a phone at
    once (qualify, MWI) may go there. A call goes by what a 2xx has confirmed: else 480, to the server."""
    stage = Stage(service_of(real(A)))
    words = ("Contact: <sip:bob@10.6.6.6>", "Authorization: Digest nonsense")
    assert stage.to(request("REGISTER", *words, user="bob", uri=f"sip:{VIP}", via=f"{OTHER};rport"), OTHER) == A
    call = request(
        method, f"Route: <sip:{VIP};lr>", uri=f"sip:bob@{VIP}", branch="z9hG4bK2", via=f"{A};rport", call="c2"
    )
    assert stage.to(call, A) == to


def test_a_route_of_a_call_that_is_over_takes_nothing_new_to_a_server_that_leaves() -> None:
    stage = Stage()
    server, route = stage.called("over")
    fresh = request("INVITE", route, call="new", branch="z9hG4bKnew")
    register = request("REGISTER", route, uri=f"sip:{VIP}", call="reg", branch="z9hG4bKreg")
    assert stage.decided(fresh).by == "token"
    stage.table.drain(server, stage.now)
    inside = request("BYE", route, call="over", branch="z9hG4bKbye", to=f"<sip:600@{VIP}>;tag=t")
    assert stage.to(inside) == server
    for data in (fresh, register):
        out, to = stage.sent(data)
        assert to != server
        assert route.encode() not in out


IN_DIALOG = f"<sip:600@{VIP}>;tag=t"
ENDS = {"endcalls": True, "deaddialogs": 10.0}


def _called(stage: Stage) -> None:
    out, _ = stage.sent(request("INVITE", f"Contact: <sip:1001@{PHONE}>", call="mine"))
    stage.sent(answer(out, 200, f"Contact: <sip:{A}>"), A)


@pytest.mark.parametrize("words", [{}, ENDS])
@pytest.mark.parametrize("status", [481, 408])
def test_a_strangers_bye_ends_no_call_that_it_only_knows_by_name(status: int, words: dict[str, object]) -> None:
    stage = Stage(service_of(real(A), **words))
    _called(stage)
    bye = request("BYE", call="mine", branch="z9hG4bKx", to=IN_DIALOG, via=f"{OTHER};rport", cseq=9)
    out, _ = stage.sent(bye, OTHER)
    stage.sent(answer(out, status), A)
    assert stage.server(A).calls == 1
    assert bool(stage.table.state.dialogs.held) is bool(words)


def test_nor_does_one_that_nobody_answers() -> None:
    stage = Stage(service_of(real(A)))
    _called(stage)
    stage.sent(request("BYE", call="mine", branch="z9hG4bKx", to=IN_DIALOG, via=f"{OTHER};rport", cseq=9), OTHER)
    stage.due(33)
    assert stage.dropped()["unanswered"] == 1 and stage.server(A).calls == 1


@pytest.mark.parametrize("method", ["BYE", "INFO"])
def test_nor_one_that_a_dead_server_cannot_answer(method: str) -> None:
    stage = Stage(service_of(real(A), **ENDS))
    _called(stage)
    stage.judge(A, result=ProbeResult.REFUSED)
    stage.sent(request(method, call="mine", branch="z9hG4bKx", to=IN_DIALOG, via=f"{OTHER};rport", cseq=9), OTHER)
    stage.table.state.dialogs.held.clear()  # what endcalls does to it is another matter
    stage.due(2.1)
    assert stage.dropped()["ended by us: 481"] == 1 and stage.server(A).calls == 1


def test_what_the_server_accepts_ends_the_call_whoever_said_it() -> None:
    stage = Stage(service_of(real(A)))
    _called(stage)
    out, _ = stage.sent(request("BYE", call="mine", branch="z9hG4bKx", to=IN_DIALOG, cseq=9))
    stage.sent(answer(out, 200), A)
    assert stage.server(A).calls == 0


def test_the_phone_itself_needs_no_route_where_its_dialog_is_known() -> None:
    stage = Stage(service_of(real(A), **ENDS))
    _called(stage)
    out, _ = stage.sent(request("BYE", call="mine", branch="z9hG4bKx", to=IN_DIALOG, cseq=9))
    stage.sent(answer(out, 481), A)
    assert stage.server(A).calls == 0
