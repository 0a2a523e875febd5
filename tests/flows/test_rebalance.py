"""`rebalance`: home to a server that returned, at a refresh, and never between a challenge and its answer."""

from __future__ import annotations

from sipbalancer.director.verdict import ProbeResult
from tests.flows.pool import USERS, Pool

RETURNED = "10.0.0.13:5060"


def test_registrations_go_home_one_challenge_each() -> None:
    pool = Pool()
    pool.balancer.judge(RETURNED, result=ProbeResult.REFUSED, text="port refused")
    phones = [pool.phone(user, expires=60, refresh=20) for user in list(USERS)[:30]]
    for phone in phones:
        pool.lab.send(phone.address, phone.register(pool.lab.now))
        pool.lab.run(0.3)
    assert {pool.home(phone.user).address[0] for phone in phones} == {"10.0.0.11", "10.0.0.12"}
    pool.balancer.judge(RETURNED)
    pool.lab.run(60)
    at_home = [phone for phone in phones if pool.home(phone.user).address[0] == "10.0.0.13"]
    assert 9 <= len(at_home) <= 11
    assert max(count for phone in phones for count in phone.registration.challenges) == 1


def test_nothing_moves_while_nobody_returned_or_with_rebalance_off() -> None:
    pool = Pool(rebalance=False)
    pool.balancer.judge(RETURNED, result=ProbeResult.REFUSED, text="port refused")
    phone = pool.phone("1001", expires=60, refresh=20)
    pool.lab.send(phone.address, phone.register(pool.lab.now))
    pool.lab.run(1)
    home = pool.home("1001")
    pool.balancer.judge(RETURNED)
    pool.lab.run(100)
    assert pool.home("1001") is home
