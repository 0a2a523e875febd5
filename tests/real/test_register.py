"""Phones register through the virtual address: once challenged, always at the same server, evenly spread."""

from __future__ import annotations

import re
from collections import Counter

from tests.real.pool import SHORT, Directory, Phones, Pool, SoftPhones, registered
from tests.real.programs import Balancer, Sipp, SippRun, eventually

SAID = re.compile(r"(registered|refreshed|unregistered) (\d+) at (?:Server:)?\s*(\w+)")


def said(run: SippRun, what: str) -> dict[str, str]:
    """Number -> server, from the scenario's log."""
    found = (SAID.search(line) for line in run.said())
    return {match[2]: match[3] for match in found if match and match[1] == what}


def test_sipp_registers_once_challenged_and_refreshes_at_the_same_server(
    sipp: Sipp, pool: Pool, directory: Directory
) -> None:
    users = directory.take(30)
    run = sipp.run("register", users, calls=30, rate=30)
    first, again = said(run, "registered"), said(run, "refreshed")
    assert set(first) == {user.number for user in users}
    assert again == first
    assert {pool.challenges(number) for number in first} == {2}  # one for each of the two registrations
    assert all(pool.logged_in(number) == {server: 2} for number, server in first.items())
    spread = Counter(first.values())
    assert len(spread) == len(pool.servers)
    assert max(spread.values()) - min(spread.values()) <= 1


def test_sipp_unregisters(sipp: Sipp, pool: Pool, directory: Directory) -> None:
    (user,) = directory.take()
    run = sipp.run("unregister", [user])
    assert said(run, "unregistered") == said(run, "registered")
    assert run.said()[-1].rstrip().endswith("contacts")  # and none follows
    for server in pool.servers:
        assert f"{user.number}/" not in server.cli("pjsip show contacts")


def test_baresip_registers_refreshes_and_unregisters(soft_phones: SoftPhones, pool: Pool) -> None:
    phone = soft_phones.registered(SHORT, every=4)
    number = phone.user.number
    assert pool.challenges(number) == 1
    eventually("refreshed", lambda: pool.logged_in(number).total() == 2)
    assert pool.challenges(number) == 2
    (home,) = pool.logged_in(number)
    phone.process.end()
    eventually("unregistered", lambda: f"{number}/" not in pool.server(home).cli("pjsip show contacts"))
    assert set(pool.logged_in(number)) == {home}


def test_the_balancer_says_where_a_phone_is(balancer: Balancer, phones: Phones) -> None:
    phone = phones.phone()
    home = registered(phone)
    address = next(s for s in balancer.servers if s.endswith(home[-1]))
    text = balancer.command("where", phone.aor)
    assert f"{address}:5060" in text
    assert f"{phone.address[0]}:{phone.address[1]}" in text


def test_one_of_two_devices_unregisters_and_the_other_is_still_called(phones: Phones) -> None:
    caller, first = phones.together(2)
    second = phones.phone(first.user)
    assert registered(second) == registered(first)
    gone = first.unregister()
    assert gone.status == 200
    assert [second.claimed in contact for contact in gone.all("Contact")] == [True]
    call = caller.call(first.user.number)
    call.wait_answer()
    second.calls.get(timeout=2)
    assert first.calls.empty()
    assert call.bye().status == 200


def test_the_server_sees_that_the_phone_is_there(phones: Phones, pool: Pool) -> None:
    """qualify: an OPTIONS of the server reaches a phone behind NAT, by its Path."""
    phone = phones.phone(private="192.168.1.20") if len(pool.servers) > 1 else phones.phone()
    server = pool.server(registered(phone))
    number = re.escape(phone.user.number)
    eventually("the contact is available", lambda: re.search(rf"{number}/.* Avail", server.cli("pjsip show contacts")))
