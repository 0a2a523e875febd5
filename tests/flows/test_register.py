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


def test_a_refresh_with_a_nonce_still_young_needs_no_challenge() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    pool.run(10)
    pool.send(phone, phone.register(pool.now))
    pool.run(1)
    assert phone.registration.challenges == [1, 0]


def test_two_devices_on_one_aor_are_two_bindings_and_one_unregisters_alone() -> None:
    pool = Pool()
    desk, mobile = pool.registered("1001"), pool.registered("1001")
    home = pool.home("1001")
    assert len(home.contacts.of("1001", pool.now)) == 2
    pool.send(mobile, mobile.unregister(pool.now))
    pool.run(1)
    assert pool.home("1001") is home
    assert len(pool.balancer.table.where("1001", pool.now)[0].contacts) == 1
    pool.send(home, home.call_phone("1001", pool.now))
    pool.run(2)
    assert desk.live_calls and not mobile.history


def test_two_devices_behind_one_nat_and_one_private_address_are_called_each_for_itself() -> None:
    pool = Pool(options={"drop_path": True, "outbound_proxy": "<sip:10.0.0.1;lr>"})
    first = pool.registered("1001", address=("10.9.0.1", 40001), says=("192.168.1.2", 5060))
    second = pool.registered("1002", address=("10.9.0.1", 40002), says=("192.168.1.2", 5060))
    for user, phone in (("1001", first), ("1002", second)):
        home = pool.home(user)
        pool.send(home, home.call_phone(user, pool.now))
        pool.run(2)
        assert phone.live_calls


def test_a_wrong_password_is_refused_by_the_server_and_leaves_no_pin() -> None:
    pool = Pool()
    phone = pool.phone("1001", keep=False)
    phone.password = "wrong"
    pool.send(phone, phone.register(pool.now))
    pool.run(2)
    assert not phone.registered
    assert pool.balancer.pins("binding") == 0


def test_a_binding_ends_with_the_registration() -> None:
    pool = Pool(persistent=10)
    phone = pool.registered("1001", expires=60)
    pool.lab.remove(phone.address)
    pool.run(59)
    assert pool.balancer.pins("binding") == 1
    pool.run(60)
    assert pool.balancer.pins("binding") == 0
