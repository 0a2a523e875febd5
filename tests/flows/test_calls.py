"""Calls through the balancer, both ways."""

from __future__ import annotations

from tests.flows.pool import Pool


def test_a_call_to_echo_is_answered_and_hung_up_by_the_phone() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    pool.lab.send(phone.address, phone.call("600", pool.lab.now))
    pool.lab.run(2)
    assert phone.live_calls
    assert pool.balancer.table.snapshot(pool.lab.now).services[0].pins["call"] == 1
    pool.lab.send(phone.address, phone.hang_up(pool.lab.now))
    pool.lab.run(2)
    assert not phone.live_calls
    assert pool.balancer.table.snapshot(pool.lab.now).services[0].pins["call"] == 0


def test_a_server_calls_a_phone_by_its_path() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    home = pool.home("1001")
    pool.lab.send(home.address, home.call_phone("1001", pool.lab.now))
    pool.lab.run(2)
    assert phone.live_calls
    pool.lab.send(home.address, home.hang_up(home.live_calls()[0], pool.lab.now))
    pool.lab.run(2)
    assert not phone.live_calls
    assert pool.balancer.counts("chosen")["client_token"] >= 3
