"""Globals into sections, servers with their ports and sources, the limits that default to each other."""

from __future__ import annotations

import pytest

from sipbalancer.config.model import CheckType, Config, VirtualServiceConfig
from sipbalancer.config.parser import parse
from sipbalancer.errors import ConfigError

GOOD = "virtual = 10.0.0.1:5060\n    real = 10.0.0.11:5060 masq\n"


def config(text: str) -> Config:
    return parse(text, "a.cf").config


def service(text: str) -> VirtualServiceConfig:
    (only,) = config(text).virtual
    return only


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "a.cf")
    return str(caught.value).split("\n")


def test_a_section_fallback_wins_and_families_do_not_mix() -> None:
    text = "fallback = 10.0.0.9\nfallback6 = [::9]\n" + GOOD + "    fallback = 10.0.0.8:1\n\nvirtual6 = [::1]:5060\n"
    four, six = config(text).virtual
    assert four.fallback is not None and four.fallback.key == "10.0.0.8:1"
    assert six.fallback is not None and six.fallback.key == "[::9]:5060"
    assert six.family == 6 and six.key == "[::1]:5060"


@pytest.mark.parametrize(
    ("top", "section", "negotiate", "check"),
    [
        ("", "", 30.0, 5.0),
        ("checktimeout = 3", "", 3.0, 3.0),
        ("negotiatetimeout = 7", "", 7.0, 7.0),
        ("checktimeout = 3\nnegotiatetimeout = 7", "", 7.0, 3.0),
        ("checktimeout = 3\nnegotiatetimeout = 7", "    checktimeout = 1", 1.0, 1.0),
        ("checktimeout = 3\nnegotiatetimeout = 7", "    negotiatetimeout = 2", 2.0, 2.0),
    ],
)
def test_time_limits_default_to_each_other_as_in_ldirectord(
    top: str, section: str, negotiate: float, check: float
) -> None:
    found = service(f"{top}\n{GOOD}{section}\n").check
    assert (found.negotiatetimeout, found.checktimeout) == (negotiate, check)


def test_a_derived_time_limit_names_the_line_it_came_from() -> None:
    assert service(GOOD + "    checktimeout = 1\n").check.lines["negotiatetimeout"] == 3


def test_the_number_form_of_checktype() -> None:
    found = service(GOOD + "    checktype = 4\n").check
    assert (found.checktype, found.mixed_connects, found.lines["mixed_connects"]) == (CheckType.MIXED, 4, 3)
    assert service(GOOD + "    checktype = 0\n").check.checktype is CheckType.NEGOTIATE


def test_service_none_is_not_checked_unless_a_check_is_written() -> None:
    found = service(GOOD + "    service = none\n").check
    assert (found.checktype, found.lines["checktype"]) == (CheckType.ON, 3)
    assert service(GOOD + "    service = none\n    checktype = ping\n").check.checktype is CheckType.PING


def test_a_source_needs_its_server() -> None:
    assert errors("virtual = 10.0.0.1:5060\n    source = 10.0.0.5\n    real = 10.0.0.2 masq\n") == [
        "a.cf:2: source: belongs to the server above it; write it below its `real =` line"
    ]
    assert errors("virtual = 10.0.0.1:5060\n    real = 10.0.0.2->10.0.0.3 masq\n    source = 10.0.0.5\n") == [
        "a.cf:3: source: belongs to one server, but line 2 is a range; write that server on its own line"
    ]


def test_one_source_tells_one_server() -> None:
    text = GOOD + "    source = 10.0.0.5\n    real = 10.0.0.2 masq\n    source = 10.0.0.5\n"
    assert errors(text) == ["a.cf:5: source: 10.0.0.5 belongs to 10.0.0.11:5060 already; one address tells one server"]


def test_a_source_below_a_broken_server_makes_no_second_error() -> None:
    (said,) = errors(GOOD + "    real = !!\n    source = 10.0.0.5\n")
    assert said.startswith("a.cf:3: real:")


def test_a_fallback_has_sources_too() -> None:
    found = service(GOOD + "    fallback = 10.0.0.9:5060\n    source = 10.0.0.5\n")
    assert found.fallback is not None and found.fallback.source == ("10.0.0.5",)
    assert found.real[0].source == ()


def test_a_second_fallback_and_a_twin_server_are_warnings() -> None:
    parsed = parse(GOOD + "    fallback = 10.0.0.8\n    real = 10.0.0.11 masq 5\n    fallback = 10.0.0.9\n", "a.cf")
    (found,) = parsed.config.virtual
    assert found.fallback is not None and found.fallback.host == "10.0.0.9"
    assert [server.weight for server in found.real] == [1]
    said = [str(finding) for finding in parsed.warnings]
    assert "a.cf:5: fallback: replaces the fallback of line 3; a section has one" in said
    assert "a.cf:4: real: 10.0.0.11:5060 is in line 2 already; this one is ignored" in said


def test_aliases_keep_their_order_and_the_written_name_comes_first() -> None:
    text = "virtual = pbx.example.com:5060\n    alias = b.example.com\n    alias = a.example.com, b.example.com\n"
    found = service(text)
    assert found.alias == ("pbx.example.com:5060", "b.example.com", "a.example.com")
    assert found.lines["alias"] == 2
