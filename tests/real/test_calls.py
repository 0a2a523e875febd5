"""Calls of registered users through the virtual address: to the echo, to each other, given up, held, transferred."""

from __future__ import annotations

import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.call import Call
from tests.real.phone import OnCall, Phone
from tests.real.pool import Directory, Phones, Pool, SoftPhones, available, outside
from tests.real.programs import Sipp, SippRun, eventually

LONG_RING = 40_000
"""Milliseconds: longer than the 32 s that a transaction lives after its final answer."""


def called(phone: Phone) -> Call:
    return phone.calls.get(timeout=8)


def cancelled(sipp: Sipp, phones: Phones, pause: int) -> tuple[SippRun, Call]:
    """sipp lets a phone ring and gives up."""
    caller, callee = phones.together(2, on_call=OnCall.RING)
    run = sipp.start("cancel", [caller.user], calls=1, pause=pause, number=callee.user.number)
    return run, called(callee)


@pytest.fixture(scope="module")
def long_ring(pool: Pool, running: object, directory: Directory, logs: Path) -> Iterator[tuple[SippRun, Call]]:
    """Rings while the other tests of this module run; the last one looks at it."""
    folder = logs / "long-ring"
    folder.mkdir()
    available("sipp")
    phones, sipp = Phones(directory, pool.target, folder), Sipp(folder, pool.target)
    try:
        yield cancelled(sipp, phones, LONG_RING)
    finally:
        sipp.close()
        phones.close()


def test_sipp_calls_the_echo(sipp: Sipp, pool: Pool, directory: Directory, long_ring: tuple[SippRun, Call]) -> None:
    users = directory.take(6)
    sipp.run("call", users, calls=6, number="600")
    assert {pool.challenges(user.number) for user in users} == {1}
    homes = Counter(server for user in users for server in pool.logged_in(user.number))
    assert sorted(homes.values()) == [6 // len(pool.servers)] * len(pool.servers)


def test_a_hundred_calls_at_fifty_a_second(sipp: Sipp, directory: Directory) -> None:
    sipp.run("call", directory.take(100), calls=100, rate=50, number="600")


def test_the_server_hangs_up(sipp: Sipp, directory: Directory) -> None:
    sipp.run("called_off", directory.take(), number="602")


def test_a_reinvite_holds_the_call(sipp: Sipp, directory: Directory) -> None:
    sipp.run("reinvite", directory.take(), number="600")


def test_the_caller_gives_up_after_a_second(sipp: Sipp, phones: Phones) -> None:
    run, call = cancelled(sipp, phones, 1000)
    run.check()
    call.wait_end(2)
    assert [request.method for request in call.heard] == ["CANCEL"]


def test_a_refusal_reaches_the_caller(phones: Phones) -> None:
    caller, callee = phones.together(2, on_call=OnCall.BUSY)
    assert caller.call(callee.user.number).wait_final() == 486


@pytest.mark.parametrize("caller_hangs_up", [True, False], ids=["caller hangs up", "called one hangs up"])
def test_baresip_calls_baresip(soft_phones: SoftPhones, caller_hangs_up: bool) -> None:
    caller, callee = soft_phones.pair()
    caller.command("dial", callee.user.number)
    callee.wait_event("CALL_ESTABLISHED")
    caller.wait_event("CALL_ESTABLISHED")
    first, second = (caller, callee) if caller_hangs_up else (callee, caller)
    first.command("hangup")
    second.wait_event("CALL_CLOSED")


def test_media_goes_straight_to_the_server(phones: Phones, pool: Pool) -> None:
    """The SDP shows the server's outside address, and what is said there comes back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as media:
        media.bind(("127.0.2.1", 0))
        media.settimeout(0.2)
        phone = phones.phone()
        call = phone.call("600", media=media.getsockname()[1])
        call.wait_answer()
        found = re.search(r"c=IN IP4 (\S+)[\s\S]*m=audio (\d+)", call.answer_body)
        assert found
        assert found[1] in {outside(server.address) for server in pool.servers}
        assert echo(media, (found[1], int(found[2]))) > 10
        assert call.bye().status == 200


def echo(media: socket.socket, server: tuple[str, int]) -> int:
    """How many of 50 RTP packets (20 ms of silence each) come back."""
    back = 0
    for number in range(50):
        media.sendto(b"\x80\x00" + number.to_bytes(2) + (number * 160).to_bytes(4) + b"test" + b"\xff" * 160, server)
        try:
            back += media.recv(2048)[:1] == b"\x80"
        except TimeoutError:
            continue
    return back


def test_a_transfer_by_refer(phones: Phones) -> None:
    """The caller hands the called one over to a third; the two go on without him."""
    caller, callee, third = phones.together(3)
    call = caller.call(callee.user.number)
    call.wait_answer()
    other = called(callee)
    time.sleep(0.5)  # Asterisk refuses to transfer who is not yet in the bridge, and SIP does not show that
    assert call.refer(third.user.number).status == 202
    until(caller, "SIP/2.0 200 OK")
    handed_over = called(third)
    call.bye()
    assert not other.ended.is_set()
    assert other.bye().status == 200
    handed_over.wait_end()


def test_a_subscription_is_notified(phones: Phones) -> None:
    watcher, watched, caller = phones.together(3)
    answer = watcher.subscribe(watched.user.number, "dialog", "application/dialog-info+xml")
    assert answer.status == 200
    assert "terminated" in watcher.notifies.get(timeout=8).body
    call = caller.call(watched.user.number)
    call.wait_answer()
    assert "confirmed" in until(watcher, "confirmed")
    assert call.bye().status == 200
    until(watcher, "terminated")


def until(watcher: Phone, word: str) -> str:
    """The first NOTIFY body with that word."""
    while word not in (body := watcher.notifies.get(timeout=8).body):
        pass
    return body


@pytest.mark.parametrize("rport", [True, False], ids=["rport", "no rport"])
def test_a_phone_behind_nat(phones: Phones, pool: Pool, rport: bool) -> None:
    """Its Via and Contact name 192.168.1.21; nothing could be sent there."""
    if len(pool.servers) == 1:
        pytest.skip("needs the balancer")
    caller, callee = phones.together(2, private="192.168.1.21", rport=rport)
    call = caller.call(callee.user.number)
    call.wait_answer()
    other = called(callee)
    assert other.bye().status == 200
    call.wait_end()


def test_the_caller_gives_up_after_forty_seconds(long_ring: tuple[SippRun, Call]) -> None:
    run, call = long_ring
    run.check()
    eventually("the phone heard of it", call.ended.is_set, 2)
    assert [request.method for request in call.heard] == ["CANCEL"]
