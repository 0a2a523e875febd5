"""The balancer dies and comes back in the middle of everything."""

from __future__ import annotations

import pytest

from sipbalancer.demo.call import CallState
from tests.flows.pool import USERS, Pool

PROXY = "<sip:10.0.0.1;lr>"


@pytest.mark.parametrize("keep_contacts", [True, False])
@pytest.mark.parametrize("phone_hangs_up", [True, False])
def test_calls_go_on_over_a_restart_and_either_side_ends_them(phone_hangs_up: bool, keep_contacts: bool) -> None:
    pool = Pool()
    phones = [pool.registered(user) for user in list(USERS)[:10]]
    calls = [pool.calls(phone, "600", wait=0.5) for phone in phones]
    pool.run(1)
    pool.restart(keep_contacts=keep_contacts)
    assert pool.balancer.pins("call") == 10
    for phone in phones:
        pool.send(phone, phone.reinvite(pool.now))
    pool.run(1)
    assert [call.reinvites for call in calls] == [1] * 10
    for phone in phones:
        if phone_hangs_up:
            pool.hang_up(phone, wait=0.1)
        else:
            home = pool.home(phone.user)
            mine = next(call for call in home.live_calls() if call.call_id == calls[phones.index(phone)].call_id)
            pool.send(home, home.hang_up(mine, pool.now))
    pool.run(2)
    assert not any(phone.live_calls for phone in phones)
    assert not any(server.live_calls() for server in pool.servers.values())
    assert pool.balancer.pins("call") == 0


def test_refreshes_go_to_the_same_server_after_a_restart() -> None:
    pool = Pool()
    phones = [pool.registered(user) for user in list(USERS)[:10]]
    homes = [pool.home(phone.user) for phone in phones]
    pool.restart(keep_contacts=False)
    for phone in phones:
        pool.send(phone, phone.register(pool.now))
    pool.run(2)
    assert [pool.home(phone.user) for phone in phones] == homes
    assert {phone.registration.last_status for phone in phones} == {200}


@pytest.mark.parametrize("keep_contacts", [True, False])
def test_a_registered_phone_is_called_by_its_path_after_a_restart(keep_contacts: bool) -> None:
    pool = Pool()
    phone = pool.registered("1001")
    home = pool.home("1001")
    pool.restart(keep_contacts=keep_contacts)
    pool.send(home, home.call_phone("1001", pool.now))
    pool.run(2)
    assert phone.live_calls


@pytest.mark.parametrize(("keep_contacts", "reached"), [(True, True), (False, False)])
def test_without_a_path_a_call_after_a_restart_needs_the_kept_contacts(keep_contacts: bool, reached: bool) -> None:
    pool = Pool(options={"drop_path": True, "outbound_proxy": PROXY})
    phone = pool.registered("1001")
    home = pool.home("1001")
    pool.restart(keep_contacts=keep_contacts)
    pool.send(home, home.call_phone("1001", pool.now))
    pool.run(2)
    assert bool(phone.live_calls) is reached


@pytest.mark.parametrize("after", [0.0, 0.003, 0.1, 0.3])
def test_a_restart_while_a_call_is_set_up_loses_nothing(after: float) -> None:
    pool = Pool()
    phone = pool.registered("1001")
    pool.send(phone, phone.call("600", pool.now))
    pool.run(after)
    pool.restart()
    pool.run(3)
    call = phone.last_call
    assert call is not None and call.state is CallState.TALKING
    assert pool.balancer.pins("call") == 1
    pool.hang_up(phone)
    assert phone.finals["BYE", 200] == 1
    assert pool.balancer.pins("call") == 0


def test_a_restart_while_a_phone_rings_loses_neither_answer_nor_cancel() -> None:
    pool = Pool(1)
    caller, callee = pool.registered("1001"), pool.registered("1002", answer_after=5)
    call = pool.calls(caller, "1002")
    pool.restart()
    pool.run(5)
    assert call.state is CallState.TALKING and callee.live_calls
    pool.hang_up(caller)
    callee.answer_after = None
    call = pool.calls(caller, "1002")
    pool.restart()
    pool.send(caller, caller.cancel(pool.now))
    pool.run(2)
    assert call.status == 487 and not callee.live_calls
