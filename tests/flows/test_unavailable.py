"""503: of one call, or of a whole server (design 5.3 d)."""

from __future__ import annotations

import pytest

from sipbalancer.demo.call import CallState
from tests.flows.checks import at_most_one_call_each
from tests.flows.pool import USERS, Pool


@pytest.mark.parametrize("progress", [False, True])
def test_a_503_that_is_one_calls_result_is_forwarded_and_changes_nothing(progress: bool) -> None:
    pool = Pool()
    for server in pool.servers.values():
        server.quick_reply, server.progress = ("699", 503), progress
    phones = [pool.registered(user) for user in list(USERS)[:6]]
    for phone in phones:
        call = pool.calls(phone, "699", wait=1)
        assert (call.state, call.status) == (CallState.ENDED, 503)
    assert pool.verdicts() == []
    assert pool.balancer.counts("chosen").get("failover", 0) == 0
    asked = {
        packet.destination for packet in pool.lab.log if packet.line.startswith("INVITE") and packet.source[1] == 5060
    }
    assert len(asked) == 4, "the balancer and each phone's own server"
    assert pool.calls(phones[0], "600").state is CallState.TALKING


def test_a_503_of_one_call_is_said_once_and_acknowledged_once_it_is_settled() -> None:
    pool = Pool()
    for server in pool.servers.values():
        server.quick_reply = ("699", 503)
    phone = pool.registered("1001")
    pool.calls(phone, "699", wait=10)
    home = pool.home("1001")
    said = [packet for packet in pool.lab.log if packet.source == home.address and " 503 " in packet.line]
    assert len(said) <= 2


def test_requests_move_from_a_server_that_shuts_down() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    home = pool.home("1001")
    call = pool.calls(phone, "600")
    home.shutting_down = True
    second = pool.calls(phone, "600")
    assert second.state is CallState.TALKING and call.state is CallState.TALKING
    assert pool.verdict(home) == "draining"
    assert [each.call_id for each in home.live_calls()] == [call.call_id]
    pool.send(phone, phone.drop_calls(pool.now))
    pool.run(2)
    assert phone.finals["BYE", 200] == 2
    at_most_one_call_each(pool)


def test_a_register_answered_200_is_no_evidence_that_a_server_does_not_shut_down() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    home = pool.home("1001")
    home.shutting_down = True
    pool.send(phone, phone.register(pool.now))
    pool.run(0.5)
    assert phone.registration.last_status == 200
    pool.run(12)  # its probe says 503
    assert pool.verdict(home) == "draining"
    pool.send(phone, phone.register(pool.now))
    pool.run(1)
    assert phone.registration.last_status == 200
    assert pool.verdict(home) == "draining"
    assert pool.home("1001") is not home


def test_the_last_server_that_shuts_down_says_503_itself() -> None:
    pool = Pool(1)
    phone = pool.registered("1001")
    pool.home("1001").shutting_down = True
    assert pool.calls(phone, "600").status == 503


def test_a_stopped_server_starts_again_and_gets_its_share() -> None:
    pool = Pool(2)
    home = pool.servers["10.0.0.11:5060"]
    home.shutting_down = True
    pool.run(12)
    assert pool.verdict(home) == "draining"
    pool.kill(home)
    pool.run(12)
    assert pool.verdict(home) == "down"
    pool.revive(home)
    pool.run(12)
    assert pool.verdicts() == [("10.0.0.11:5060", new) for new in ("draining", "down", "up")]
    phones = [pool.registered(user) for user in list(USERS)[:6]]
    assert sum(pool.home(phone.user).address == home.address for phone in phones) == 3


def test_a_pool_whose_only_living_server_is_drained_goes_on_working_there() -> None:
    """Somebody drained one for tomorrow's upgrade; at 3 a.m. the other one dies."""
    pool = Pool(2)
    phones = [pool.registered(user) for user in list(USERS)[:4]]
    kept, dead = pool.servers.values()
    pool.balancer.table.drain(kept.address[0], pool.now)
    pool.kill(dead)
    pool.run(15)
    for phone in phones:
        pool.send(phone, phone.register(pool.now))
        assert pool.calls(phone, "600").state is CallState.TALKING
        assert phone.registration.last_status == 200
        assert pool.home(phone.user) is kept
    newcomer = pool.registered("1030")
    assert pool.calls(newcomer, "600").state is CallState.TALKING
    pool.revive(dead)
    pool.run(15)
    pool.send(newcomer, newcomer.register(pool.now))
    pool.run(2)
    assert pool.home("1030").address == dead.address
