"""What a server sends to phones: by Path, without it, with our address as Contact, by an outbound proxy."""

from __future__ import annotations

from typing import Any

import pytest

from tests.flows.pool import Pool

PROXY = "<sip:10.0.0.1;lr>"
WAYS = [
    (drop, proxy, rewrite)
    for drop in (False, True)
    for proxy in ("", PROXY)
    for rewrite in (False, True)
    if rewrite or proxy or not drop  # with nothing that names us the server sends to the Contact, past the balancer
]
NATTED: dict[str, Any] = {"address": ("10.9.0.1", 40001), "says": ("192.168.1.20", 5060)}


@pytest.mark.parametrize("natted", [False, True])
@pytest.mark.parametrize(("drop", "proxy", "rewrite"), WAYS)
def test_a_phone_is_called_and_hung_up(drop: bool, proxy: str, rewrite: bool, natted: bool) -> None:
    pool = Pool(options={"drop_path": drop, "outbound_proxy": proxy, "rewrite_contact": rewrite})
    phone = pool.registered("1001", **(NATTED if natted else {}))
    home = pool.home("1001")
    pool.send(home, home.call_phone("1001", pool.now))
    pool.run(2)
    assert phone.live_calls
    pool.send(phone, phone.reinvite(pool.now))
    pool.run(1)
    assert phone.history[-1].reinvites == 1
    pool.send(home, home.hang_up(home.live_calls()[0], pool.now))
    pool.run(2)
    assert not phone.live_calls
    assert home.finals["BYE", 200] == 1
    assert pool.balancer.pins("call") == 0


@pytest.mark.parametrize("rewrite", [False, True])
@pytest.mark.parametrize("method", ["MESSAGE", "OPTIONS", "NOTIFY"])
def test_a_message_reaches_each_device(method: str, rewrite: bool) -> None:
    pool = Pool(options={"drop_path": True, "outbound_proxy": PROXY, "rewrite_contact": rewrite})
    phones = [pool.registered("1001", **NATTED), pool.registered("1002")]
    for user in ("1001", "1002"):
        home = pool.home(user)
        pool.send(home, home.ask_phone(method, user, pool.now))
    pool.run(1)
    assert [phone.heard[method] for phone in phones] == [1, 1]
    assert sum(server.finals[method, 200] for server in pool.servers.values()) == 2


def test_a_server_cancels_its_call_to_a_phone() -> None:
    pool = Pool(options={"drop_path": True, "outbound_proxy": PROXY})
    phone = pool.registered("1001", answer_after=None)
    home = pool.home("1001")
    pool.send(home, home.call_phone("1001", pool.now))
    pool.run(2)
    assert phone.live_calls
    pool.send(home, home.hang_up(home.live_calls()[0], pool.now))
    pool.run(2)
    assert not phone.live_calls
    assert not home.live_calls()


def test_a_contact_nobody_registered_is_refused() -> None:
    pool = Pool(options={"outbound_proxy": PROXY, "drop_path": True})
    phone = pool.registered("1001")
    home = pool.home("1001")
    bound = home.contacts.of("1001", pool.now)[0]
    home.contacts.keep("1001", bound.__class__("sip:1001@10.77.0.1:5060", (), bound.expires, "x", 1, ""))
    pool.send(home, home.call_phone("1001", pool.now))
    pool.run(2)
    assert not phone.history
    assert [call.status for call in home.calls.values()] == [403]
