"""A pool of Asterisk 16 with chan_sip, made from conf/asterisk/sip.conf. Its suite is old: not run once it is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sipbalancer.demo.asterisk import Release, Tree
from tests.real.pool import DIRECT, Directory, Phones, Pool, available, instances, registered, stop_all
from tests.real.programs import Address, Balancer, Sipp

ADDRESSES = ("127.0.0.16", "127.0.0.17")
CHAN_SIP_VIRTUAL = "127.0.0.15"
pytestmark = pytest.mark.optional


@pytest.fixture(scope="module")
def old_pool(fetched: Callable[[Release], Tree], logs: Path) -> Iterator[Pool]:
    tree = fetched(Release.CHAN_SIP)
    addresses = ADDRESSES[:1] if DIRECT else ADDRESSES
    servers = instances(tree, logs / "chan_sip", ("c1", "c2")[: len(addresses)], addresses, CHAN_SIP_VIRTUAL)
    balancer = Balancer(logs / "chan_sip-balancer", CHAN_SIP_VIRTUAL, ADDRESSES)
    target: Address = (addresses[0] if DIRECT else CHAN_SIP_VIRTUAL, 5060)
    try:
        if not DIRECT:
            balancer.start()
        yield Pool(servers, target)
    finally:
        balancer.stop()
        stop_all(servers)


@pytest.fixture
def old_phones(old_pool: Pool, folder: Path) -> Iterator[Phones]:
    made = Phones(Directory(), old_pool.target, folder)
    yield made
    made.close()


def test_sipp_registers_at_chan_sip(old_pool: Pool, folder: Path) -> None:
    available("sipp")
    run = Sipp(folder, old_pool.target).run("register", Directory().take(10), calls=10)
    homes = [line.split()[1:] for line in run.said()]
    assert len(homes) == 20
    assert len({tuple(home) for home in homes}) == 10  # a refresh says what the registration said


@pytest.mark.parametrize("private", ["", "192.168.1.60"], ids=["open", "behind NAT"])
def test_a_phone_of_chan_sip_is_called(old_pool: Pool, old_phones: Phones, private: str) -> None:
    if DIRECT:
        pytest.skip("needs the balancer: the sample's outboundproxy")
    caller, callee = old_phones.together(2, private=private)
    assert registered(callee) == registered(caller)
    call = caller.call(callee.user.number)
    call.wait_answer()
    other = callee.calls.get(timeout=4)
    assert other.bye().status == 200
    call.wait_end()
    echo = caller.call("600")
    echo.wait_answer()
    assert echo.bye().status == 200
