"""Calls through the balancer, both ways."""

from __future__ import annotations

import pytest

from sipbalancer.demo.call import CallState, Ending
from tests.flows.checks import at_most_one_call_each
from tests.flows.pool import USERS, Pool


def test_a_call_to_echo_is_answered_and_hung_up_by_the_phone() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    assert pool.calls(phone, "600").state is CallState.TALKING
    assert pool.balancer.pins("call") == 1
    pool.hang_up(phone)
    assert not phone.live_calls
    assert pool.balancer.pins("call") == 0


def test_the_server_hangs_up() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    call = pool.calls(phone, "602", wait=7)
    assert call.ending is Ending.PEER_HUNG_UP
    assert pool.balancer.pins("call") == 0


def test_a_server_calls_a_phone_by_its_path() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    home = pool.home("1001")
    pool.send(home, home.call_phone("1001", pool.now))
    pool.run(2)
    assert phone.live_calls
    pool.send(home, home.hang_up(home.live_calls()[0], pool.now))
    pool.run(2)
    assert not phone.live_calls
    assert pool.balancer.counts("chosen")["client_token"] >= 3


@pytest.mark.parametrize("caller_hangs_up", [True, False])
def test_two_phones_of_one_server_talk_and_either_hangs_up(caller_hangs_up: bool) -> None:
    pool = Pool(1)
    caller, callee = pool.registered("1001"), pool.registered("1002")
    call = pool.calls(caller, "1002")
    assert call.state is CallState.TALKING and callee.live_calls
    assert pool.balancer.pins("call") == 2
    pool.hang_up(caller if caller_hangs_up else callee)
    assert not caller.live_calls and not callee.live_calls
    assert (caller.finals["BYE", 200], callee.finals["BYE", 200]) == ((1, 0) if caller_hangs_up else (0, 1))
    assert pool.balancer.pins("call") == 0


@pytest.mark.parametrize("seconds", [1, 40, 150, 400])
def test_a_call_is_cancelled_after_ringing_so_long(seconds: float) -> None:
    pool = Pool(1)
    caller, callee = pool.registered("1001"), pool.registered("1002", answer_after=None)
    call = pool.calls(caller, "1002", wait=seconds)
    assert (call.state, callee.live_calls != []) == (CallState.RINGING, True)
    pool.send(caller, caller.cancel(pool.now))
    pool.run(1)
    assert (call.status, call.ending) == (487, Ending.CANCELLED)
    assert not callee.live_calls
    assert caller.finals["CANCEL", 200] == 1


@pytest.mark.parametrize("seconds", [150, 400])
def test_a_call_is_answered_after_ringing_so_long(seconds: float) -> None:
    pool = Pool(1)
    caller = pool.registered("1001")
    pool.registered("1002", answer_after=seconds)
    call = pool.calls(caller, "1002", wait=seconds + 2)
    assert call.state is CallState.TALKING
    pool.hang_up(caller)
    assert caller.finals["BYE", 200] == 1


def test_a_busy_phone_says_so_to_its_caller() -> None:
    pool = Pool(1)
    caller, callee = pool.registered("1001"), pool.registered("1002", answer_after=None)
    call = pool.calls(caller, "1002")
    pool.send(callee, callee.reject(pool.now))
    pool.run(1)
    assert (call.status, call.ending) == (486, Ending.REFUSED)
    assert pool.balancer.pins("call") == 0


def test_a_cancel_that_crosses_the_200_ends_the_call_by_bye() -> None:
    pool = Pool(1)
    caller, callee = pool.registered("1001"), pool.registered("1002", answer_after=1.0)
    pool.send(caller, caller.call("1002", pool.now))
    pool.run(1.005)
    call = caller.last_call
    while call is not None and not any(each.status == 200 for each in callee.history):
        pool.run(0.001)
    pool.send(caller, caller.cancel(pool.now))
    pool.run(3)
    assert call is not None and not call.live
    at_most_one_call_each(pool)
    assert pool.balancer.pins("call") == 0


@pytest.mark.parametrize("seconds", [1, 45])
def test_a_reinvite_of_either_side_reaches_the_other(seconds: float) -> None:
    pool = Pool(1)
    caller, callee = pool.registered("1001"), pool.registered("1002")
    call = pool.calls(caller, "1002", wait=seconds)
    pool.send(caller, caller.reinvite(pool.now))
    pool.run(1)
    pool.send(callee, callee.reinvite(pool.now))
    pool.run(1)
    assert (call.reinvites, callee.history[-1].reinvites) == (1, 1)
    home = next(iter(pool.servers.values()))
    for leg in home.live_calls():
        home.in_dialog(leg, "INVITE", pool.now)
        pool.send(home, home.outgoing())
    pool.run(1)
    assert (call.reinvites, callee.history[-1].reinvites) == (2, 2)
    assert home.strays == 0


def test_refer_and_info_inside_a_call() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    pool.calls(phone, "600")
    pool.send(phone, phone.say("REFER", pool.now, ("Refer-To", "<sip:602@10.0.0.1>")))
    pool.send(phone, phone.say("INFO", pool.now))
    pool.run(1)
    assert (phone.finals["REFER", 200], phone.finals["INFO", 200]) == (1, 1)


def test_a_subscription_is_notified_and_refreshed() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    pool.send(phone, phone.ask_out("SUBSCRIBE", "600", pool.now, ("Event", "presence"), ("Expires", "600")))
    pool.run(1)
    assert phone.finals["SUBSCRIBE", 200] == 1
    assert phone.heard["NOTIFY"] == 1
    assert pool.home("1001").finals["NOTIFY", 200] == 1


def test_a_call_and_a_subscription_go_where_the_phone_is_registered() -> None:
    pool = Pool()
    for user in list(USERS)[:9]:
        phone = pool.registered(user)
        call = pool.calls(phone, "600", wait=1)
        assert call.state is CallState.TALKING
        assert any(each.call_id == call.call_id for each in pool.home(user).live_calls())


def test_many_calls_at_once_are_all_answered_and_all_ended() -> None:
    pool = Pool()
    phones = [pool.registered(user) for user in list(USERS)[:30]]
    for phone in phones:
        for _ in range(3):
            pool.send(phone, phone.call("600", pool.now))
            pool.run(0.01)
    pool.run(2)
    assert sum(len(phone.live_calls) for phone in phones) == 90
    assert pool.balancer.pins("call") == 90
    for phone in phones:
        pool.send(phone, phone.drop_calls(pool.now))
    pool.run(3)
    assert sum(phone.finals["BYE", 200] for phone in phones) == 90
    assert pool.balancer.pins("call") == 0
    at_most_one_call_each(pool)


def test_a_200_that_comes_again_after_the_bye_makes_no_call_of_it() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    pool.calls(phone, "600")
    late = next(packet for packet in pool.lab.log if " 200 " in packet.line and b" INVITE\r\n" in packet.data)
    pool.hang_up(phone)
    pool.lab.send(late.source, [(late.data, late.destination)])
    pool.run(1)
    assert pool.balancer.pins("call") == 0
