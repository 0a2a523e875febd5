"""Phones that know the service by a name and write an outbound proxy into a Route."""

from __future__ import annotations

import pytest

from sipbalancer.demo.call import CallState
from tests.flows.pool import Pool

NAMES = ("pbx.example.com", "pbx.example.com:5061")


@pytest.mark.parametrize(
    "route", ["<sip:pbx.example.com;lr>", "<sip:pbx.example.com:5061;lr>", "<sip:PBX.example.com;lr>"]
)
def test_a_phone_with_an_outbound_proxy_registers_and_calls(route: str) -> None:
    pool = Pool(alias=NAMES)
    phone = pool.phone("1001", route=route)
    phone.domain = "pbx.example.com"
    pool.send(phone, phone.register(pool.now))
    pool.run(1)
    assert phone.registered
    assert pool.calls(phone, "600").state is CallState.TALKING
    pool.hang_up(phone)
    assert phone.finals["BYE", 200] == 1


def test_the_name_and_the_address_are_one_aor() -> None:
    pool = Pool(alias=NAMES)
    by_name = pool.phone("1001")
    by_name.domain = "pbx.example.com"
    pool.send(by_name, by_name.register(pool.now))
    pool.run(1)
    pool.registered("1001")
    assert len(pool.home("1001").contacts.of("1001", pool.now)) == 2


def test_a_route_to_somebody_else_is_refused_and_said_once() -> None:
    pool = Pool(alias=NAMES)
    phone = pool.phone("1001", route="<sip:proxy.elsewhere.org;lr>", keep=False)
    pool.send(phone, phone.register(pool.now))
    pool.run(1)
    assert phone.registration.last_status == 403
    assert [text.count("alias = proxy.elsewhere.org") for text in pool.balancer.table.events()] == [1]
