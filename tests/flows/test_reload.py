"""SIGHUP in the middle: servers leave, come, and change their weight."""

from __future__ import annotations

from sipbalancer.demo.call import CallState
from tests.flows.pool import SERVERS, USERS, Pool


def test_dialogs_of_a_removed_server_go_on() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    home = pool.home("1001")
    call = pool.calls(phone, "600")
    pool.reload([address for address in SERVERS if address != home.address])
    pool.send(phone, phone.reinvite(pool.now))
    pool.run(1)
    assert call.reinvites == 1
    pool.send(home, home.hang_up(home.live_calls()[0], pool.now))
    pool.run(1)
    assert not phone.live_calls


def test_registrations_of_a_removed_server_move_at_their_next_register() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    home = pool.home("1001")
    pool.reload([address for address in SERVERS if address != home.address])
    pool.send(phone, phone.register(pool.now))
    pool.run(1)
    assert phone.registration.last_status == 200
    assert pool.home("1001") is not home


def test_a_removed_server_still_calls_the_phones_it_had() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    home = pool.home("1001")
    pool.reload([address for address in SERVERS if address != home.address])
    pool.send(home, home.call_phone("1001", pool.now))
    pool.run(2)
    assert phone.live_calls


def test_an_added_server_takes_new_registrations_once_it_is_up() -> None:
    pool = Pool(3)
    pool.reload(SERVERS[:2])
    pool.balancer.judge(*pool.servers)
    first = [pool.registered(user) for user in list(USERS)[:6]]
    assert SERVERS[2] not in {pool.home(phone.user).address for phone in first}
    pool.reload(SERVERS)
    pool.balancer.judge(*pool.servers)
    homes = [pool.home(phone.user) for phone in first]
    later = [pool.registered(user) for user in list(USERS)[6:15]]
    assert SERVERS[2] in {pool.home(phone.user).address for phone in later}
    assert [pool.home(phone.user) for phone in first] == homes


def test_weight_0_drains_and_a_weight_brings_back() -> None:
    pool = Pool(2, scheduler="wrr")
    phone = pool.registered("1001")
    home = pool.home("1001")
    call = pool.calls(phone, "600")
    pool.reload(weights={home.address: 0})
    later = [pool.registered(user) for user in list(USERS)[1:7]]
    assert home not in {pool.home(each.user) for each in later}
    pool.send(phone, phone.reinvite(pool.now))
    pool.run(1)
    assert call.reinvites == 1
    pool.send(phone, phone.register(pool.now))
    pool.run(1)
    assert pool.home("1001") is not home
    pool.reload(weights={home.address: 9})
    again = [pool.registered(user) for user in list(USERS)[7:17]]
    assert sum(pool.home(each.user) is home for each in again) >= 8


def test_a_reload_while_a_call_is_set_up_changes_nothing_for_it() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    home = pool.home("1001")
    home.hanging = True
    pool.send(phone, phone.call("600", pool.now))
    pool.run(0.05)
    pool.reload([address for address in SERVERS if address != home.address])
    home.hanging = False
    pool.run(3)
    call = phone.last_call
    assert call is not None and call.state is CallState.TALKING
