"""2xx and ACK on a server hop that loses them: the call must live (the server gives it up after 32 s without ACK)."""

from __future__ import annotations

from random import Random

import pytest

from sipbalancer.demo.call import Call, CallState
from sipbalancer.demo.lab import Packet
from sipbalancer.demo.phone import Phone
from tests.flows.balancer import VIP
from tests.flows.checks import at_most_one_call_each
from tests.flows.pool import SERVERS, USERS, Pool

TIMER_H = 32


def is_200(packet: Packet) -> bool:
    return packet.data.startswith(b"SIP/2.0 200 ") and b" INVITE\r\n" in packet.data


def is_ack(packet: Packet) -> bool:
    return packet.data.startswith(b"ACK ")


def registered(pool: Pool, user: str = "1001") -> Phone:
    """From then on nobody is asked for a password: every ACK is one of a 2xx."""
    for server in pool.servers.values():
        server.trusting = False
    phone = pool.registered(user)
    for server in pool.servers.values():
        server.trusting = True
    return phone


class FirstAckOfEach:
    """Loses one ACK on the server hop, the first, for each 200 that a server or a phone says."""

    def __init__(self) -> None:
        self.armed = False
        self.lost = 0

    def __call__(self, packet: Packet) -> bool:
        if is_200(packet) and packet.source != VIP:
            self.armed = True
        on_server_hop = packet.source in SERVERS or packet.destination in SERVERS
        if not (self.armed and is_ack(packet) and on_server_hop):
            return False
        self.armed = False
        self.lost += 1
        return True


def lives(pool: Pool, phone: Phone) -> Call:
    """After all timers both ends still talk; then the phone hangs up and is answered."""
    pool.run(TIMER_H + 8)
    call = phone.last_call
    assert call is not None and call.state is CallState.TALKING
    assert sum(len(server.live_calls()) for server in pool.servers.values()) == 1
    at_most_one_call_each(pool)
    return call


def test_a_call_whose_ack_is_lost_once_for_each_200() -> None:
    pool = Pool()
    phone = registered(pool)
    pool.lab.lose = losing = FirstAckOfEach()
    pool.calls(phone, "600")
    lives(pool, phone)
    said = [packet for packet in pool.lab.log if packet.source in SERVERS and is_200(packet)]
    assert losing.lost == len(said) == 2, "the second 200 is answered by two ACKs"
    acks = {packet.data for packet in pool.lab.log if packet.destination in SERVERS and is_ack(packet)}
    assert len(acks) == 1, "copies are the same bytes"
    pool.hang_up(phone)
    assert phone.finals["BYE", 200] == 1


def test_a_servers_call_whose_ack_is_lost_once_for_each_200() -> None:
    pool = Pool()
    phone = registered(pool)
    home = pool.home("1001")
    pool.lab.lose = losing = FirstAckOfEach()
    pool.send(home, home.call_phone("1001", pool.now))
    pool.run(2)
    lives(pool, phone)
    assert losing.lost <= 3
    pool.hang_up(phone)
    assert phone.finals["BYE", 200] == 1


def test_a_phone_that_is_heard_once_and_then_no_more_has_acknowledged_for_good() -> None:
    """The phone's hop loses what it says after its second ACK, the server's hop the ACKs until then."""
    pool = Pool()
    phone = registered(pool)
    heard = 0

    def lose(packet: Packet) -> bool:
        nonlocal heard
        if packet.source == phone.address and is_ack(packet):
            heard += 1
            return heard > 2
        return packet.destination in SERVERS and is_ack(packet) and heard < 3

    pool.lab.lose = lose
    pool.calls(phone, "600")
    lives(pool, phone)


@pytest.mark.parametrize("outward", [False, True])
def test_at_half_of_them_lost_calls_live(outward: bool) -> None:
    """One ACK for each 200 leaves 0.75 ** 11 of the calls without any: 4 of 100."""
    pool = Pool(1)
    phones = [registered(pool, user) for user in list(USERS)[:25]]
    home = pool.home("1001")
    random = Random(1)

    def lose(packet: Packet) -> bool:
        mine = packet.source == home.address or packet.destination == home.address
        return mine and (is_200(packet) or is_ack(packet)) and random.random() < 0.5

    pool.lab.lose = lose
    for _ in range(4):
        for phone in phones:
            if outward:
                pool.send(home, home.call_phone(phone.user, pool.now))
            else:
                pool.send(phone, phone.call("600", pool.now))
        pool.run(TIMER_H + 8)
    cut = 100 - len(home.live_calls())
    assert cut <= 1
    assert sum(len(phone.live_calls) for phone in phones) >= 99
