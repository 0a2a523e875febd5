"""The grammars of `virtual`, `real` and `fallback`."""

from __future__ import annotations

import pytest

from sipbalancer.config.findings import Cell, Findings
from sipbalancer.config.model import Forwarding
from sipbalancer.config.servers import read_fallback, read_metrics, read_real, read_sources, read_virtual


def cell(word: str, text: str) -> Cell:
    return Cell(Findings("f"), 7, word, text)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("10.0.0.2:5060 gate", {"forwarding": Forwarding.GATE}),
        ("10.0.0.2:5060 gate 5", {"forwarding": Forwarding.GATE, "weight": 5}),
        ('10.0.0.2:5060\tmasq  5\t"a b","c"', {"weight": 5, "request": "a b", "receive": "c"}),
        ('10.0.0.2:5060 masq "a" "c" l:1 u:2', {"weight": 1, "request": "a", "receive": "c", "lower": 1, "upper": 2}),
        ('10.0.0.2:5060 masq "", "c"', {"request": "", "receive": "c"}),
        ("10.0.0.2:5060 masq u:2 l:1", {"lower": 1, "upper": 2}),
        ("10.0.0.2:5060 0", {"weight": 0, "forwarding": Forwarding.GATE}),
    ],
)
def test_what_follows_the_address(text: str, fields: dict[str, object]) -> None:
    written = read_real(cell("real", text), {})
    assert written is not None
    (server,) = written.servers
    assert {name: getattr(server, name) for name in fields} == fields
    assert set(server.lines.values()) == {7}
    assert set(server.lines) >= {"host", "port"}


def test_an_open_port_and_method_are_known_as_such() -> None:
    written = read_real(cell("real", "10.0.0.2 5"), {})
    assert written is not None
    assert (written.port, written.method, "port" in written.servers[0].lines) == (None, False, False)


def test_an_ipv6_server() -> None:
    written = read_real(cell("real6", "[2001:db8::2]:5062 masq"), {})
    assert written is not None
    assert (written.servers[0].key, written.servers[0].family) == ("[2001:db8::2]:5062", 6)


def test_a_range_of_one() -> None:
    written = read_real(cell("real", "10.0.0.2->10.0.0.2:5061 masq"), {})
    assert written is not None
    assert [server.key for server in written.servers] == ["10.0.0.2:5061"]


def test_a_fallback_with_and_without_method() -> None:
    plain, masq = read_fallback(cell("fallback", "127.0.0.1"), {}), read_fallback(cell("fallback", "h:1 masq"), {})
    assert plain is not None and plain.servers[0].forwarding is Forwarding.GATE and plain.port is None
    assert masq is not None and masq.servers[0].forwarding is Forwarding.MASQ and masq.port == 1


@pytest.mark.parametrize(
    ("word", "text", "said"),
    [
        (
            "virtual",
            "192.168.1.1",
            "no port: read as 192.168.1.1:5060 (ldirectord reads firewall mark 192); write virtual = 192.168.1.1:5060",
        ),
        (
            "virtual6",
            "[2001:db8::1]",
            "no port: read as [2001:db8::1]:5060 (ldirectord refuses it); write virtual6 = [2001:db8::1]:5060",
        ),
    ],
)
def test_an_address_without_a_port_is_sip_with_a_warning(word: str, text: str, said: str) -> None:
    place = cell(word, text)
    found = read_virtual(place, {})
    assert found is not None and found.port == 5060
    assert [finding.advice for finding in place.findings.warnings()] == [said]


def test_text_after_the_virtual_address_is_ignored_and_named() -> None:
    place = cell("virtual", "10.0.0.1:5060 udp")
    assert read_virtual(place, {}) is not None
    assert [finding.advice for finding in place.findings.warnings()] == ["`udp` after `10.0.0.1:5060` is ignored"]


def test_sources_may_wear_brackets() -> None:
    assert read_sources(cell("source", "10.0.0.5,[2001:db8::5] , ::6")) == ("10.0.0.5", "2001:db8::5", "::6")


def test_metrics() -> None:
    assert read_metrics(cell("metrics", "no")) == "no"
    assert read_metrics(cell("metrics", "0.0.0.0:9436")) == "0.0.0.0:9436"
    assert read_metrics(cell("metrics", "[::]:9436")) == "[::]:9436"
    assert read_metrics(cell("metrics", "localhost:9436")) == "localhost:9436"


def test_port_0_is_the_virtuals_port() -> None:
    place = cell("real", "10.0.0.2:0 masq")
    written = read_real(place, {})
    assert written is not None and written.port is None
    assert [finding.advice for finding in place.findings.warnings()] == [
        "port 0 is read as the virtual's port; write real = 10.0.0.2"
    ]
