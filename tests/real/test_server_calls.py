"""A server calls a phone by Dial, PJSIP_DIAL_CONTACTS and MessageSend, however its endpoints are set up.

With a Path the balancer is told which client is meant. Without one (support_path=no; older servers lose it) it knows
the phone by its Contact or its number. Only a server with neither Path, outbound_proxy nor rewrite_contact sends past
the balancer: that is not here.
"""

from __future__ import annotations

import pytest

from tests.real.phone import Phone
from tests.real.pool import KINDS, NO_PROXY, Kind, Phones, Pool

BEHIND_NAT = "192.168.1.30"
KIND = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
PLACE = pytest.mark.parametrize("private", ["", BEHIND_NAT], ids=["open", "behind NAT"])


@pytest.fixture
def pair(phones: Phones, pool: Pool, kind: Kind, private: str) -> tuple[Phone, Phone]:
    if len(pool.servers) == 1 and (private or NO_PROXY not in kind.endpoint):
        pytest.skip("needs the balancer")
    caller, callee = phones.together(2, kind, private=private)
    return caller, callee


@KIND
@PLACE
def test_dial(pair: tuple[Phone, Phone]) -> None:
    answered_and_ended(*pair, "")


@KIND
@PLACE
def test_dial_contacts(pair: tuple[Phone, Phone]) -> None:
    answered_and_ended(*pair, "7")


def answered_and_ended(caller: Phone, callee: Phone, prefix: str) -> None:
    """Both hear of each step; the called one ends it."""
    call = caller.call(prefix + callee.user.number)
    call.wait_answer()
    other = callee.calls.get(timeout=8)
    assert other.acknowledged.wait(4)
    assert other.bye().status == 200
    call.wait_end()


@KIND
@PLACE
def test_message_send(pair: tuple[Phone, Phone]) -> None:
    sender, receiver = pair
    assert sender.send_message(receiver.user.number, "hello").status == 202
    assert receiver.messages.get(timeout=8).body == "hello"
