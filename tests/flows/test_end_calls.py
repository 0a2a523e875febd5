"""`endcalls = yes`: the phones of a dead server's calls are told."""

from __future__ import annotations

import pytest

from sipbalancer.demo.call import CallState, Ending
from sipbalancer.demo.message import parse
from sipbalancer.demo.registrar import Contacts
from tests.flows.balancer import VIP
from tests.flows.pool import SERVERS, Pool


def _byes(pool: Pool) -> list[dict[str, str]]:
    """The BYEs the balancer sent, as headers."""
    found = [parse(packet.data) for packet in pool.lab.log if packet.source == VIP and packet.line.startswith("BYE")]
    return [dict(message.headers) for message in found if message is not None]


@pytest.mark.parametrize("kills", [True, False])
def test_a_call_of_a_dead_server_is_ended_by_a_bye_with_a_reason(kills: bool) -> None:
    pool = Pool(interval=1.0, endcalls=True)
    phone = pool.registered("1001")
    call = pool.calls(phone, "600")
    home = pool.home("1001")
    home.hanging = True
    if kills:
        pool.kill(home)
    pool.run(4)
    assert (call.state is CallState.ENDED) is kills, "a hang needs deaddialogs"
    pool.run(10)
    assert (call.state, call.ending) == (CallState.ENDED, Ending.PEER_HUNG_UP)
    assert pool.balancer.pins("call") == 0
    assert [headers["Reason"] for headers in _byes(pool)] == ['SIP;cause=503;text="server down"']
    assert any("1 calls are ended by BYE" in text for text in pool.balancer.table.events())


def test_without_the_word_nothing_is_ended() -> None:
    pool = Pool(interval=1.0)
    phone = pool.registered("1001")
    call = pool.calls(phone, "600")
    pool.kill(pool.home("1001"))
    pool.run(30)
    assert call.state is CallState.TALKING


def test_both_phones_of_a_call_are_told_also_the_called_one() -> None:
    pool = Pool(1, interval=1.0, endcalls=True)
    caller, callee = (
        pool.registered("1001"),
        pool.registered("1002", address=("10.9.0.1", 4001), says=("192.168.1.2", 5060)),
    )
    call = pool.calls(caller, "1002")
    home = next(iter(pool.servers.values()))
    for leg in home.live_calls():
        home.in_dialog(leg, "INFO", pool.now)
    pool.send(home, home.outgoing())
    pool.run(1)
    pool.kill(home)
    pool.run(5)
    assert not call.live and not callee.live_calls
    assert sorted(int(headers["CSeq"].split()[0]) for headers in _byes(pool)) == [2, 3], (
        "after the INFO, after that and the INVITE"
    )


def test_a_phone_that_moved_is_told_where_it_is() -> None:
    pool = Pool(interval=1.0, endcalls=True)
    phone = pool.registered("1001", address=("10.9.0.1", 4001), says=("192.168.1.2", 5060))
    call = pool.calls(phone, "600")
    pool.move(phone, ("10.9.0.1", 4002))
    pool.send(phone, phone.say("INFO", pool.now))
    pool.run(1)
    pool.kill(pool.home("1001"))
    pool.run(5)
    assert not call.live


def test_a_bye_that_is_lost_is_said_again() -> None:
    pool = Pool(interval=1.0, endcalls=True)
    phone = pool.registered("1001")
    call = pool.calls(phone, "600")
    pool.kill(pool.home("1001"))
    pool.lab.lose = lambda packet: packet.destination == phone.address
    pool.run(4)
    pool.lab.lose = lambda packet: False
    pool.run(4)
    assert not call.live
    said = len(_byes(pool))
    pool.run(40)
    assert len(_byes(pool)) == said


def test_a_short_outage_ends_nothing() -> None:
    pool = Pool(interval=1.0, endcalls=True)
    phone = pool.registered("1001")
    call = pool.calls(phone, "600")
    home = pool.home("1001")
    home.hanging = True
    pool.run(9)
    assert pool.verdict(home) == "down"
    pool.send(home, home.wake(pool.now))
    pool.run(20)
    assert call.state is CallState.TALKING


def test_calls_from_before_a_restart_are_left_alone_and_that_is_said() -> None:
    pool = Pool(interval=1.0, endcalls=True)
    phone = pool.registered("1001")
    call = pool.calls(phone, "600")
    home = pool.home("1001")
    pool.restart()
    pool.kill(home)
    pool.run(20)
    assert call.state is CallState.TALKING and _byes(pool) == []
    assert any("1 more are known by their pin alone" in text for text in pool.balancer.table.events())


@pytest.mark.parametrize(("after", "kills"), [(2, True), (4, False), (15, False)])
def test_calls_of_a_dead_server_that_is_taken_out_of_the_file_are_ended_too(after: int, kills: bool) -> None:
    pool = Pool(interval=1.0, endcalls=True)
    phone = pool.registered("1001")
    call = pool.calls(phone, "600")
    home = pool.home("1001")
    home.hanging = True
    if kills:
        pool.kill(home)
    pool.run(after)
    pool.reload([address for address in SERVERS if address != home.address])
    pool.run(20)
    assert (call.state, call.ending) == (CallState.ENDED, Ending.PEER_HUNG_UP)
    assert len(_byes(pool)) == 1


def test_a_server_that_is_taken_out_of_the_file_and_was_only_away_keeps_its_calls() -> None:
    pool = Pool(interval=1.0, endcalls=True)
    phone = pool.registered("1001")
    call = pool.calls(phone, "600")
    home = pool.home("1001")
    home.hanging = True
    pool.run(4)
    assert pool.verdict(home) == "down"
    pool.reload([address for address in SERVERS if address != home.address])
    pool.run(2)
    pool.send(home, home.wake(pool.now))
    pool.run(30)
    assert call.state is CallState.TALKING and _byes(pool) == []


def test_a_call_that_was_hung_up_is_forgotten() -> None:
    pool = Pool(endcalls=True)
    phone = pool.registered("1001")
    pool.calls(phone, "600")
    assert len(pool.balancer.table.state.dialogs.held) == 1
    pool.hang_up(phone)
    assert not pool.balancer.table.state.dialogs.held


def test_an_early_dialog_is_ended_by_a_final_and_a_cancel() -> None:
    pool = Pool(endcalls=True, interval=1.0, options={"contacts": Contacts()})
    caller, callee = pool.registered("1001"), pool.registered("1002", answer_after=None)
    call = pool.calls(caller, "1002")
    pool.kill(pool.home("1001"))
    pool.run(4)
    assert call.status == 503 and not callee.live_calls
