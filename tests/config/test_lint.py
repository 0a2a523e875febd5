"""Every trap of ldirectord's file, and every difference, is said once, with its line."""

from __future__ import annotations

import pytest

from sipbalancer.config.parser import parse
from sipbalancer.errors import ConfigError, Finding

FULL = """quiescent = no
virtual = 10.0.0.1:5060
    protocol = udp
    service = sip
    scheduler = rr
    login = "x@y"
    real = 10.0.0.11:5060 masq
"""
"""Says everything that has another default in ldirectord; its one note is about `login`."""


def said(text: str) -> list[Finding]:
    return [finding for finding in parse(text, "a.cf").warnings if finding.word != "login"]


def texts(text: str) -> list[str]:
    return [str(finding) for finding in said(text)]


def test_a_file_that_says_everything_has_nothing_to_hear() -> None:
    assert said(FULL) == []


@pytest.mark.parametrize("line", ["protocol = udp", "scheduler = rr", "quiescent = no"])
def test_defaults_that_differ_are_notes_at_the_virtual_line(line: str) -> None:
    text = "\n".join(row for row in FULL.splitlines() if row.strip() != line) + "\n"
    (finding,) = said(text)
    assert finding.note and finding.word == line.split()[0] and finding.advice.startswith("not written: ")
    assert text.splitlines()[finding.line - 1].startswith("virtual")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("real = 10.0.0.12::5060 masq", "a.cf:8: real: `10.0.0.12::5060` has two colons; read as 10.0.0.12:5060"),
        (
            "real = 10.0.0.12 gate",
            "a.cf:8: real: gate and ipip: packets are proxied here, so every method acts as masq.",
        ),
        ("real = 10.0.0.12 masq 5", "a.cf:5: scheduler: rr ignores the weights of this section; write scheduler = wrr"),
        ("real = 10.0.0.12 masq l:5", "a.cf:8: real: l:5 does nothing without an upper threshold; write u:N too"),
        (
            'real = 10.0.0.12 masq "a","b"',
            "a.cf:8: real: the receive pattern works here (ldirectord's SIP check ignores it)",
        ),
        ('receive = "b"', "a.cf:8: receive: works here (ldirectord's SIP check ignores it)"),
        (
            "netmask = 255.0.0.0",
            "a.cf:8: netmask: does nothing with persistencekey = aor; write persistencekey = source",
        ),
        ("checktype = off", "a.cf:8: checktype: off: no server of this section takes any work"),
        ("checktype = external", "a.cf:8: checktype: without checkcommand /bin/true is asked: always up"),
        (
            "checkcommand = /bin/x",
            "a.cf:8: checkcommand: is not run with checktype = negotiate; write checktype = external",
        ),
        ("checktimeout = 3s", "a.cf:8: checktimeout: `3s` is read as 3, as ldirectord does; write checktimeout = 3"),
        ("scheduler = lblc", "a.cf:8: scheduler: `lblc` is not built here; wlc is used: write scheduler = wlc"),
        (
            'servicename = "a#b"',
            "a.cf:8: servicename: `#` inside quotes is kept as text; ldirectord cuts the line there",
        ),
    ],
)
def test_warnings_ask_for_an_act(line: str, expected: str) -> None:
    found = [finding for finding in said(f"{FULL}    {line}\n") if not finding.note]
    assert any(str(finding).startswith(expected) for finding in found), found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "checkinterval = 5",
            "a.cf:8: checkinterval: works in a section here (ldirectord ignores it there unless fork = yes)",
        ),
        ("checkinterval = 1.5", "a.cf:8: checkinterval: `1.5` seconds here; ldirectord reads 1"),
        ("persistent = 600", "a.cf:8: persistent: pins each registration (ldirectord pins each client address"),
        ("checktype = connect", "a.cf:8: checktype: any answer to an OPTIONS is a success (ldirectord: an ICMP ping"),
        ("checktype = 3", "a.cf:8: checktype: N times any answer to an OPTIONS will do, then one is judged"),
        ("checkcount = 3", "a.cf:8: checkcount: counts for checktype = ping only; failurecount is what you may want"),
        ("ops = yes", "a.cf:8: ops: one-packet scheduling would tear dialogs apart"),
        ("schedflags = x", "a.cf:8: schedflags: flags of IPVS schedulers; the schedulers here have none"),
        ("passwd = x", "a.cf:8: passwd: the SIP check asks without a password"),
        ("secret = x", "a.cf:8: secret: is RADIUS's password here; the balancer's own keys are the global `secret`"),
        ("request = x", "a.cf:8: request: is for checks of other services"),
        ("virtualhost = x", "a.cf:8: virtualhost: is for checks of other services"),
        ("cleanstop = yes", "a.cf:8: cleanstop: nothing is left in the kernel at exit"),
    ],
)
def test_notes_ask_for_nothing(line: str, expected: str) -> None:
    found = said(f"{FULL}    {line}\n")
    assert found and all(finding.note for finding in found)
    assert any(str(finding).startswith(expected) for finding in found), found


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("fork = yes", True),
        ("supervised = no", True),
        ("execute = b.cf", True),
        ("cleanstop = no", True),
        ("readdquiescent = yes", True),
        ("maintenancedir = /x", True),
    ],
)
def test_global_words_that_mean_something_else_or_nothing_here(line: str, note: bool) -> None:
    (finding,) = said(f"{line}\n{FULL}")
    assert (finding.line, finding.word, finding.note) == (1, line.split()[0], note)


def test_gate_is_said_once_with_all_its_lines_and_not_for_an_unwritten_method() -> None:
    text = (
        FULL
        + "    real = 10.0.0.12\n    real = 10.0.0.13 gate\n    real = 10.0.0.14 ipip\n    fallback = 10.0.0.9 gate\n"
    )
    (only,) = texts(text)
    assert only.startswith("a.cf:9: real: gate and ipip (lines 9, 10): packets are proxied here")
    assert "still carries 10.0.0.1 on lo" in only


def test_gate_with_another_port_than_the_virtuals() -> None:
    assert "a.cf:8: real: port 5070 is used here; IPVS would go to 5060 with gate and ipip" in texts(
        FULL + "    real = 10.0.0.12:5070 gate\n"
    )


def test_login_is_told_by_what_ldirectord_would_ask() -> None:
    def login(text: str) -> str:
        (finding,) = [finding for finding in parse(text, "a.cf").warnings if finding.word == "login"]
        assert finding.note
        return str(finding)

    without = FULL.replace('    login = "x@y"\n', "")
    assert login(FULL).startswith(
        "a.cf:6: login: Asterisk answers 404 to OPTIONS for a user its dialplan does not have"
    )
    assert login(without).endswith("(ldirectord: sip:ldirectord@HOSTNAME)")
    assert login(without.replace("    service = sip\n", "")).endswith("an empty `sip:`, as service is not written)")


def test_an_interval_in_a_section_is_what_fork_means() -> None:
    assert [finding.word for finding in said("fork = yes\n" + FULL + "    checkinterval = 5\n")] == ["fork"]


def test_weights_that_are_equal_or_drained_do_not_matter_to_rr() -> None:
    assert said(FULL + "    real = 10.0.0.12 masq 0\n    real = 10.0.0.13 masq 1\n") == []


def test_a_missing_scheduler_with_weights_is_a_warning() -> None:
    text = FULL.replace("    scheduler = rr\n", "") + "    real = 10.0.0.12 masq 3\n"
    assert "a.cf:2: scheduler: rr ignores the weights of this section; write scheduler = wrr" in texts(text)


def test_nothing_to_choose_from() -> None:
    empty = FULL.replace("    real = 10.0.0.11:5060 masq\n", "")
    assert texts(empty) == [
        "a.cf:2: real: no server in this section: every request is answered 503; write real = host:port masq"
    ]
    assert "the fallback takes everything" in texts(empty + "    fallback = 10.0.0.9\n")[0]
    assert texts(FULL + "    real = 10.0.0.11:5061 masq 0\n") == []
    drained = FULL.replace("masq", "masq 0")
    assert texts(drained) == ["a.cf:2: real: every server has weight 0 (drained): nothing takes new work"]


def test_thresholds_the_wrong_way_round() -> None:
    assert "a.cf:8: real: l:9 is above u:5; write the smaller one as l:" in texts(
        FULL + "    real = 10.0.0.12 masq l:9 u:5\n"
    )


def test_a_netmask_of_the_other_family() -> None:
    with pytest.raises(
        ConfigError, match="a.cf:3: netmask: `255.0.0.0` is for the other kind of address; write a prefix"
    ):
        parse("virtual6 = [::1]:5060\n    real6 = [::2] masq\n    netmask = 255.0.0.0\n", "a.cf")


def test_a_server_that_is_another_service_of_ours() -> None:
    text = FULL + "virtual = 10.0.0.2:5060\n    real = 10.0.0.1:5060 masq\n"
    assert "a.cf:9: real: 10.0.0.1:5060 is the virtual service of line 2, not an Asterisk" in texts(text)


def test_service_none_and_a_host_name() -> None:
    text = FULL.replace("service = sip", "service = none").replace("10.0.0.1:", "pbx.example.com:")
    assert texts(text) == [
        "a.cf:2: virtual: the name pbx.example.com is looked up once, at start",
        "a.cf:4: service: `none` is served as SIP, without checks as in ldirectord; write service = sip",
    ]
