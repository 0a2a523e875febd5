"""Who has proved nothing gets nobody's calls."""

from __future__ import annotations

import pytest

from tests.director.stage import OTHER, VIP, A, Stage, real, request, service_of


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
