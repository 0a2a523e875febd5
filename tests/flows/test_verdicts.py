"""What each verdict lets through (design 5.1), and how soon it is reached."""

from __future__ import annotations

from sipbalancer.demo.call import CallState
from tests.flows.checks import at_most_one_call_each
from tests.flows.pool import USERS, Pool


def test_a_dead_server_is_noticed_within_a_second_and_a_half_under_load() -> None:
    pool = Pool()
    phones = [pool.registered(user) for user in list(USERS)[:9]]
    home = pool.home("1001")
    home.hanging = True
    died = pool.now
    for phone in phones:
        pool.send(phone, phone.register(pool.now))
    pool.run(3)
    assert [transition.at - died < 1.5 for transition in pool.balancer.transitions] == [True]
    assert max(phone.registration.waits[-1] for phone in phones) < 0.6


def test_an_overloaded_server_keeps_its_dialogs_and_gets_nothing_new() -> None:
    pool = Pool(interval=2.0)
    phone = pool.registered("1001")
    home = pool.home("1001")
    call = pool.calls(phone, "600")
    home.overloaded = True
    for _ in range(30):
        pool.send(phone, phone.say("INFO", pool.now))
        pool.run(0.2)
    assert pool.verdict(home) == "overloaded"
    assert phone.finals["INFO", 200] == 30
    other = pool.calls(phone, "600")
    assert other.state is CallState.TALKING
    assert [each.call_id for each in home.live_calls()] == [call.call_id]
    home.overloaded = False
    pool.run(5)
    assert pool.verdict(home) == "up"
    at_most_one_call_each(pool)


def test_what_an_overloaded_server_had_not_answered_moves_when_the_verdict_is_known() -> None:
    pool = Pool(interval=30.0)
    phone, _, _, busy = (pool.registered(user) for user in ("1001", "1002", "1003", "1004"))
    home = pool.home("1001")
    assert pool.home("1004") is home
    pool.calls(busy, "600")
    home.overloaded = True
    pool.send(phone, phone.register(pool.now))
    for _ in range(40):
        pool.send(busy, busy.say("INFO", pool.now))
        pool.run(0.05)
    assert pool.verdict(home) == "overloaded"
    assert phone.registration.succeeded == 2
    assert phone.registration.waits[-1] < 1.6
    assert pool.home("1001") is not home


def test_quiescent_pins_wait_for_their_server() -> None:
    pool = Pool(quiescent=True, interval=1.0)
    phone = pool.registered("1001", keep=False)
    home = pool.home("1001")
    home.hanging = True
    pool.run(4)
    assert pool.verdict(home) == "down"
    pool.send(phone, phone.register(pool.now))
    pool.run(5)
    assert phone.registration.succeeded == 1
    pool.send(home, home.wake(pool.now))
    pool.run(5)
    assert phone.registration.succeeded == 2
    assert pool.home("1001") is home
    assert pool.balancer.counts("chosen").get("failover", 0) == 0


def test_without_quiescent_pins_of_a_dead_server_are_remade_and_stay() -> None:
    pool = Pool(interval=1.0)
    phone = pool.registered("1001")
    home = pool.home("1001")
    pool.kill(home)
    pool.run(3)
    pool.send(phone, phone.register(pool.now))
    pool.run(1)
    second = pool.home("1001")
    assert second is not home and phone.registration.challenges[-1] == 1


def test_when_all_are_dead_phones_are_told_to_come_back_and_do_when_one_is() -> None:
    pool = Pool(interval=1.0)
    phones = [pool.registered(user) for user in list(USERS)[:20]]
    for server in pool.servers.values():
        pool.kill(server)
    pool.run(3)
    for phone in phones:
        pool.send(phone, phone.register(pool.now))
    pool.run(0.5)
    told = [packet.data for packet in pool.lab.log if packet.line.startswith("SIP/2.0 503")]
    waits = {line for data in told for line in data.split(b"\r\n") if line.startswith(b"Retry-After")}
    assert len(told) == 20 and len(waits) > 4, "spread"
    first = next(iter(pool.servers.values()))
    pool.revive(first)
    pool.run(20)
    assert all(phone.registration.last_status == 200 for phone in phones)
    assert {pool.home(phone.user).address for phone in phones} == {first.address}


def test_a_flapping_server_never_takes_a_call_down() -> None:
    pool = Pool(interval=1.0)
    phone = pool.registered("1001")
    home = pool.home("1001")
    call = pool.calls(phone, "600")
    for _ in range(5):
        home.hanging = True
        pool.run(3)
        pool.send(home, home.wake(pool.now))
        pool.run(3)
    assert call.state is CallState.TALKING
    pool.run(130)
    assert pool.verdict(home) == "up"
    pool.hang_up(phone)
    assert phone.finals["BYE", 200] == 1
