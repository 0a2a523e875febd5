"""Phones that know a name instead of the virtual address: as their domain, and as a Route before every request."""

from __future__ import annotations

import pytest

from tests.real.pool import DOMAIN, Phones, Pool

ROUTES = (f"<sip:{DOMAIN};lr>", f"<sip:{DOMAIN}:5060;lr>", "<sip:127.0.0.10;lr>", f"<sip:{DOMAIN.upper()};lr>", "")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route or "no Route")
def test_a_phone_with_a_domain_and_an_outbound_proxy(phones: Phones, pool: Pool, route: str) -> None:
    if route and len(pool.servers) == 1:
        pytest.skip("needs the balancer")
    caller, callee = phones.together(2, proxy=route, domain=DOMAIN)
    call = caller.call(callee.user.number)
    call.wait_answer()
    other = callee.calls.get(timeout=8)
    assert call.bye().status == 200
    other.wait_end()
    assert caller.unregister().status == 200
