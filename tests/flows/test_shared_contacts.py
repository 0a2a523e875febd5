"""Servers that keep their Contacts in one database: any of them calls any phone, through the balancer."""

from __future__ import annotations

import pytest

from sipbalancer.demo.registrar import Contacts
from tests.flows.pool import Pool

PROXY = "<sip:10.0.0.1;lr>"


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("options", [{}, {"drop_path": True, "outbound_proxy": PROXY}, {"rewrite_contact": True}])
def test_another_server_calls_the_phone(options: dict[str, object], dead: bool) -> None:
    pool = Pool(2, options={"contacts": Contacts(), **options})
    phone = pool.registered("1001", address=("10.9.0.1", 40001), says=("192.168.1.20", 5060))
    home = pool.home("1001")
    other = next(server for server in pool.servers.values() if server is not home)
    if dead:
        pool.kill(home)
        pool.run(15)
    pool.send(other, other.call_phone("1001", pool.now))
    pool.run(2)
    assert phone.live_calls
    pool.hang_up(phone)
    assert phone.finals["BYE", 200] == 1
    assert not other.live_calls()
