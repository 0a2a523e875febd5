"""Requests move when a server dies, and not otherwise (design 5.3)."""

from __future__ import annotations

from sipbalancer.demo.call import CallState
from tests.flows.pool import Pool


def test_a_hanging_server_costs_a_registration_under_half_a_second() -> None:
    pool = Pool()
    hanging = pool.servers["10.0.0.11:5060"]
    hanging.hanging = True
    phones = [pool.registered(user) for user in ("1001", "1002", "1003", "1004", "1005", "1006")]
    assert max(phone.registration.waits[-1] for phone in phones) < 0.5
    assert {pool.home(phone.user).address[0] for phone in phones} == {"10.0.0.12", "10.0.0.13"}
    assert [str(transition.new) for transition in pool.balancer.transitions] == ["down"]


def test_a_killed_server_is_noticed_by_its_refusal() -> None:
    pool = Pool()
    pool.lab.remove(("10.0.0.12", 5060))
    phones = [pool.registered(user) for user in ("1001", "1002", "1003", "1004")]
    assert max(phone.registration.waits[-1] for phone in phones) < 0.5
    assert [transition.reason for transition in pool.balancer.transitions] == ["port refused"]


def test_a_call_to_a_hanging_server_is_answered_by_another() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    pool.home("1001").hanging = True
    pool.lab.send(phone.address, phone.call("600", pool.lab.now))
    pool.lab.run(3)
    assert phone.last_call is not None
    assert phone.last_call.state is CallState.TALKING


def test_a_server_that_wakes_up_after_its_call_moved_is_told_to_stop() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    home = pool.home("1001")
    home.hanging = True
    inbox: list[tuple[bytes, tuple[str, int]]] = []
    receive = home.receive_datagram
    home.receive_datagram = lambda data, source, now: inbox.append((data, source)) or []  # type: ignore[method-assign,func-returns-value]
    pool.lab.send(phone.address, phone.call("600", pool.lab.now))
    pool.lab.run(2)
    assert phone.last_call is not None and phone.last_call.state is CallState.TALKING
    home.hanging = False
    home.receive_datagram = receive  # type: ignore[method-assign]
    for data, source in inbox:
        pool.lab.send(home.address, home.receive_datagram(data, source, pool.lab.now))
    pool.lab.run(20)
    assert home.live_calls() == []
    assert phone.last_call.state is CallState.TALKING
