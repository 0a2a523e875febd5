"""What a file means, and what is said about a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbalancer.config.directives import GLOBAL, SECTION, SERVER_WORDS
from sipbalancer.config.model import CheckType, Config, Forwarding, Nat, PersistenceKey, Scheduler, VirtualServiceConfig
from sipbalancer.config.parser import parse
from sipbalancer.errors import ConfigError

HERE = Path(__file__).parent
SAMPLE = (HERE / "ldirectord_sip.cf").read_text()
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


def test_two_lines_are_a_service_with_all_defaults() -> None:
    found = service(GOOD)
    assert found.model_dump(exclude={"lines", "real", "check"}) == VirtualServiceConfig(host="10.0.0.1").model_dump(
        exclude={"lines", "real", "check"}
    )
    assert [server.key for server in found.real] == ["10.0.0.11:5060"]
    assert found.real[0].forwarding is Forwarding.MASQ


def test_every_word_of_a_section_reaches_its_field() -> None:
    found = service(
        """virtual = 10.0.0.1:5062
    real = 10.0.0.11:5070 ipip 7 "req", "r.c" l:2 u:9
        source = 10.0.1.1, 10.0.1.2
        source = 2001:db8::1
    fallback = pbx.example.com:sips masq
    protocol = udp
    service = sip
    scheduler = wlc
    persistent = 600
    netmask = 255.255.255.0
    quiescent = yes
    checktype = connect
    checkinterval = 2.5
    negotiatetimeout = 4
    checktimeout = 3
    failurecount = 2
    risecount = 3
    checkcount = 5
    checkport = 5080
    checkcommand = /bin/check it
    login = "u@h"
    passwd = "p"
    request = "x"
    receive = "SIP/2.0 (200|404)"
    virtualhost = www.example.com
    httpmethod = head
    database = "d"
    secret = "s"
    load = "l"
    schedflags = sh-port
    ops = no
    cleanstop = no
    servicename = Office "A"
    comment =
    monitorfile = /var/log/m
    fallbackcommand = "/bin/f"
    emailalert = "a@x, b@x"
    emailalertfreq = 60
    emailalertstatus = starting, running
    smtp = mail.example.com
    alias = PBX.example.com, pbx.example.com:5070
    alias = 203.0.113.9
    advertise = 203.0.113.7:5060
    persistencekey = source
    nat = force
    outbound = yes
    clientheader = X-Client
    calltimeout = 7200
    slowstart = 30.5
    deaddialogs = 7.5
    endcalls = yes
    maxexpires = 120
    registerrate = 50
    rebalance = no
    legport = 20000
"""
    )
    (real,) = found.real
    assert (real.key, real.forwarding, real.weight, real.request, real.receive, real.lower, real.upper) == (
        "10.0.0.11:5070", Forwarding.IPIP, 7, "req", "r.c", 2, 9,
    )  # fmt: skip
    assert real.source == ("10.0.1.1", "10.0.1.2", "2001:db8::1")
    assert found.fallback is not None and found.fallback.key == "pbx.example.com:5061"
    assert found.check.model_dump(exclude={"lines"}) == {
        "checktype": CheckType.CONNECT, "mixed_connects": 0, "checkinterval": 2.5, "negotiatetimeout": 4.0,
        "checktimeout": 3.0, "checkcount": 5, "failurecount": 2, "risecount": 3, "checkport": 5080,
        "checkcommand": "/bin/check it", "login": "u@h", "passwd": "p", "request": "x", "receive": "SIP/2.0 (200|404)",
        "virtualhost": "www.example.com", "httpmethod": "HEAD", "database": "d", "secret": "s", "load": "l",
    }  # fmt: skip
    assert found.model_dump(exclude={"lines", "real", "fallback", "check"}) == {
        "host": "10.0.0.1", "port": 5062, "family": 4, "protocol": "udp", "service": "sip", "scheduler": Scheduler.WLC,
        "persistent": 600, "netmask": "255.255.255.0", "quiescent": True, "fallbackcommand": "/bin/f",
        "emailalert": "a@x, b@x", "emailalertfreq": 60, "emailalertstatus": "starting,running",
        "smtp": "mail.example.com", "monitorfile": "/var/log/m", "cleanstop": False, "servicename": 'Office "A"',
        "comment": "", "ops": False, "schedflags": "sh-port",
        "alias": ("pbx.example.com", "pbx.example.com:5070", "203.0.113.9"), "advertise": "203.0.113.7:5060",
        "persistencekey": PersistenceKey.SOURCE, "nat": Nat.FORCE, "outbound": True, "clientheader": "X-Client",
        "calltimeout": 7200, "deaddialogs": 7.5, "endcalls": True, "slowstart": 30.5,
        "maxexpires": 120, "registerrate": 50.0, "rebalance": False, "legport": 20000,
    }  # fmt: skip


def test_every_global_word_reaches_its_field() -> None:
    found = config(
        """autoreload = yes
callback = "/bin/c"
readdquiescent = yes
maintenancedir = /etc/m
logfile = "local0"
supervised
fork = yes
execute = one.cf
execute = two.cf
emailalertfrom = "Me" <me@x>
metrics = [::1]:9436
admin = "/run/a.sock"
state = /var/s
secret = /etc/s
registrations = 5000
calls = 200
workers = 3
"""
        + GOOD
    )
    assert found.model_dump(exclude={"lines", "virtual"}) == {
        "path": "a.cf", "autoreload": True, "callback": "/bin/c", "readdquiescent": True, "maintenancedir": "/etc/m",
        "logfile": "local0", "supervised": True, "fork": True, "execute": ("one.cf", "two.cf"),
        "emailalertfrom": '"Me" <me@x>', "metrics": "[::1]:9436", "admin": "/run/a.sock", "state": "/var/s",
        "secret": "/etc/s", "registrations": 5000, "calls": 200, "workers": 3,
    }  # fmt: skip
    assert found.lines["autoreload"] == 1 and found.lines["calls"] == 16


def test_globals_reach_sections_with_their_own_line_wherever_they_stand() -> None:
    text = "checkinterval = 3\nquiescent = yes\n" + GOOD + "    quiescent = no\nfailurecount = 4\nfallback = 10.0.0.9\n"
    found = service(text)
    assert (found.check.checkinterval, found.check.lines["checkinterval"]) == (3.0, 1)
    assert (found.check.failurecount, found.check.lines["failurecount"]) == (4, 6)
    assert (found.quiescent, found.lines["quiescent"]) == (False, 5)
    assert found.fallback is not None
    assert (found.fallback.key, found.lines["fallback"]) == ("10.0.0.9:5060", 7)
    assert "persistent" not in found.lines


def test_ranges_names_and_srv() -> None:
    found = service(
        "virtual = pbx.example.com:sip\n"
        "    real = 10.0.0.254->10.0.1.1:5070 gate 2\n"
        "    real = Asterisk9.example.com gate\n"
        "    real = _sip._udp.example.com masq\n"
    )
    assert [server.key for server in found.real[:5]] == [
        "10.0.0.254:5070", "10.0.0.255:5070", "10.0.1.0:5070", "10.0.1.1:5070", "asterisk9.example.com:5060",
    ]  # fmt: skip
    assert {server.weight for server in found.real[:4]} == {2}
    assert (found.real[5].host, found.real[5].port, found.real[5].is_srv) == ("_sip._udp.example.com", 0, True)
    assert found.alias == ("pbx.example.com:5060",)


def test_port_names_come_from_outside() -> None:
    text = "virtual = 10.0.0.1:phones\n    real = 10.0.0.2:phones masq\n"
    found = parse(text, "a.cf", {"phones": 5999}).config.virtual[0]
    assert (found.port, found.real[0].port) == (5999, 5999)


def test_the_method_may_be_left_out() -> None:
    found = service("virtual = 10.0.0.1:5060\n    real = 10.0.0.2\n    real = 10.0.0.3:1 5\n")
    assert [(server.key, server.weight) for server in found.real] == [("10.0.0.2:5060", 1), ("10.0.0.3:1", 5)]


def test_the_shapes_of_ldirectords_sample_run_unchanged() -> None:
    parsed = parse(SAMPLE, "ldirectord.cf")
    four, six = parsed.config.virtual
    assert [server.key for server in four.real] == ["192.168.6.2:5060", "192.168.6.3:5060", "192.168.6.6:5060"]
    assert four.fallback is not None and four.fallback.key == "127.0.0.1:5060"
    assert (four.check.negotiatetimeout, four.check.checkinterval, four.scheduler) == (1.0, 1.0, Scheduler.RR)
    assert [server.key for server in six.real] == ["[2001:db8:0:1::4]:5060", "[2001:db8:0:1::6]:5060"]
    assert (six.netmask, six.persistent, six.scheduler) == ("64", 600, Scheduler.WLC)
    said = [str(finding) for finding in parsed.warnings]
    for line in (16, 17, 18):
        assert any(text.startswith(f"ldirectord.cf:{line}: real:") and "two colons" in text for text in said)
    assert "ldirectord.cf:33: service: `http` is not SIP; the section of line 29 is not served here" in said


def test_crlf_a_byte_order_mark_and_no_last_newline() -> None:
    text = "\ufeff" + GOOD.rstrip().replace("\n", "\r\n")
    assert service(text).real[0].key == "10.0.0.11:5060"


# ------------------------------------------------------------------------------------------------------- errors

SECTION_ERRORS = [
    ("protocl = udp", 'protocl: unknown word; did you mean "protocol"?'),
    ("Scheduler = rr", 'Scheduler: unknown word; did you mean "scheduler"?'),
    ("zzzz = 1", "zzzz: unknown word; conf/sipbalancer.cf lists all words"),
    ("timeout = 3", "timeout: is an old name; write checktimeout (connect, ping, external) or negotiatetimeout (SIP)"),
    ("connecttimeout = 3", "connecttimeout: is an old name; write negotiatetimeout"),
    ("metrics = no", "metrics: is a global word: write it at column one, above the first `virtual =` line"),
    ("virtual = 10.0.0.2:5060", "virtual: opens a section: write it at column one, without blanks before it"),
    ("scheduler rr", "scheduler: no `=` on this line; write `scheduler = value`"),
    ("= rr", "=: is no word of this file; a line is `word = value`"),
    ("\xa0real = 10.0.0.3", "real: the line begins with the character U+00A0; type its beginning anew"),
    ("real = 10.0.0.3\xa0masq", "real: has the character U+00A0, which cannot be seen; type it anew"),
    ("scheduler =", "scheduler: nothing is written after `=`; write scheduler = VALUE or remove the line"),
    ("scheduler = rrr", 'scheduler: `rrr` is not one of rr, wrr, lc, wlc, sed, nq, sh, dh, hash; did you mean "rr"?'),
    ("quiescent = Yes", "quiescent: `Yes` is neither yes nor no; write quiescent = yes"),
    ("quiescent = maybe", "quiescent: `maybe` is neither yes nor no; write quiescent = no"),
    ('login = "u@h', 'login: the closing quote is missing; write login = "u@h"'),
    ('login = "<sip:u@h>"', 'login: `<sip:u@h>` does not fit into a SIP URI; write login = "user@host"'),
    ("checkinterval = often", "checkinterval: `often` is not a number; write checkinterval = 1"),
    ("checkinterval = 0", "checkinterval: 0 is too small; the least is 1"),
    ("checkinterval = 0.0", "checkinterval: must be more than 0; write checkinterval = 1"),
    ("failurecount = 99999999999", "failurecount: 99999999999 is too large; the most is 2000000000"),
    ("checkport = 70000", "checkport: 70000 is too large; the most is 65535"),
    ("calltimeout = 12h", "calltimeout: `12h` is not a whole number; write calltimeout = 43200"),
    ("slowstart = 1m", "slowstart: `1m` is not a number of seconds; write slowstart = 60"),
    ("receive = (", "receive: `(` is no regular expression: missing ), unterminated subpattern at position 0"),
    ("netmask = 255.0.255.0", "netmask: `255.0.255.0` is no netmask; write 255.255.255.0"),
    ("netmask = 64", "netmask: `64` is for the other kind of address; write a dotted quad: netmask = 255.255.255.0"),
    ("emailalertstatus = none, all", "emailalertstatus: `none` must stand alone; write emailalertstatus = none"),
    ("emailalertstatus = begun", "emailalertstatus: `begun` is not one of all, none, starting, running"),
    ("service = spi", "service: `spi` is not one of dns, ftp"),
    ("protocol = fwm", "protocol: `fwm` cannot be served; write protocol = udp"),
    ("checktype = negotate", 'checktype: `negotate` is not one of negotiate, connect'),
    ("clientheader = Via", "clientheader: Via has a meaning in SIP; write clientheader = X-Client-Address"),
    ("clientheader = X Client", "clientheader: `X Client` is no header name; write clientheader = X-Client-Address"),
    ("alias = sip:pbx.example.com", "alias: `sip:pbx.example.com` is a URI; write only the name: alias = "),
    ("alias = a,,b", "alias: `a,,b` has an empty place between commas; write alias = one, two"),
    ("advertise = 2001:db8::1", "advertise: an IPv6 address stands in brackets; write [2001:db8::1]:5060"),
    ("nat = yes", "nat: `yes` is not one of auto, force, no"),
    ("persistencekey = ip", "persistencekey: `ip` is not one of aor, source, domain, callid"),
    ("real =", "real: no server is written; write real = host:port gate|masq|ipip"),
    ("real = 10.0.0.3:5060 gat", 'real: `gat` is not gate, masq or ipip; did you mean "gate"?'),
    ("real = 10.0.0.3:5060 masq 5 x", "real: `x` is left over; write real = host:port gate|masq|ipip"),
    ('real = 10.0.0.3:5060 masq "only one"', 'real: `"only one"` is left over'),
    ("real = 10.0.0.3:5060 masq 1.5", "real: `1.5` is left over"),
    ("real = 10.0.0.3:5060 masq 70000", "real: weight 70000 is more than 65535"),
    ('real = 10.0.0.3 masq "a","("', "real: `(` is no regular expression"),
    ("real = 10.0.0.300:5060 masq", "real: `10.0.0.300` is no IPv4 address: it needs four numbers of 0 to 255"),
    ("real = 10.0.0:5060 masq", "real: `10.0.0` is no IPv4 address"),
    ("real = 10.0.0.03:5060 masq", "real: `10.0.0.03` is no IPv4 address"),
    ("real = a_b!c:5060 masq", "real: `a_b!c` is neither an IPv4 address nor a host name"),
    ("real = :5060 masq", "real: the address is missing; write an address such as 192.168.6.2:5060"),
    ("real = 10.0.0.3:70000 masq", "real: port 70000 is not within 1 to 65535; write 10.0.0.3:5060"),
    ("real = 10.0.0.3:sipp masq", 'real: `sipp` is no port number and no service name; did you mean "sip"?'),
    ("real = 0.0.0.0:5060 masq", "real: 0.0.0.0 is no address of a server; write the address that Asterisk listens on"),
    ("real = 10.0.0.1:5060 masq", "real: 10.0.0.1:5060 is the virtual address itself: requests would go in a circle"),
    ("real = [2001:db8::1]:5060 masq", "real: an IPv6 address needs the word `real6`"),
    ("real6 = [2001:db8::1]:5060 masq", "real6: stands in a `virtual` section; write real = ..."),
    ("fallback6 = [::1]:5060", "fallback6: stands in a `virtual` section; write fallback = ..."),
    ("fallback = 10.0.0.9:5060 masq 5", "fallback: `masq 5` is left over; write fallback = 10.0.0.9:5060"),
    ("fallback =", "fallback: no server is written; write fallback = host:port"),
    ("real = 10.0.0.3->_sip._udp.x", "real: a range goes between two IPv4 addresses"),
    ('login = " "', "login: ` ` does not fit into a SIP URI"),
    ('scheduler = " "', "scheduler: nothing is written after `=`"),
    ("checkinterval =", "checkinterval: nothing is written after `=`"),
    ("clientheader =", "clientheader: nothing is written after `=`"),
    ("slowstart =", "slowstart: nothing is written after `=`"),
    ("calltimeout =", "calltimeout: nothing is written after `=`"),
    ("real = _sip._udp.example.com:5060 masq", "real: an SRV record brings its own port; write real = _sip"),
    ("real = 10.0.0.9->10.0.0.3 masq", "real: the range ends before it begins; write 10.0.0.3->10.0.0.9"),
    ("real = 10.0.0.3->10.9.0.3 masq", "real: the range has 589825 addresses, more than 1024; is 10.9.0.3 right?"),
    ("real = 10.0.0.3->10.0.0.300 masq", "real: `10.0.0.300` is no IPv4 address"),
    ("real = ast1->ast3:5060 masq", "real: a range goes between two IPv4 addresses; write one `real =` line for each"),
    ("source = 10.0.0.5:5060", "source: `10.0.0.5:5060` is no address; write addresses without ports"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "advice"), SECTION_ERRORS, ids=[line for line, _ in SECTION_ERRORS])
def test_a_wrong_line_in_a_section_is_named_with_what_to_write(line: str, advice: str) -> None:
    (said,) = errors(f"{GOOD}    {line}\n")
    assert said.startswith(f"a.cf:3: {advice}")


GLOBAL_ERRORS = [
    ("scheduler = rr", "scheduler: belongs in a `virtual` section: indent it by four blanks"),
    ("real = 10.0.0.3 masq", "real: belongs in a `virtual` section: indent it by four blanks"),
    ("timeout = 3", "timeout: is an old name; write checktimeout"),
    ("autorelod = yes", 'autorelod: unknown word; did you mean "autoreload"?'),
    ("vrtual = 10.0.0.2:5060", 'vrtual: unknown word; did you mean "virtual"?'),
    ("    checkinterval = 5", "checkinterval: is indented, but no section is open; begin it at column one"),
    ("metrics = 9436", "metrics: the address is missing; write metrics = 127.0.0.1:9436, or no"),
    ("metrics = 127.0.0.1", "metrics: the port is missing; write metrics = 127.0.0.1:9436, or no"),
    ("admin = sock", 'admin: `sock` is not an absolute path; write admin = "/..."'),
    ("admin = /" + "x" * 107, "admin: is longer than the 107 bytes a unix socket may have"),
    ("state = here", 'state: `here` is not an absolute path; write state = "/..."'),
    ("calls = many", "calls: `many` is not a whole number; write calls = 1"),
    ("calls = 0", "calls: 0 is too small; the least is 1"),
    ("workers = many", "workers: `many` is not a whole number; write workers = 1"),
    ("workers = 17", "workers: 17 is too large; the most is 16"),
    ("supervised = maybe", "supervised: `maybe` is neither yes nor no"),
    ("fallback = 10.0.0.9 what", "fallback: `what` is left over"),
    ("virtual = 1", "virtual: 1 is a firewall mark, which only IPVS has; write the address that phones use"),
    ("virtual = 0.0.0.0:5060", "virtual: 0.0.0.0:5060 means every address; write the one address"),
    ("virtual = 224.0.0.1:5060", "virtual: 224.0.0.1:5060 is no address of one machine"),
    ("virtual6 = [::]:5060", "virtual6: [::]:5060 means every address; write the one address"),
    ("virtual = [2001:db8::1]:5060", "virtual: an IPv6 address needs the word `virtual6`; write virtual6 = [2001"),
    ("virtual6 = 10.0.0.2:5060", "virtual6: 10.0.0.2 is an IPv4 address; write virtual = 10.0.0.2"),
    ("virtual6 = [fe80::1%eth0]:5060", "virtual6: `fe80::1%eth0` is no IPv6 address; an address with a zone"),
    ("virtual6 = [2001:db8::1:5060", "virtual6: `[2001:db8::1:5060` is no address; write [2001:db8::1]:5060"),
    ("virtual = pbx.example.com", "virtual: the port is missing; write virtual = pbx.example.com:5060"),
    ("virtual = 10.0.0.2:", "virtual: `` is no port number and no service name; write 10.0.0.2:5060"),
    ("virtual =", "virtual: nothing is written after `=`"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "advice"), GLOBAL_ERRORS, ids=[line[:40] for line, _ in GLOBAL_ERRORS])
def test_a_wrong_line_at_column_one_is_named_with_what_to_write(line: str, advice: str) -> None:
    (said,) = errors(f"autoreload = no\n{line}\n{GOOD}")
    assert said.startswith(f"a.cf:2: {advice}")


def test_all_errors_of_a_file_are_shown_in_line_order() -> None:
    said = errors(
        "tiemout = 1\nvirtual = 1\n    real = x y z\n    shceduler = rr\n    quiescent = on\n\nvirtual = ::\n"
    )
    assert [text.split(" ")[0] for text in said] == [f"a.cf:{line}:" for line in (1, 2, 3, 4, 5, 7)]


def test_a_lost_indentation_is_one_error_not_many() -> None:
    assert errors(GOOD + "scheduler = rr\n    service = sip\n    protocol = udp\n") == [
        "a.cf:3: scheduler: belongs in a `virtual` section: indent it by four blanks, below its `virtual =` line"
    ]


def test_a_section_line_after_a_global_names_the_line_that_closed_the_section() -> None:
    assert errors(GOOD + "checkinterval = 5\n    service = sip\n") == [
        "a.cf:4: service: is indented, but line 3 (not indented) ended the section;"
        " move line 3 above the `virtual =` line"
    ]


def test_twin_services_are_named_with_both_lines() -> None:
    assert errors(GOOD + GOOD.replace(":5060\n", ":sip\n", 1)) == [
        "a.cf:3: virtual: 10.0.0.1:5060 is the service of line 1 already; put the servers into one section"
    ]


def test_of_two_sections_at_one_address_the_one_without_protocol_is_ldirectords_tcp() -> None:
    udp = GOOD + "    protocol = udp\n"
    parsed = parse("virtual = 10.0.0.1:5060 \n    real = 10.0.0.99:5060 gate\n" + udp, "a.cf")
    assert [real.host for real in parsed.config.virtual[0].real] == ["10.0.0.11"]
    assert str(parsed.warnings[0]) == (
        "a.cf:1: virtual: no protocol is written, which ldirectord reads as tcp, and line 3 serves the same address by"
        " udp; the section of line 1 is not served here"
    )


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "autoreload = yes\n"])
def test_a_file_without_a_service_is_an_error(text: str) -> None:
    (said,) = errors(text)
    assert said.startswith("a.cf:1: virtual: no service in this file; write virtual = ADDRESS:5060")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("virtual = 10.0.0.1:80\n    real = a->b:c d\n    service = http\n", "a.cf:3: service: `http` is not SIP"),
        ("virtual = 1\n    service = http\n", "a.cf:2: service: `http` is not SIP"),
        ("virtual = 10.0.0.1:5060\n    protocol = tcp\n", "a.cf:2: protocol: only UDP is served yet"),
        ("virtual = 10.0.0.1:https\n", "a.cf:1: virtual: its port is the one of `https`, and no `service` is written"),
    ],
)
def test_sections_that_are_not_sip_over_udp(section: str, said: str) -> None:
    (alone,) = errors(section)
    assert alone.startswith(said) and alone.endswith("write service = sip and protocol = udp")
    parsed = parse(section + GOOD.replace("10.0.0.1:", "10.0.0.7:"), "a.cf")
    assert [service.host for service in parsed.config.virtual] == ["10.0.0.7"]
    beside = [str(finding) for finding in parsed.warnings if not finding.note]
    assert len(beside) == 1
    assert beside[0].startswith(said) and beside[0].endswith("the section of line 1 is not served here")


def test_messages_show_no_control_characters_and_no_long_lines() -> None:
    (said,) = errors(GOOD + "    \x1b[31mred" + "x" * 500 + "\n")
    assert said == f"a.cf:3: \\x1b[31mred{'x' * 49}...: no `=` on this line; write `\\x1b[31mred{'x' * 49}... = value`"


# ------------------------------------------------------------------------------------------------------- any text

WORDS = sorted({*GLOBAL, *SECTION, *SERVER_WORDS, "virtual", "virtual6", "timeout", "oops"})
PIECES = [
    "10.0.0.1",
    ":5060",
    "::",
    "[::1]",
    "->",
    "gate",
    "masq",
    "5",
    "1.5",
    "3s",
    '"',
    ",",
    "#",
    "yes",
    "no",
    "udp",
    "tcp",
    "sip",
    "none",
    "u:1",
    "l:2",
    "pbx.example.com",
    "_sip._udp.x",
    "%",
    "9" * 5000,
    "²",
    "٣",
    "\udcff",
    "\x00",
    "\t",
    "\xa0",
    "(",
    "\\",
    "(?P<a",
    "{99999999999}",
    "a" * 300,
    "-",
    "=",
    "0.0.0.0",
    "64",
    "255.0.0.0",
    "/x",
]
VALUES = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=5).flatmap(
    lambda pieces: st.sampled_from(["", " "]).map(lambda gap: gap.join(pieces))
)
LINES = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "    ", "\t", " "]),
    st.sampled_from(WORDS),
    st.sampled_from([" = ", "=", " "]),
    VALUES,
)


def never_raises_anything_else(text: str) -> None:
    try:
        parse(text, "a.cf")
    except ConfigError as wrong:
        assert wrong.findings
        assert [finding.line for finding in wrong.findings] == sorted(finding.line for finding in wrong.findings)
        assert all(1 <= finding.line <= text.count("\n") + 1 and finding.advice for finding in wrong.findings)
        assert len(str(wrong).split("\n")) == len(wrong.findings)


@given(st.text())
def test_any_text_is_read_or_refused_with_a_config_error(text: str) -> None:
    never_raises_anything_else(text)


@given(st.lists(LINES, max_size=8))
def test_any_lines_of_known_words_are_read_or_refused_with_a_config_error(lines: list[str]) -> None:
    never_raises_anything_else("\n".join(lines))
    never_raises_anything_else(GOOD + "\n".join(lines))


@given(st.integers(0, len(SAMPLE)), st.integers(0, 6), st.text(max_size=3))
def test_any_slip_of_the_pen_in_a_good_file(at: int, cut: int, typed: str) -> None:
    never_raises_anything_else(SAMPLE[:at] + typed + SAMPLE[at + cut :])


OCTET = st.integers(0, 255)
HOSTS = st.builds("10.{}.{}.{}".format, OCTET, OCTET, OCTET)


@given(
    st.lists(
        st.tuples(HOSTS, st.integers(1, 65535), st.sampled_from(Forwarding), st.integers(0, 65535)),
        min_size=1,
        unique_by=lambda real: real[:2],
    ),
    st.sampled_from(Scheduler),
    st.integers(1, 10**6),
)
def test_what_is_written_is_what_is_understood(
    reals: list[tuple[str, int, Forwarding, int]], scheduler: Scheduler, persistent: int
) -> None:
    rows = "".join(f"\treal={host}:{port} {method.value} {weight}\n" for host, port, method, weight in reals)
    found = service(f"virtual=192.168.0.1:5060\n{rows}\tscheduler={scheduler.value}\n\tpersistent={persistent}\n")
    assert [(real.host, real.port, real.forwarding, real.weight) for real in found.real] == reals
    assert [real.lines["weight"] for real in found.real] == list(range(2, 2 + len(reals)))
    assert (found.scheduler, found.persistent) == (scheduler, persistent)
