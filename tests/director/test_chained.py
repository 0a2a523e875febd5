"""Two services of one balancer in a chain: the first one's server is the second one's virtual address."""

from __future__ import annotations

import pytest

from sipbalancer.config.model import VirtualServiceConfig
from tests.director.stage import PHONE, VIP, A, Stage, answer, lines_of, packed, real, request, route_of, service_of

INNER = "192.0.2.2"
FIRST, SECOND = f"{VIP}:5060", f"{INNER}:5060"


def _chain(**words: object) -> Stage:
    first = service_of(real(SECOND), **words)
    second = VirtualServiceConfig.model_validate({"host": INNER, "real": (real(A),), **words})
    return Stage(first, second)


def _through(stage: Stage, data: bytes) -> bytes:
    """A phone's request, as the server behind both gets it."""
    out, to = stage.sent(data)
    assert to == SECOND
    out, to = stage.sent(out, FIRST, leg=1)
    assert to == A
    return out


def _back(stage: Stage, data: bytes) -> bytes:
    out, to = stage.sent(data, A, leg=1)
    assert to == FIRST
    out, to = stage.sent(out, SECOND)
    assert to == PHONE
    return out


def _routes(data: bytes, name: str = "Record-Route") -> list[str]:
    return [f"Route: {value}" for value in lines_of(data, name)]


# With one name for both only the seals tell whose a Route is.
@pytest.fixture(params=[{}, {"advertise": "pbx.example.com"}], ids=["own names", "one name"])
def stage(request: pytest.FixtureRequest) -> Stage:
    return _chain(**request.param)


def test_the_servers_bye_finds_its_way_through_both(stage: Stage) -> None:
    invite = _through(stage, request())
    assert len(_routes(invite)) == 2
    _back(stage, answer(invite, 200, f"Contact: <sip:{A}>"))
    bye = request(
        "BYE", *_routes(invite), uri=f"sip:1001@{PHONE}", via=A, to=f"<sip:1001@{VIP}>;tag=f", branch="z9hG4bKs"
    )
    assert b"\r\nRoute:" not in _back(stage, bye)


def test_the_phones_bye_keeps_the_second_ones_route_on_the_way_there(stage: Stage) -> None:
    invite = _through(stage, request())
    _back(stage, answer(invite, 200, f"Contact: <sip:{A}>"))
    bye = request(
        "BYE", *reversed(_routes(invite)), uri=f"sip:600@{A}", to=f"<sip:600@{VIP}>;tag=t", branch="z9hG4bKp", cseq=2
    )
    out, to = stage.sent(bye)
    assert (to, lines_of(out, "Route")) == (SECOND, [_routes(invite)[0].removeprefix("Route: ")])
    out, to = stage.sent(out, FIRST, leg=1)
    assert (to, lines_of(out, "Route")) == (A, [])


def test_a_call_to_a_registered_phone_goes_by_both_paths(stage: Stage) -> None:
    register = _through(stage, request("REGISTER", f"Contact: <sip:1001@{PHONE}>", uri=f"sip:{VIP}"))
    call = request("INVITE", *_routes(register, "Path"), uri=f"sip:1001@{PHONE}", via=A, branch="z9hG4bKc", call="c2")
    _back(stage, call)


def test_a_token_of_another_service_brings_no_server_into_this_one() -> None:
    stage = _chain()
    out, _ = stage.sent(request())
    strange = request("BYE", route_of(out), to=f"<sip:600@{VIP}>;tag=t", branch="z9hG4bKx", call="c9")
    assert stage.decided(strange, leg=1).refusal == 481
    assert set(stage.table.state.services[1].by_packed) == {packed(A)}
