"""Callers without a registration of their own name: anonymous phones, trunks, carriers."""

from __future__ import annotations

from sipbalancer.demo.message import Message
from tests.flows.balancer import VIP
from tests.flows.pool import Pool

TRUNK = ("10.8.0.1", 5060)


def _invite(number: str, source: tuple[str, int], caller: str, *headers: tuple[str, str]) -> Message:
    via = f"SIP/2.0/UDP {source[0]}:{source[1]};branch=z9hG4bK{number}{caller}{len(headers)};rport"
    invite = Message("INVITE sip:600@10.0.0.1 SIP/2.0", [("Via", via)])
    invite.headers += [("From", f"<sip:{caller}>;tag=t1"), ("To", "<sip:600@10.0.0.1>")]
    invite.headers += [("Call-ID", f"call-{number}"), ("CSeq", "1 INVITE"), ("Max-Forwards", "70"), *headers]
    return invite


def _asked(pool: Pool, call_id: str) -> list[tuple[str, int]]:
    """Which servers an INVITE of that Call-ID went to."""
    return sorted(
        {
            packet.destination
            for packet in pool.lab.log
            if packet.source == VIP and packet.data.startswith(b"INVITE") and call_id.encode() in packet.data
        }
    )


def test_an_anonymous_caller_is_known_by_its_flow() -> None:
    pool = Pool()
    for user in ("1001", "1002", "1003", "1004"):
        phone = pool.registered(user)
        invite = _invite(user, phone.address, "anonymous@anonymous.invalid")
        pool.lab.send(phone.address, [(invite.encode(), VIP)])
        pool.run(1)
        assert _asked(pool, f"call-{user}") == [pool.home(user).address]


def test_a_trunk_that_asserts_an_identity_reaches_that_users_server() -> None:
    pool = Pool()
    pool.known.add(TRUNK)
    for user in ("1001", "1002", "1003", "1004"):
        pool.registered(user)
        asserted = ("P-Asserted-Identity", f'"x" <sip:{user}@10.0.0.1>')
        invite = _invite(user, TRUNK, "anonymous@anonymous.invalid", asserted)
        pool.lab.send(TRUNK, [(invite.encode(), VIP)])
        pool.run(1)
        assert _asked(pool, f"call-{user}") == [pool.home(user).address]


def test_a_trunks_calls_are_spread_and_leave_no_binding_pins() -> None:
    pool = Pool()
    pool.known.add(TRUNK)
    for number in range(9):
        pool.lab.send(TRUNK, [(_invite(str(number), TRUNK, "+4912345@carrier.example").encode(), VIP)])
    pool.run(1)
    went = [_asked(pool, f"call-{number}") for number in range(9)]
    assert sorted(sum(went, []).count(address) for address in sorted({each for way in went for each in way})) == [
        3,
        3,
        3,
    ]
    assert pool.balancer.pins("binding") == 0
