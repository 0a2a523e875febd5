"""Registrations through the balancer."""

from __future__ import annotations

from collections import Counter

from tests.flows.pool import USERS, Pool


def test_each_phone_meets_exactly_one_challenge_and_the_spread_is_even() -> None:
    pool = Pool()
    phones = [pool.registered(user) for user in USERS]
    assert {tuple(phone.registration.challenges) for phone in phones} == {(1,)}
    assert sorted(Counter(pool.home(user).address for user in USERS).values()) == [20, 20, 20]


def test_each_refresh_reaches_the_same_server() -> None:
    pool = Pool()
    phone = pool.phone("1001", expires=60, refresh=20)
    pool.lab.send(phone.address, phone.register(pool.lab.now))
    pool.lab.run(1)
    home = pool.home("1001")
    others = [pool.registered(user) for user in ("1002", "1003", "1004", "1005")]
    assert others
    pool.lab.run(200)
    assert phone.registration.succeeded > 8
    assert pool.home("1001") is home


def test_unregistering_ends_the_pin() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    pool.lab.send(phone.address, phone.unregister(pool.lab.now))
    pool.lab.run(1)
    assert pool.balancer.table.where("1001", pool.lab.now) == ()
    assert sum(server.registrations for server in pool.balancer.table.snapshot(pool.lab.now).services[0].servers) == 0
