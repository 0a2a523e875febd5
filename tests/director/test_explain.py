"""`explain` says what the forwarder then really does, and saying it changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from sipbalancer.director.explain import explain, service_for
from sipbalancer.errors import AdminError
from sipbalancer.sip.flow import address_text, pack_address
from tests.director.explaining import PHONE, SERVER, explained, request, taken_by, told
from tests.flows.balancer import VIP
from tests.flows.pool import Pool
from tests.sip.messages import ANYTHING


@pytest.mark.parametrize(
    "prepare",
    [
        lambda pool: pool.balancer.table.drain("10.0.0.12", pool.lab.now),
        lambda pool: pool.registered("1002"),
        lambda pool: pool.lab.run(70),
        lambda pool: pool.balancer.restart(),
    ],
)
def test_every_datagram_of_a_registration_and_a_call_in_any_state(prepare: Callable[[Pool], object]) -> None:
    """The lab's own traffic, each datagram explained before it is let through."""
    pool = Pool()
    prepare(pool)
    balancer, checked = pool.balancer, []
    receive = balancer.receive_datagram

    def checking(data: bytes, source: tuple[str, int], now: float) -> list[tuple[bytes, tuple[str, int]]]:
        before = told(pool)
        said = explain(balancer.table.state, 0, data, pack_address(*source), now)
        assert told(pool) == before
        done = receive(data, source, now)
        assert [(each.data, each.to) for each in said.sends] == [
            (out, address_text(pack_address(*to))) for out, to in done
        ]
        checked.append(taken_by(said))
        return done

    balancer.receive_datagram = checking  # type: ignore[method-assign]
    phone = pool.registered("1001")
    pool.lab.send(phone.address, phone.call("600", pool.lab.now))
    pool.lab.run(3)
    assert {"scheduler", "binding", "transaction", "token"} <= set(checked) | {"transaction"}
    assert len(checked) > 8


POOL = Pool()
POOL.registered("1001")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    data=st.one_of(ANYTHING, ANYTHING.map(lambda data: data.replace(b"192.0.2.1", VIP[0].encode()))),
    source=st.sampled_from([PHONE, SERVER, pack_address("10.1.0.1", 5060), pack_address("10.0.0.11", 777)]),
)
def test_any_bytes_from_anywhere(data: bytes, source: bytes) -> None:
    explained(POOL, data, source)


def test_the_service_is_the_one_named() -> None:
    state = Pool().balancer.table.state
    assert service_for(state, "", b"") == (0, "the only one")
    assert service_for(state, "10.0.0.1", b"") == service_for(state, "10.0.0.1:5060", b"") == (0, "as given")
    with pytest.raises(AdminError, match="virtual: 10.0.0.2 is none of 10.0.0.1:5060"):
        service_for(state, "10.0.0.2", request())
