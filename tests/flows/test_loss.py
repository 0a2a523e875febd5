"""Packets are lost at random, for thousands of transactions: nothing else is."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from sipbalancer.demo.lab import Packet
from sipbalancer.demo.phone import Phone
from tests.flows.checks import at_most_one_call_each
from tests.flows.pool import SERVERS, USERS, Pool

Finals = Counter[tuple[str, int]]


def _lossy(pool: Pool, share: float, hop: str) -> None:
    """From now on that share of the datagrams is lost on that hop: `server`, `phone` or `every`."""
    random = Random(hop)

    def lose(packet: Packet) -> bool:
        to_server = packet.source in SERVERS or packet.destination in SERVERS
        return (hop == "every" or (hop == "server") is to_server) and random.random() < share

    pool.lab.lose = lose


def _finals(phones: list[Phone]) -> Finals:
    return sum((phone.finals for phone in phones), Counter())


def _work(hop: str, seconds: float) -> tuple[Pool, Finals]:
    """Phones register anew every 10 s and call, hold, hang up; what they heard (status 0: nothing in 32 s)."""
    pool = Pool()
    phones = [pool.registered(user, refresh=10) for user in list(USERS)[:20]]
    before = _finals(phones)
    _lossy(pool, 0.3, hop)
    end = pool.now + seconds
    while pool.now < end:
        for phone in phones:
            pool.send(phone, phone.drop_calls(pool.now))
            pool.send(phone, phone.call("600", pool.now))
            pool.run(0.2)
    for phone in phones:
        pool.send(phone, phone.drop_calls(pool.now))
    pool.run(70)
    pool.lab.lose = lambda packet: False
    pool.run(70)
    finals = _finals(phones)
    finals.subtract(before)
    return pool, finals


def _lost(finals: Finals) -> Finals:
    return Counter({key: count for key, count in finals.items() if count and key[1] in (0, 408, 481, 500, 503)})


@pytest.mark.parametrize(("hop", "allowed"), [("server", 0.0), ("phone", 0.001), ("every", 0.005)])
def test_30_percent_loss_on_a_hop(hop: str, allowed: float) -> None:
    """On the phones' hop one of 11 copies must pass both ways, 0.51**11, as for a phone straight at one server.

    That is 6 of 10,000 requests, REGISTERs among them: which of the few hundred here it hits is the dice's.
    """
    pool, finals = _work(hop, 150)
    assert sum(finals.values()) > 2500
    lost = _lost(finals)
    assert lost.total() <= allowed * finals.total(), lost
    assert pool.verdicts() == [], "no false down"
    assert pool.balancer.pins("call") == 0
    at_most_one_call_each(pool)


def test_one_server_behind_a_bad_line_is_not_given_up() -> None:
    pool = Pool()
    phone = pool.registered("1001", refresh=10)
    bad = pool.home("1001").address
    random = Random(3)
    pool.lab.lose = lambda packet: bad in (packet.source, packet.destination) and random.random() < 0.3
    pool.run(600)
    assert pool.verdicts() == []
    assert not phone.registration.failures
    assert max(phone.registration.waits) < 4.0
