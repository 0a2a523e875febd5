from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbalancer.sip.flow import address_text, flow_of, pack_address, unpack_address

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
PORTS = st.integers(0, 65535)


def test_a_packed_v4_address_is_the_middle_of_a_sockaddr_in() -> None:
    assert pack_address("192.0.2.1", 5060) == bytes([0x13, 0xC4, 192, 0, 2, 1])


def test_a_packed_v6_address_is_port_then_address() -> None:
    packed = pack_address("2001:db8::1", 5060)
    assert packed == b"\x13\xc4" + IPv6Address("2001:db8::1").packed
    assert pack_address("[2001:db8::1]", 5060) == packed


def test_the_ready_text_is_what_stands_behind_rport() -> None:
    assert flow_of(3, pack_address("192.0.2.1", 5060)) == (
        3,
        pack_address("192.0.2.1", 5060),
        b"=5060;received=192.0.2.1",
    )
    assert flow_of(0, pack_address("2001:db8::1", 9))[2] == b"=9;received=2001:db8::1"


def test_text_for_people() -> None:
    assert address_text(pack_address("192.0.2.1", 5060)) == "192.0.2.1:5060"
    assert address_text(pack_address("2001:db8::1", 5060)) == "[2001:db8::1]:5060"


@given(ADDRESSES, PORTS)
def test_unpack_undoes_pack(address: object, port: int) -> None:
    assert unpack_address(pack_address(str(address), port)) == (str(address), port)


@pytest.mark.parametrize(
    ("host", "port"),
    [("pbx.example.com", 5060), ("", 5060), ("[", 5060), ("fe80::1%eth0", 5060), ("192.0.2.1", 65536), ("::1", -1)],
)
def test_what_is_no_address_literal_is_refused(host: str, port: int) -> None:
    with pytest.raises(ValueError):
        pack_address(host, port)


@pytest.mark.parametrize("packed", [b"", b"12345", b"1234567", b"x" * 17])
def test_a_wrong_length_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError):
        unpack_address(packed)
