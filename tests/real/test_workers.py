"""`workers = 2` before real Asterisks: what one process does for phones, two do; and what only two can do wrong.

The flows of other modules that lean on what workers share (Contacts, pins, a restart) are played again, before a pool
of this module's own. The kernel gives each phone's address to a worker: a test that needs a certain one moves the phone
until it has it.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sipbalancer.demo.asterisk import Tree
from tests.real.call import Call
from tests.real.phone import Phone
from tests.real.pool import DIRECT, PATHLESS, Directory, Phones, Pool, home, instances, registered, stop_all
from tests.real.programs import Balancer, eventually
from tests.real.test_restart import (
    reached,
    test_a_kill_loses_no_registration,
    test_calls_and_registrations_outlive_a_restart,
)
from tests.real.test_server_calls import pair, test_dial, test_dial_contacts, test_message_send

__all__ = [
    "pair",
    "test_a_kill_loses_no_registration",
    "test_calls_and_registrations_outlive_a_restart",
    "test_dial",
    "test_dial_contacts",
    "test_message_send",
]

ADDRESSES = ("127.0.0.31", "127.0.0.32", "127.0.0.33")
VIRTUAL_OF_TWO = "127.0.0.30"
MANY = 30
LUCK = 30
"""Tries after which one has gone wrong that goes right half the time."""
KEEPALIVES = 50
"""So many of one phone stand out of what servers ask meanwhile (qualify)."""


@pytest.fixture(scope="module")
def pool(asterisk: Tree, logs: Path) -> Iterator[Pool]:
    if DIRECT:
        pytest.skip("needs the balancer")
    servers = instances(asterisk, logs / "workers", ("w1", "w2", "w3"), ADDRESSES, VIRTUAL_OF_TWO)
    yield Pool(servers, (VIRTUAL_OF_TWO, 5060))
    stop_all(servers)


@pytest.fixture(scope="module")
def running(pool: Pool, logs: Path) -> Iterator[Balancer]:
    balancer = Balancer(logs / "workers-balancer", VIRTUAL_OF_TWO, ADDRESSES, workers=2)
    try:
        balancer.start()
        yield balancer
    finally:
        balancer.stop()


@pytest.fixture(scope="module")
def directory() -> Directory:
    """This pool's own."""
    return Directory()


def workers(balancer: Balancer) -> list[dict[str, Any]]:
    """As `status` shows them."""
    shown: list[dict[str, Any]] = json.loads(balancer.command("status", "--json"))["workers"]
    return shown


def worker_of(phone: Phone, balancer: Balancer) -> int:
    """Who gets what this phone sends now."""
    before = [each["messages"] for each in workers(balancer)]
    for _ in range(KEEPALIVES):
        phone.send(b"\r\n\r\n", phone.target)
    found: list[int] = []

    def seen() -> bool:
        now = [each["messages"] for each in workers(balancer)]
        found[:] = [worker for worker, count in enumerate(now) if count - before[worker] >= KEEPALIVES]
        return bool(found)

    eventually("a worker has read the keep-alives", seen)
    (worker,) = found
    return worker


def move_to_another(phone: Phone, balancer: Balancer) -> None:
    """Its NAT gives it ports until the kernel gives it to another worker."""
    before = worker_of(phone, balancer)
    for _ in range(LUCK):
        phone.move()
        if worker_of(phone, balancer) != before:
            return
    raise AssertionError(f"{LUCK} ports, all of worker {before}")


def total(balancer: Balancer, start: str) -> float:
    return sum(value for name, value in balancer.metrics().items() if name.startswith(start))


def talking(caller: Phone, callee: Phone) -> tuple[Call, Call]:
    """Both ends of a call between them."""
    call = caller.call(callee.user.number)
    call.wait_answer()
    other = callee.calls.get(timeout=8)
    assert other.acknowledged.wait(8)
    return call, other


def test_registrations_spread_over_servers_and_workers_and_one_scrape_is_the_sum(
    balancer: Balancer, phones: Phones
) -> None:
    messages = [each["messages"] for each in workers(balancer)]
    held, asked = total(balancer, "sipbalancer_registrations{"), registers(balancer)
    made = [phones.phone() for _ in range(MANY)]
    homes = {phone: registered(phone) for phone in made}
    assert {phone: home(phone.register()) for phone in made} == homes
    spread = Counter(homes.values())
    assert len(spread) == len(ADDRESSES)
    assert max(spread.values()) - min(spread.values()) <= 2  # each worker takes turns by itself
    now = [each["messages"] for each in workers(balancer)]
    assert all(after > before for before, after in zip(messages, now, strict=True))
    assert total(balancer, "sipbalancer_registrations{") - held == MANY
    assert registers(balancer) - asked >= 4 * MANY  # each twice, each challenged
    assert len({registers(balancer) for _ in range(5)}) == 1
    metrics = balancer.metrics()
    assert [metrics[f'sipbalancer_worker_up{{worker="{worker}"}}'] for worker in range(2)] == [1, 1]


def registers(balancer: Balancer) -> float:
    return sum(
        value
        for name, value in balancer.metrics().items()
        if name.startswith("sipbalancer_requests_total{") and 'method="REGISTER"' in name
    )


def test_a_phone_whose_nat_port_changed_comes_to_the_other_worker_and_reaches_its_server(
    balancer: Balancer, phones: Phones
) -> None:
    mover, other = phones.together(2, private="192.168.1.70")
    its_home = registered(mover)
    call, heard = talking(mover, other)
    move_to_another(mover, balancer)
    assert call.bye().status == 200
    heard.wait_end()
    answer = mover.register()
    assert (answer.status, home(answer)) == (200, its_home)
    call, _ = talking(other, mover)
    assert call.bye().status == 200


def test_a_killed_worker_is_replaced_and_nothing_pinned_is_lost(balancer: Balancer, phones: Phones) -> None:
    pairs = [phones.together(2, private="192.168.1.71") for _ in range(4)]
    pathless = phones.together(2, PATHLESS, private="192.168.1.72")
    homes = {phone: registered(phone) for each in (*pairs, pathless) for phone in each}
    calls = [talking(*each) for each in pairs]
    for worker in range(2):
        replaced(balancer, worker)
    for number, (call, other) in enumerate(calls):
        last, first = (call, other) if number % 2 else (other, call)
        assert first.bye().status == 200
        last.wait_end()
    reached(*pathless)
    for caller, callee in pairs:
        reached(caller, callee)
    assert {phone: home(phone.register()) for phone in homes} == homes


def replaced(balancer: Balancer, worker: int) -> None:
    """Kill it, and see that the process that stood by has its place: it has nothing to load, so that takes no time."""
    pid = pid_of(balancer, worker)
    parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    children = Path(f"/proc/{parent}/task/{parent}/children")
    eventually("another stands by", lambda: len(children.read_text().split()) == 3)
    standing_by = set(map(int, children.read_text().split()))
    ready = balancer.log.read_text().count('"worker ready"')
    os.kill(pid, signal.SIGKILL)
    eventually("it is ready", lambda: balancer.log.read_text().count('"worker ready"') > ready)
    assert pid_of(balancer, worker) in standing_by - {pid}


def pid_of(balancer: Balancer, worker: int) -> int:
    return int(workers(balancer)[worker]["pid"])
