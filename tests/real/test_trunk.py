"""A trunk without a password: the server knows it by the header that the balancer writes, not by its address."""

from __future__ import annotations

from sipbalancer.demo.asterisk import User
from tests.real.pool import TRUNK, Phones
from tests.real.programs import Balancer

CALLER = User("493012345", "")


def test_the_trunk_is_let_in_by_its_true_address(balancer: Balancer, phones: Phones) -> None:
    call = phones.phone(CALLER, bind=TRUNK).call("600")
    call.wait_answer()
    assert call.bye().status == 200


def test_another_address_is_not(balancer: Balancer, phones: Phones) -> None:
    assert phones.phone(CALLER, bind="127.0.0.8").call("600").wait_final() >= 400


def test_who_writes_the_header_himself_is_not(balancer: Balancer, phones: Phones) -> None:
    liar = phones.phone(CALLER, bind="127.0.0.8")
    invite = liar.out_of_dialog("INVITE", "600", (("Contact", liar.contact), ("X-Client-Address", TRUNK)))
    assert liar.transact(invite).status >= 400
