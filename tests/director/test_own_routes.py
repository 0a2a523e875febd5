"""The cache of what a Route says: it changes no decision, ends with the words it was read under, and is bounded."""

from __future__ import annotations

import pytest

from sipbalancer.director import own_routes
from sipbalancer.director.from_client import Decision
from sipbalancer.director.own_routes import read_own_routes
from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.scan import RouteElement
from tests.director.stage import VIP, A, Stage, request, service_of
from tests.director.test_from_client import IN_DIALOG, token_route


def element(uri: bytes) -> tuple[RouteElement, ...]:
    return ((uri, 0, 0),)


def test_the_second_reading_is_the_first() -> None:
    stage = Stage()
    uri = token_route(A)[8:-1].encode()
    for routes in (element(uri), element(b"sip:192.0.2.1;lr"), element(b"sip:evil.example.net;lr")):
        first = read_own_routes(stage.table.state, stage.service, routes)
        assert routes[0][0] in stage.service.routes
        assert read_own_routes(stage.table.state, stage.service, routes) == first
    assert read_own_routes(stage.table.state, stage.service, element(uri)).token is not None


def test_a_new_name_of_ours_is_known_at_once() -> None:
    stage = Stage()
    bye = request("BYE", "Route: <sip:pbx.example.com;lr>", to=IN_DIALOG, uri=f"sip:{A}")
    before = stage.decided(bye)
    stage.apply(service_of(alias=("pbx.example.com",)))
    after = stage.decided(bye)
    assert isinstance(before, Decision)
    assert (before.refusal, before.reason) == (403, "foreign route")
    assert isinstance(after, Decision)
    assert after.server is stage.server(A)


def test_a_new_name_of_ours_makes_another_address_of_record_at_once() -> None:
    stage = Stage()
    data = request("REGISTER", "Contact: <sip:1001@10.1.0.1:5060>").replace(f"@{VIP}".encode(), b"@pbx.example.com")
    before = stage.decided(data)
    stage.apply(service_of(alias=("pbx.example.com",)))
    after = stage.decided(data)
    assert isinstance(before, Decision)
    assert isinstance(after, Decision)
    assert (before.aor, after.aor) == (b"1001@pbx.example.com", b"1001@")


def test_what_strangers_write_does_not_fill_the_memory() -> None:
    stage = Stage()
    state, service = stage.table.state, stage.service
    read_own_routes(state, service, element(b"sip:%b.example.net;lr" % (b"x" * own_routes.LONGEST_CACHED)))
    assert not service.routes
    for number in range(stage.service.routes.limit + 10):
        service.routes[b"%d" % number] = own_routes.OwnRoute(0, None, False, b"")
    read_own_routes(state, service, element(b"sip:192.0.2.1;lr"))
    assert (len(service.routes), len(service.routes.older)) == (1, stage.service.routes.limit + 10)
    for number in range(stage.service.routes.limit + 10):
        read_own_routes(state, service, element(b"sip:%d.example.net;lr" % number))
    assert len(service.routes) + len(service.routes.older) <= 2 * stage.service.routes.limit
    assert read_own_routes(state, service, element(b"sip:9.example.net;lr")).foreign == b"sip:9.example.net;lr"


def test_names_are_kept_as_sparingly() -> None:
    stage = Stage()
    stage.decided(request(user="y" * own_routes.LONGEST_CACHED))
    assert not stage.service.names
    for number in range(stage.service.routes.limit):
        stage.service.names[b"%d" % number] = b"", 0
    stage.decided(request())
    assert (len(stage.service.names), len(stage.service.names.older)) == (1, stage.service.routes.limit)
    for number in range(stage.service.routes.limit):
        stage.decided(request(user=f"{number}"))
    assert len(stage.service.names) + len(stage.service.names.older) <= 2 * stage.service.routes.limit


def test_what_a_call_may_say_of_its_caller_no_registration_may() -> None:
    """A From that cannot be read is nobody's; it does not become the name of a REGISTER whose To is the same."""
    stage = Stage()
    broken, name = b"<sip:1001@10.1.0.1:99999>", b"<sip:1001@192.0.2.1>"
    decision = stage.decided(request("MESSAGE", to=name.decode()).replace(name + b";tag=f", broken))
    assert isinstance(decision, Decision) and decision.pin == 0
    with pytest.raises(MalformedMessage):
        stage.decided(request("REGISTER").replace(name, broken))
