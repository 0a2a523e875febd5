"""A real server dies, is stopped gracefully, is drained by hand: new work goes elsewhere, what runs goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sipbalancer.demo.asterisk import Instance
from tests.real.pool import Phones, Pool, home, registered
from tests.real.programs import Balancer, eventually


@pytest.fixture
def victim(pool: Pool, balancer: Balancer) -> Iterator[Instance]:
    """One server of the pool. When the test is over it is up, and the balancer has never seen it otherwise: while a
    server has just returned, registrations come home to it (`rebalance`), which the other tests do not expect.
    """
    server = pool.servers[-1]
    yield server
    balancer.command("enable", f"{server.address}:5060")
    if not server.alive():
        server.start()
        server.wait()
    balancer.restart()


def become(balancer: Balancer, server: Instance, verdict: str) -> None:
    """Wait until the balancer's verdict of that server is the one named."""
    labels = f'real="{server.address}:5060",state="{verdict}"'

    def so() -> bool:
        return any(value == 1 for name, value in balancer.metrics().items() if labels in name)

    eventually(f"{server.name} is {verdict}", so, 15)


def homes_of_new_phones(phones: Phones) -> set[str]:
    return {registered(phones.phone()) for _ in range(6)}


def test_a_killed_server_gets_nothing_and_its_phones_move(victim: Instance, balancer: Balancer, phones: Phones) -> None:
    phone = next(p for p in iter(phones.phone, None) if registered(p) == victim.name)
    victim.kill()
    become(balancer, victim, "down")
    assert homes_of_new_phones(phones) == {"a1", "a2"}
    assert home(phone.register()) in {"a1", "a2"}
    victim.start()
    victim.wait()
    become(balancer, victim, "up")
    assert homes_of_new_phones(phones) == {"a1", "a2", "a3"}


def test_a_graceful_stop_ends_no_call(victim: Instance, balancer: Balancer, phones: Phones) -> None:
    phone = next(p for p in iter(phones.phone, None) if registered(p) == victim.name)
    call = phone.call("600")
    call.wait_answer()
    victim.drain()
    become(balancer, victim, "draining")
    assert homes_of_new_phones(phones) == {"a1", "a2"}
    assert home(phone.register()) in {"a1", "a2"}
    assert call.reinvite().status == 200
    bye = call.bye()
    assert (bye.status, home(bye)) == (200, victim.name)
    eventually("the server has ended by itself", lambda: not victim.alive())


def test_a_server_drained_by_hand_keeps_its_calls(victim: Instance, balancer: Balancer, phones: Phones) -> None:
    phone = next(p for p in iter(phones.phone, None) if registered(p) == victim.name)
    call = phone.call("600")
    call.wait_answer()
    balancer.command("drain", f"{victim.address}:5060")
    become(balancer, victim, "draining")
    assert homes_of_new_phones(phones) == {"a1", "a2"}
    bye = call.bye()
    assert (bye.status, home(bye)) == (200, victim.name)
    balancer.command("enable", f"{victim.address}:5060")
    become(balancer, victim, "up")
    assert homes_of_new_phones(phones) == {"a1", "a2", "a3"}
