"""Dialogs whose server is dead, or only away for a moment: 481 in time, never a healthy call hung up."""

from __future__ import annotations

from typing import Any

import pytest

from sipbalancer.demo.call import CallState
from sipbalancer.demo.phone import Phone
from tests.flows.checks import at_most_one_call_each
from tests.flows.pool import Pool
from tests.flows.server import LabServer


def _in_call(**words: Any) -> tuple[Pool, Phone, LabServer]:
    pool = Pool(interval=1.0, **words)
    phone = pool.registered("1001")
    assert pool.calls(phone, "600").state is CallState.TALKING
    return pool, phone, pool.home("1001")


@pytest.mark.parametrize("kills", [True, False])
def test_a_bye_to_a_dead_server_is_answered_481_after_two_seconds(kills: bool) -> None:
    pool, phone, home = _in_call()
    if kills:
        pool.kill(home)
    home.hanging = True
    pool.run(4)
    assert pool.verdict(home) == "down"
    pool.hang_up(phone, wait=1.9)
    assert phone.finals["BYE", 481] == 0
    pool.run(0.7)
    assert phone.finals["BYE", 481] == 1
    assert pool.balancer.pins("call") == 0


def test_a_bye_sent_before_the_death_is_seen_waits_two_seconds_of_it() -> None:
    pool, phone, home = _in_call()
    home.hanging = True
    pool.send(phone, phone.hang_up(pool.now))
    while pool.verdict(home) != "down":
        assert phone.finals["BYE", 481] == 0
        pool.run(0.1)
    pool.run(1.8)
    assert phone.finals["BYE", 481] == 0
    pool.run(0.8)
    assert phone.finals["BYE", 481] == 1


def test_a_reinvite_to_a_hanging_server_is_answered_481_only_after_deaddialogs() -> None:
    pool, phone, home = _in_call()
    home.hanging = True
    pool.run(4)
    pool.send(phone, phone.reinvite(pool.now))
    pool.run(4)
    assert phone.finals["INVITE", 481] == 0
    pool.run(5)
    assert phone.finals["INVITE", 481] == 1


@pytest.mark.parametrize("method", ["INFO", "UPDATE"])
def test_other_requests_too(method: str) -> None:
    pool, phone, home = _in_call(deaddialogs=6.0)
    home.hanging = True
    pool.run(4)
    pool.send(phone, phone.say(method, pool.now))
    pool.run(1.5)
    assert phone.finals[method, 481] == 0
    pool.run(4)
    assert phone.finals[method, 481] == 1


def test_a_reinvite_to_a_port_that_refuses_needs_no_more_proof() -> None:
    pool, phone, home = _in_call()
    pool.kill(home)
    pool.run(3)
    pool.send(phone, phone.reinvite(pool.now))
    pool.run(3)
    assert phone.finals["INVITE", 481] == 1


@pytest.mark.parametrize("seconds", [1.0, 5.0, 9.0])
def test_a_short_outage_hangs_up_nothing(seconds: float) -> None:
    pool, phone, home = _in_call()
    home.hanging = True
    pool.send(phone, phone.reinvite(pool.now))
    pool.run(seconds)
    pool.send(home, home.wake(pool.now))
    pool.run(5)
    call = phone.last_call
    assert call is not None and (call.state, call.reinvites) == (CallState.TALKING, 1)
    pool.hang_up(phone)
    assert phone.finals["BYE", 200] == 1
    at_most_one_call_each(pool)


def test_a_server_behind_a_firewall_that_asks_by_itself_is_not_dead_for_its_calls() -> None:
    pool, phone, home = _in_call()
    leg = home.live_calls()[0]
    pool.lab.lose = lambda packet: packet.destination == home.address
    pool.run(4)
    assert pool.verdict(home) == "down"
    pool.send(phone, phone.reinvite(pool.now))
    pool.run(4)
    home.in_dialog(leg, "INFO", pool.now)
    pool.send(home, home.outgoing())
    pool.run(0.1)
    home.hanging = True
    pool.run(6)
    assert phone.finals["INVITE", 481] == 0
    pool.run(5)
    assert phone.finals["INVITE", 481] == 1


def test_a_reinvite_of_a_server_that_dies_does_not_end_the_phones_call() -> None:
    pool, phone, home = _in_call()
    leg = home.live_calls()[0]
    pool.lab.lose = lambda packet: packet.source == phone.address
    home.in_dialog(leg, "INVITE", pool.now)
    pool.send(home, home.outgoing())
    pool.run(0.1)
    home.hanging = True
    pool.lab.lose = lambda packet: False
    pool.run(5)
    pool.send(home, home.wake(pool.now))
    pool.run(3)
    assert phone.live_calls


def test_a_bye_that_nobody_answers_ends_the_call_pin() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    home = pool.home("1001")
    pool.send(home, home.call_phone("1001", pool.now))
    pool.run(2)
    assert pool.balancer.pins("call") == 1
    pool.lab.lose = lambda packet: packet.destination == phone.address
    pool.send(home, home.hang_up(home.live_calls()[0], pool.now))
    pool.run(34)
    assert pool.balancer.pins("call") == 0


def test_calls_of_a_dead_server_are_not_counted_once_their_phones_hung_up() -> None:
    pool = Pool(interval=1.0)
    phones = [pool.registered(user) for user in ("1001", "1002", "1003", "1004")]
    for phone in phones:
        pool.calls(phone, "600")
    for server in pool.servers.values():
        pool.kill(server)
    pool.run(5)
    for phone in phones:
        pool.send(phone, phone.hang_up(pool.now))
    pool.run(3)
    assert [phone.finals["BYE", 481] for phone in phones] == [1] * 4
    assert pool.balancer.pins("call") == 0
