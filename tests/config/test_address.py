"""Hosts and ports."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sipbalancer.config.address import HostPort, is_name, joined, read_host_port
from sipbalancer.config.findings import Cell, Findings
from sipbalancer.errors import ConfigError


def read(text: str, family: int) -> HostPort | None:
    findings = Findings("f")
    found = read_host_port(Cell(findings, 1, "real6" if family == 6 else "real", text), text, family, {"phones": 5999})
    findings.warnings()
    return found


@pytest.mark.parametrize(
    ("text", "family", "found"),
    [
        ("10.0.0.1:5060", 4, HostPort("10.0.0.1", 5060, True)),
        ("10.0.0.1", 4, HostPort("10.0.0.1", None, True)),
        ("10.0.0.1::5060", 4, HostPort("10.0.0.1", 5060, True)),
        ("PBX.example.com.:sip", 4, HostPort("pbx.example.com", 5060, False)),
        ("pbx:phones", 6, HostPort("pbx", 5999, False)),
        ("[2001:DB8:0::1]:5061", 6, HostPort("2001:db8::1", 5061, True)),
    ],
)
def test_what_is_an_address(text: str, family: int, found: HostPort) -> None:
    assert read(text, family) == found


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("", 4),
        (":", 4),
        ("10.0.0.1:5060:5060", 4),
        ("::1", 4),
        ("[::1]:5060", 4),
        ("[10.0.0.1]:5060", 6),
        ("10.0.0.1:5060", 6),
        ("10.0.0.256", 4),
        ("1.2.3", 4),
        ("10.0.0.1:65536", 4),
        ("10.0.0.1:\u0665", 4),
        ("10.0.0.1:-1", 4),
        ("a..b", 4),
        ("-a", 4),
        ("a" * 64, 4),
        ("[::1]5060", 6),
        ("[::1", 6),
        ("a:b:c:d", 4),
        ("[::ffff:10.0.0.1]:5060", 6),
    ],
)
def test_what_is_none(text: str, family: int) -> None:
    with pytest.raises(ConfigError):
        read(text, family)


def test_two_colons_are_read_and_named() -> None:
    findings = Findings("f")
    read_host_port(Cell(findings, 7, "real", ""), "192.168.6.2::5060", 4, {})
    assert [str(finding) for finding in findings.warnings()] == [
        "f:7: real: `192.168.6.2::5060` has two colons; read as 192.168.6.2:5060 (ldirectord reads a host `5060`)"
    ]


@given(st.ip_addresses(), st.integers(1, 65535))
def test_every_literal_comes_back(address: IPv4Address | IPv6Address, port: int) -> None:
    assume(getattr(address, "ipv4_mapped", None) is None)
    text = joined(str(address), port)
    assert read(text, 6 if text.startswith("[") else 4) == HostPort(str(address), port, True)


def test_names() -> None:
    assert all(is_name(name) for name in ("a", "a.b", "3com.example", "_sip._udp.example.com", "a-b.c."))
    assert not any(is_name(name) for name in ("", ".", "..", "1.2.3.4", "a.5", "a b", "a-.b", "é.fr", "x." * 130 + "x"))
