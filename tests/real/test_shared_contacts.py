"""Two Asterisks that keep their contacts in one database: a phone of one is called from the other, by its Path."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sipbalancer.demo.asterisk import CONTACTS_TABLE, Tree
from tests.real.phone import Phone
from tests.real.pool import DIRECT, Directory, Phones, Pool, instances, registered, stop_all
from tests.real.programs import Balancer

ADDRESSES = ("127.0.0.21", "127.0.0.22")
SHARED_VIRTUAL = "127.0.0.20"
LUCK = 30
"""Tries after which one has gone wrong that goes right half the time."""


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def workers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def shared(asterisk: Tree, folder: Path, workers: int) -> Iterator[Pool]:
    if DIRECT:
        pytest.skip("needs the balancer")
    database = folder / "contacts.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(CONTACTS_TABLE)
    servers = instances(asterisk, folder, ("b1", "b2"), ADDRESSES, SHARED_VIRTUAL, database)
    balancer = Balancer(folder / "balancer", SHARED_VIRTUAL, ADDRESSES, workers=workers)
    try:
        balancer.start()
        yield Pool(servers, (SHARED_VIRTUAL, 5060))
    finally:
        balancer.stop()
        stop_all(servers)


def test_a_phone_is_called_from_the_other_server_also_after_its_own_died(
    shared: Pool, workers: int, directory: Directory, folder: Path
) -> None:
    phones = Phones(directory, shared.target, folder)
    try:
        callee, caller = on_two_servers(phones, 1 if workers == 1 else LUCK)
        answered(caller, callee)
        shared.server(registered(callee)).kill()
        answered(caller, callee)
    finally:
        phones.close()


def on_two_servers(phones: Phones, tries: int) -> tuple[Phone, Phone]:
    """The second phone is the other server's; where each worker takes turns by itself, one of the next is."""
    first = phones.phone(private="192.168.1.50")
    home = registered(first)
    for _ in range(tries):
        second = phones.phone()
        if registered(second) != home:
            return first, second
    raise AssertionError(f"all at {home}")


def answered(caller: Phone, callee: Phone) -> None:
    call = caller.call(callee.user.number)
    call.wait_answer()
    callee.calls.get(timeout=4)
    assert call.bye().status == 200
