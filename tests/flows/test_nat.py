"""Phones behind NAT: they say a private address, and the address they come from may change."""

from __future__ import annotations

import pytest

from sipbalancer.demo.call import CallState
from tests.flows.pool import Pool

PRIVATE = ("192.168.1.20", 5060)
OUTSIDE = ("10.9.0.1", 40001)
LATER = ("10.9.0.1", 40077)


@pytest.mark.parametrize(
    "options", [{}, {"drop_path": True, "outbound_proxy": "<sip:10.0.0.1;lr>"}, {"rewrite_contact": True}]
)
def test_a_natted_phone_calls_and_is_called(options: dict[str, object]) -> None:
    pool = Pool(options=options)
    phone = pool.registered("1001", address=OUTSIDE, says=PRIVATE)
    assert pool.calls(phone, "600").state is CallState.TALKING
    home = pool.home("1001")
    pool.send(home, home.call_phone("1001", pool.now))
    pool.run(2)
    assert len(phone.live_calls) == 2
    pool.send(phone, phone.drop_calls(pool.now))
    pool.run(2)
    assert phone.finals["BYE", 200] == 2


def test_a_moved_phone_is_found_again_after_a_request_the_server_accepted() -> None:
    pool = Pool()
    phone = pool.registered("1001", address=OUTSIDE, says=PRIVATE)
    call = pool.calls(phone, "600")
    pool.move(phone, LATER)
    pool.send(phone, phone.reinvite(pool.now))
    pool.run(1)
    assert call.reinvites == 1
    home = pool.home("1001")
    pool.send(home, home.hang_up(home.live_calls()[0], pool.now))
    pool.run(1)
    assert not phone.live_calls
    assert home.finals["BYE", 200] == 1


def test_a_stranger_with_a_stolen_route_does_not_move_the_flow() -> None:
    pool = Pool()
    phone = pool.registered("1001", address=OUTSIDE, says=PRIVATE)
    call = pool.calls(phone, "600")
    assert call.dialog is not None
    stolen = call.dialog.request("INFO", "SIP/2.0/UDP 10.6.6.6:5060;branch=z9hG4bKstolen;rport")
    stolen.replace("To", [f"{call.dialog.remote.partition(';')[0]};tag=guessed"])
    pool.known.add(("10.6.6.6", 5060))
    pool.lab.send(("10.6.6.6", 5060), [(stolen.encode(), ("10.0.0.1", 5060))])
    pool.run(1)
    home = pool.home("1001")
    pool.send(home, home.hang_up(home.live_calls()[0], pool.now))
    pool.run(1)
    assert not phone.live_calls


def test_a_binding_moves_with_the_next_register() -> None:
    pool = Pool(options={"drop_path": True, "outbound_proxy": "<sip:10.0.0.1;lr>"})
    phone = pool.registered("1001", address=OUTSIDE, says=PRIVATE)
    pool.move(phone, LATER)
    pool.send(phone, phone.register(pool.now))
    pool.run(1)
    home = pool.home("1001")
    pool.send(home, home.call_phone("1001", pool.now))
    pool.run(2)
    assert phone.live_calls
