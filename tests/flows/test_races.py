"""What crosses what when servers die, wake up, are drained: each race of design 5.3 once."""

from __future__ import annotations

import pytest

from sipbalancer.demo.call import Call, CallState, Ending
from sipbalancer.demo.phone import Phone
from sipbalancer.demo.registrar import Contacts
from sipbalancer.director.verdict import ProbeResult
from tests.flows.checks import at_most_one_call_each
from tests.flows.pool import SERVERS, Pool
from tests.flows.server import LabServer

REFUSED = ProbeResult.REFUSED


def _stage(**options: object) -> tuple[Pool, Phone, LabServer]:
    """A phone, and the server it is registered at."""
    pool = Pool(options=options)
    phone = pool.registered("1001")
    for server in pool.servers.values():
        server.trusting = True
    return pool, phone, pool.home("1001")


def _begin(pool: Pool, phone: Phone, wait: float) -> Call:
    return pool.calls(phone, "600", wait=wait)


# CANCEL crossing failover.


def test_a_cancel_follows_the_invite_to_the_server_it_moved_to() -> None:
    pool, phone, home = _stage(answer_after=30.0)
    home.hanging = True
    call = _begin(pool, phone, wait=1.0)
    assert call.state is CallState.RINGING
    pool.send(phone, phone.cancel(pool.now))
    pool.send(home, home.wake(pool.now))
    pool.run(40)
    assert (call.status, call.ending) == (487, Ending.CANCELLED)
    assert phone.finals["CANCEL", 200] == 1
    at_most_one_call_each(pool)


@pytest.mark.parametrize("kills", [True, False])
def test_a_cancel_of_an_invite_that_only_a_dead_server_holds_is_answered_by_us(kills: bool) -> None:
    pool, phone, home = _stage()
    home.silent_after = 100
    call = _begin(pool, phone, wait=0.03)
    assert call.heard == 100
    if kills:
        pool.kill(home)
    pool.send(phone, phone.cancel(pool.now))
    pool.run(3)
    assert (call.status, phone.finals["CANCEL", 200]) == (487, 1)
    assert pool.balancer.counts("chosen").get("failover", 0) == 0


def test_a_cancel_of_what_we_answered_ourselves_is_answered_200() -> None:
    pool, phone, home = _stage(answer_after=30.0)
    home.silent_after = 180
    call = _begin(pool, phone, wait=0.3)
    assert call.state is CallState.RINGING
    pool.kill(home)
    pool.lab.lose = lambda packet: packet.destination == phone.address and packet.data.startswith(b"SIP/2.0 503")
    pool.balancer.judge(*[key for key, server in pool.servers.items() if server is home], result=REFUSED)
    pool.run(0.2)
    pool.send(phone, phone.cancel(pool.now))
    pool.run(1)
    assert phone.finals["CANCEL", 200] == 1


# Answers crossing failover.


@pytest.mark.parametrize("other_answers_after", [0.01, 2.0])
def test_the_200_of_the_server_that_was_left_never_reaches_the_phone(other_answers_after: float) -> None:
    pool, phone, home = _stage(answer_after=0.0)
    for server in pool.servers.values():
        server.answer_after = other_answers_after if server is not home else 0.0
    home.hanging = True
    call = _begin(pool, phone, wait=0.6)
    assert pool.balancer.counts("chosen")["failover"] >= 1
    pool.send(home, home.wake(pool.now))
    pool.run(40)
    assert call.state is CallState.TALKING
    assert not home.live_calls()
    at_most_one_call_each(pool)


def test_both_servers_answer_at_the_same_moment_and_one_call_is_left() -> None:
    pool, phone, home = _stage(answer_after=0.5)
    home.hanging = True
    pool.send(phone, phone.call("600", pool.now))
    while not pool.balancer.counts("chosen").get("failover"):
        pool.run(0.01)
    pool.send(home, home.wake(pool.now))
    pool.run(10)
    assert len(phone.live_calls) == 1
    at_most_one_call_each(pool)
    pool.hang_up(phone, wait=5)
    assert not any(server.live_calls() for server in pool.servers.values())


def test_a_486_of_the_server_that_was_left_is_acknowledged_and_kept_from_the_phone() -> None:
    pool, phone, home = _stage()
    home.quick_reply = ("600", 486)
    home.hanging = True
    call = _begin(pool, phone, wait=0.6)
    pool.send(home, home.wake(pool.now))
    woken = pool.now
    pool.run(40)
    assert call.state is CallState.TALKING
    assert any(" 486 " in packet.line for packet in pool.lab.log)
    again = [packet for packet in pool.lab.log if " 486 " in packet.line and packet.sent > woken]
    assert not again, "not acknowledged: it says so again"


# Death, one message after the other.


def test_a_server_that_dies_before_100_costs_half_a_second() -> None:
    pool, phone, home = _stage()
    pool.kill(home)
    assert _begin(pool, phone, wait=0.8).state is CallState.TALKING


@pytest.mark.parametrize("kills", [True, False])
def test_a_server_that_dies_after_100_alone_loses_nothing(kills: bool) -> None:
    pool, phone, home = _stage()
    home.silent_after = 100
    call = _begin(pool, phone, wait=0.03)
    if kills:
        pool.kill(home)
    pool.run(14)  # nothing else asks the server: its next probe finds out
    assert call.state is CallState.TALKING
    at_most_one_call_each(pool)


def test_a_server_that_dies_after_180_gives_its_caller_503_and_ends_the_ringing() -> None:
    pool = Pool(options={"contacts": Contacts()})
    caller, callee = pool.registered("1001"), pool.registered("1002", answer_after=None)
    home = pool.home("1001")
    call = pool.calls(caller, "1002", wait=1.0)
    assert call.state is CallState.RINGING and callee.live_calls
    pool.kill(home)
    pool.run(12)
    assert (call.status, call.ending) == (503, Ending.REFUSED)
    assert not callee.live_calls
    invited = callee.history[-1].invited
    assert callee.history[-1].status == 487 and invited is not None and invited.acknowledged
    assert pool.balancer.pins("call") == 0


def test_a_callee_that_answers_a_server_its_caller_has_left_is_hung_up_and_called_anew() -> None:
    pool = Pool(options={"contacts": Contacts()})
    caller, callee = pool.registered("1001"), pool.registered("1002", answer_after=None)
    home = pool.home("1001")
    pool.lab.lose = lambda packet: packet.source == callee.address
    pool.send(caller, caller.call("1002", pool.now))
    pool.run(0.1)
    pool.kill(home)
    pool.balancer.judge(*[key for key, server in pool.servers.items() if server is home], result=REFUSED)
    pool.lab.lose = lambda packet: False
    pool.send(callee, callee.answer_now(pool.now))
    pool.run(10)
    assert [call.state for call in callee.history] == [CallState.ENDED, CallState.RINGING]
    at_most_one_call_each(pool)


def test_a_callee_that_answers_a_dead_server_is_hung_up() -> None:
    pool = Pool(options={"contacts": Contacts()})
    caller, callee = pool.registered("1001"), pool.registered("1002", answer_after=None)
    home = pool.home("1001")
    call = pool.calls(caller, "1002", wait=1.0)
    pool.kill(home)
    pool.send(callee, callee.answer_now(pool.now))  # crosses the verdict
    pool.run(0.01)
    pool.run(45)
    assert not callee.live_calls and not call.live


def test_a_server_that_dies_between_200_and_ack_leaves_a_call_that_the_phone_can_end() -> None:
    pool, phone, home = _stage()
    home.silent_after = 200
    call = _begin(pool, phone, wait=1.0)
    assert call.state is CallState.TALKING
    pool.kill(home)
    pool.run(15)
    pool.hang_up(phone, wait=3)
    assert (call.bye, pool.balancer.pins("call")) == (481, 0)


def test_a_death_after_150_seconds_of_ringing_is_told_to_both() -> None:
    pool = Pool(options={"contacts": Contacts()})
    caller, callee = pool.registered("1001"), pool.registered("1002", answer_after=None)
    home = pool.home("1001")
    call = pool.calls(caller, "1002", wait=150.0)
    pool.kill(home)
    pool.run(12)
    assert call.status == 503 and not callee.live_calls


# Drain and reload in the middle.


def test_an_invite_challenged_before_its_server_is_drained_is_answered_there() -> None:
    pool, phone, home = _stage()
    pool.lab.lose = lambda packet: packet.data.startswith(b"ACK") or b" 401 " in packet.data[:20]
    pool.send(phone, phone.call("600", pool.now))
    pool.run(0.1)
    pool.balancer.table.drain(home.address[0], pool.now)
    pool.lab.lose = lambda packet: False
    pool.run(3)
    call = phone.last_call
    assert call is not None and call.state is CallState.TALKING
    assert [each.call_id for each in home.live_calls()] == [call.call_id]


def test_a_register_challenged_before_its_server_is_drained_is_answered_there() -> None:
    pool = Pool()
    phone = pool.phone("1001")
    pool.send(phone, phone.register(pool.now))
    pool.run(0.0035)  # the 401 is on its way to the phone
    asked = [
        packet.destination for packet in pool.lab.log if packet.line.startswith("REGISTER") and packet.source[1] == 5060
    ]
    server = asked[-1]
    assert server in SERVERS
    pool.balancer.table.drain(server[0], pool.now)
    pool.run(1)
    assert phone.registration.challenges == [1]
    assert pool.home("1001").address == server


def test_a_drain_while_it_rings_cuts_nothing() -> None:
    pool = Pool(options={"contacts": Contacts()})
    caller, callee = pool.registered("1001"), pool.registered("1002", answer_after=5)
    home = pool.home("1001")
    call = pool.calls(caller, "1002", wait=1.0)
    pool.balancer.table.drain(home.address[0], pool.now)
    pool.run(6)
    assert call.state is CallState.TALKING and callee.live_calls
    pool.hang_up(callee)
    assert not call.live


def test_a_copy_after_a_reload_goes_where_the_first_went() -> None:
    pool, phone, home = _stage(answer_after=5.0)
    pool.lab.lose = lambda packet: packet.source == home.address
    pool.send(phone, phone.call("600", pool.now))
    pool.run(0.08)
    pool.reload([address for address in SERVERS if address != home.address])
    pool.lab.lose = lambda packet: False
    pool.run(10)
    call = phone.last_call
    assert call is not None and call.state is CallState.TALKING
    assert home.live_calls()
