"""The six invariants at the head of the forwarder."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipbalancer.director.pins import PinTable
from sipbalancer.director.table import ServiceTable
from sipbalancer.director.verdict import ProbeResult
from sipbalancer.sip.flow import flow_of
from tests.director.stage import (
    KEY,
    OTHER,
    PHONE,
    VIP,
    A,
    B,
    C,
    Stage,
    answer,
    lines_of,
    message,
    packed,
    real,
    request,
    route_of,
    service_of,
    status_of,
)
from tests.sip.messages import ANYTHING

SERVERS = {A, B, C}
IN_DIALOG = f"<sip:600@{VIP}>;tag=t"
SOURCES = st.sampled_from([PHONE, OTHER, A, "192.0.2.11:5099", f"{VIP}:5060", "[2001:db8::9]:5060", "0.0.0.0:0"])


# 1. Nothing raises.


@settings(max_examples=300)
@given(st.lists(st.tuples(ANYTHING, SOURCES), min_size=1, max_size=6))
def test_any_bytes_from_any_address(datagrams: list[tuple[bytes, str]]) -> None:
    stage = Stage(service_of(alias=("pbx.example.com",), clientheader="X-Client"))
    for data, source in datagrams:
        stage.send(data, source)
    stage.due(1.0)
    stage.due(50.0)
    assert stage.table.state.internal_errors == 0


def test_a_bug_of_ours_costs_one_datagram_and_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    monkeypatch.setattr(stage.service, "schedule", None)
    out = stage.table.forwarder.datagram_received(request(), flow_of(0, packed(PHONE)), stage.now)
    assert out is None
    assert stage.table.state.internal_errors == 1
    assert "TypeError" in stage.table.state.last_error
    assert stage.dropped() == {"internal error": 1}


def test_a_socket_nobody_knows_is_no_error() -> None:
    stage = Stage()
    assert stage.send(request(), leg=7) is None
    stage.table.forwarder.refused(flow_of(7, packed(A)), stage.now)


# 2. What leaves differs only in what the proxy owns. Compared line by line, without the balancer's own reader.

OWNED = ("via", "v", "record-route", "route", "path", "max-forwards")


def others(data: bytes, owned: tuple[str, ...] = OWNED) -> tuple[list[str], str]:
    """The lines that are not the proxy's, in order, folded ones whole; and the body."""
    head, _, body = data.decode("latin-1").partition("\r\n\r\n")
    lines: list[str] = []
    for line in head.split("\r\n"):
        if line[:1] in (" ", "\t") and lines:
            lines[-1] += "\r\n" + line
        else:
            lines.append(line)
    return [line for line in lines if line.partition(":")[0].strip().lower() not in owned], body


EXTRA = [
    "Subject: a  b \t",
    "x-Odd :  spaced",
    "s: compact",
    "X-Folded: one\r\n two\r\n\tthree",
    "Contact: <sip:1001@10.1.0.1>;expires=60, <sip:1001@10.1.0.2>",
    "Supported: timer, 100rel",
    "k: path",
    "X-Client: 6.6.6.6",
    "Via: SIP/2.0/UDP 10.3.0.1;branch=z9hG4bKbelow;received=10.4.0.1",
    f"Route: <sip:{VIP};lr>",
    f"Route: <sip:{VIP};lr>,<sip:{VIP}:5060;lr>",
]


@given(
    st.sampled_from(["INVITE", "REGISTER", "MESSAGE", "BYE", "ACK", "CANCEL"]),
    st.lists(st.sampled_from(EXTRA), max_size=6),
    st.sampled_from(["", "v=0\r\nm=audio 1 RTP/AVP 0\r\nRoute: <sip:no>\r\n\r\nVia: no\r\n"]),
    st.sampled_from([f"{PHONE};rport", PHONE, f"{PHONE};rport=1;received=6.6.6.6", "10.0.0.9 ;RPORT"]),
)
def test_every_other_line_and_the_body_stay_as_they_came(method: str, more: list[str], body: str, via: str) -> None:
    data = request(method, *more, via=via) + body.encode()
    out = Stage().send(data)
    if out is None:
        assert method == "ACK"
        return
    came, left = others(data), others(out[0])
    assert left[1] == came[1] == body
    if method == "REGISTER" and left[0] != came[0]:
        left[0].remove("Supported: path")
    assert left[0] == came[0]


@pytest.mark.parametrize("supported", ["Supported: path", "k: path", "Supported: timer,  Path ", "SUPPORTED:PATH"])
def test_path_is_never_doubled_in_supported(supported: str) -> None:
    data, _ = Stage().sent(request("REGISTER", supported))
    assert others(data) == others(request("REGISTER", supported))


def test_path_and_supported_of_a_register() -> None:
    data, _ = Stage().sent(request("REGISTER", "Path: <sip:edge.example.net;lr>", "Supported: timer"))
    own, theirs = lines_of(data, "Path")
    assert own.endswith(f"@{VIP}:5060;lr>") and theirs == "<sip:edge.example.net;lr>"
    assert lines_of(data, "Supported") == ["path", "timer"]
    assert lines_of(data, "Record-Route") == []


@pytest.mark.parametrize(
    ("method", "recorded"),
    [("INVITE", True), ("SUBSCRIBE", True), ("REFER", True), ("NOTIFY", True), ("UPDATE", True)]
    + [("MESSAGE", False), ("BYE", False), ("OPTIONS", False), ("REGISTER", False), ("PUBLISH", False)],
)
def test_what_is_record_routed(method: str, recorded: bool) -> None:
    data, _ = Stage().sent(request(method))
    assert bool(lines_of(data, "Record-Route")) is recorded


@pytest.mark.parametrize(("came", "left"), [("70", "69"), ("1", "0"), ("255", "254"), ("007", "6")])
def test_max_forwards_counts_down(came: str, left: str) -> None:
    data, _ = Stage().sent(request().replace(b"Max-Forwards: 70", b"Max-Forwards: " + came.encode()))
    assert lines_of(data, "Max-Forwards") == [left]


def test_max_forwards_begins_at_70() -> None:
    data, _ = Stage().sent(request().replace(b"Max-Forwards: 70\r\n", b""))
    assert lines_of(data, "Max-Forwards") == ["70"]


@pytest.mark.parametrize("nat", ["auto", "force", "no"])
@pytest.mark.parametrize(
    ("via", "source"),
    [
        (PHONE, PHONE),
        (f"{PHONE};rport", PHONE),
        ("10.1.0.1:6000", PHONE),
        ("192.168.1.2:5060", PHONE),
        ("pc.local", PHONE),
    ],
)
def test_where_an_answer_goes(nat: str, via: str, source: str) -> None:
    stage = Stage(service_of(nat=nat))
    out, server = stage.sent(request(via=via), source)
    assert "received=10.1.0.1" in lines_of(out, "Via")[1], "always"
    asked, same = "rport" in via, via.startswith("10.1.0.1")
    says = f"10.1.0.1:{via.rpartition(':')[2] if ':' in via else 5060}"
    expected = PHONE if asked or nat == "force" or (nat == "auto" and not same) else says
    assert stage.sent(answer(out, 180), server)[1] == expected.replace(";rport", "")


def test_received_and_rport_of_the_client_are_replaced_and_maddr_is_not_followed() -> None:
    stage = Stage()
    via = "10.9.9.9:5070;rport=1;received=6.6.6.6;maddr=6.6.6.6"
    out, server = stage.sent(request(via=via))
    assert "6.6.6.6" not in lines_of(out, "Via")[1].replace("maddr=6.6.6.6", "")
    assert stage.sent(answer(out, 180), server)[1] == PHONE


def test_clientheader_says_the_true_address_and_nobody_else_does() -> None:
    stage = Stage(service_of(clientheader="X-Client"))
    out, _ = stage.sent(request("INVITE", "X-Client: 6.6.6.6", "x-client : 7.7.7.7", "X-Client-Not: 8.8.8.8"))
    assert lines_of(out, "X-Client") == ["10.1.0.1"]
    assert b"6.6.6.6" not in out and b"7.7.7.7" not in out and b"8.8.8.8" in out


def test_advertise_is_what_via_record_route_and_path_say() -> None:
    stage = Stage(service_of(advertise="public.example.net:5080"))
    out, server = stage.sent(request())
    assert lines_of(out, "Via")[0].startswith("SIP/2.0/UDP public.example.net:5080;")
    assert "@public.example.net:5080;lr>" in lines_of(out, "Record-Route")[0]
    assert "@public.example.net:5080;lr>" in lines_of(stage.sent(request("REGISTER", branch="z9hG4bK2"))[0], "Path")[0]
    assert stage.sent(answer(out, 180), server)[1] == PHONE


# 3. Choice is stable.


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from([A, B, C]), st.sampled_from(list(ProbeResult)), st.sampled_from([0.0, 0.01, 5.0]))
    )
)
def test_copies_cancel_and_ack_share_server_and_branch_while_health_changes(
    events: list[tuple[str, ProbeResult, float]],
) -> None:
    stage = Stage()
    out, server = stage.sent(request())
    via = lines_of(out, "Via")[0]
    stage.sent(answer(out, 180), server)
    for number, (other, result, pause) in enumerate(events):
        if other == server and result is ProbeResult.REFUSED:
            continue  # then it may move (design 5.3)
        stage.now += pause
        stage.judge(other, result=result)
        if stage.server(server).verdict == "down":
            return
        copy = request(["INVITE", "CANCEL"][number % 2])
        data, to = stage.sent(copy)
        assert (to, lines_of(data, "Via")[0]) == (server, via)
    stage.sent(answer(out, 486), server)
    for passed in (0.0, 15.0, 16.9):
        stage.now += passed
        data, to = stage.sent(request("ACK", to=IN_DIALOG))
        assert (to, lines_of(data, "Via")[0]) == (server, via)


def test_an_old_branch_without_the_cookie_is_told_apart_by_tag_and_uri() -> None:
    stage = Stage()
    out, server = stage.sent(request(branch="1"))
    stage.sent(answer(out, 180), server)
    cancel, to = stage.sent(request("CANCEL", branch="1"))
    assert (to, lines_of(cancel, "Via")[0]) == (server, lines_of(out, "Via")[0])
    another, _ = stage.sent(request(branch="1", uri=f"sip:601@{VIP}"))
    assert lines_of(another, "Via")[0] != lines_of(out, "Via")[0]


def test_an_invite_that_rings_is_held_200_s_after_each_provisional() -> None:
    stage = Stage()
    out, server = stage.sent(request())
    for _ in range(4):
        stage.sent(answer(out, 180), server)
        stage.due(199.0)
        stage.due()
        assert stage.server(server).transactions == 1
    stage.due(202.0)
    stage.due()
    assert stage.server(server).transactions == 0


def test_the_same_server_gives_the_same_branch_without_memory() -> None:
    stage = Stage(service_of(real(A)))
    first = lines_of(stage.sent(request())[0], "Via")[0]
    stage.restart()
    assert lines_of(stage.sent(request())[0], "Via")[0] == first


# 4. Routing a response needs no memory.


@pytest.mark.parametrize(
    "via", [f"{PHONE};rport", PHONE, "10.1.0.1:6000", "10.1.0.1 : 6000 ", "pc.local", "[2001:db8::9]:5060;rport"]
)
@pytest.mark.parametrize("nat", ["auto", "force", "no"])
def test_a_balancer_that_never_saw_the_request_sends_the_answer_the_same_way(via: str, nat: str) -> None:
    stage = Stage(service_of(nat=nat))
    out, server = stage.sent(request(via=via))
    memory = bytearray(PinTable.size_for(2000))
    blank = ServiceTable(stage.config, (KEY,), PinTable(memory, KEY[:8], stage.now), stage.now, 9).forwarder
    said = answer(out, 200, f"Contact: <sip:{server}>")
    theirs = blank.datagram_received(said, flow_of(0, packed(server)), stage.now)
    assert theirs is not None and blank.state.last_error == ""
    assert theirs == stage.send(said, server)


# 5. Memory is bounded.


def test_a_full_table_of_transactions_refuses_counts_and_still_forwards() -> None:
    stage = Stage()
    stage.table.state.transactions._limit = 3
    for number in range(8):
        data = request(call=f"{number}", branch=f"z9hG4bK{number}")
        server = stage.to(data)
        assert stage.to(request("CANCEL", call=f"{number}", branch=f"z9hG4bK{number}")) == server
    assert stage.table.state.transactions.refused == 5
    assert len(stage.table.state.transactions.pending) == 3


def test_nothing_grows_with_the_length_of_what_strangers_write() -> None:
    stage = Stage()
    long = "x" * 20000
    for number in range(20):
        phone = f"10.1.2.{number}:5060"
        data = request("REGISTER", f"Contact: <sip:{long}@{phone}>", user=f"{long}{number}", call=f"{long}{number}")
        stage.send(data, phone)
        stage.send(request("MESSAGE", f"Subject: {long}", call=f"{long}m{number}", branch=f"z9hG4bK{number}"), phone)
    state = stage.table.state
    keys = [
        key for pins in (state.provisional, state.moved, state.recent_calls) for s in pins._shards for key in s.young
    ]
    assert keys
    assert max(len(key) if isinstance(key, bytes) else 8 for key in keys) < 64


# 6. No open relay, no reflector.


@pytest.mark.parametrize(
    "data",
    [
        request(uri="sip:victim@198.51.100.1"),
        request(uri="sip:198.51.100.1:9"),
        request("OPTIONS", uri="sip:198.51.100.1"),
        request("INVITE", "Route: <sip:198.51.100.1;lr>"),
        request("INVITE", f"Route: <sip:{VIP};lr>", "Route: <sip:198.51.100.1;lr>"),
        request("INVITE", f"Route: <sip:AAAA@{VIP};lr>", uri="sip:198.51.100.1"),
        request(via="198.51.100.1:5060"),
        request(via="198.51.100.1:5060;rport=9;received=198.51.100.1"),
        request(via="10.1.0.1:5060;maddr=198.51.100.1"),
        message(
            "SIP/2.0 200 OK",
            f"Via: SIP/2.0/UDP {VIP}:5060;branch=z9hG4bKx",
            "Via: SIP/2.0/UDP 198.51.100.1;rport=5060;received=198.51.100.1",
        ),
    ],
)
def test_a_client_makes_us_send_nowhere_but_to_servers_and_back(data: bytes) -> None:
    out = Stage().send(data)
    assert out is None or out[1][1] in {packed(address) for address in (*SERVERS, PHONE)}


def test_a_forged_answer_of_a_client_teaches_nothing() -> None:
    stage = Stage()
    out, server = stage.sent(request("REGISTER", f"Contact: <sip:1001@{PHONE}>"))
    call, _ = stage.sent(request(call="c", branch="z9hG4bKc"))
    for forged in (
        answer(out, 200, f"Contact: <sip:1001@{OTHER}>;expires=60"),
        answer(call, 200, "Contact: <sip:x@y>"),
        answer(out, 403),
    ):
        assert stage.send(forged, OTHER) is None
        to_a_server = forged.replace(b"received=10.1.0.1", b"received=192.0.2.11")
        stage.send(to_a_server, OTHER)
    assert stage.table.where("1001", stage.now) == ()
    assert stage.service.servers[0].calls + stage.service.servers[1].calls + stage.service.servers[2].calls == 0
    assert stage.by(request("REGISTER", branch="z9hG4bK2", cseq=2)) == "binding", "the challenge's pin is still there"


@pytest.mark.parametrize(
    ("via", "reason"),
    [
        ("198.51.100.1:5060;branch=z9hG4bKx", "foreign via"),
        (f"{VIP}:5070;branch=z9hG4bKx", "foreign via"),
        (f"{VIP}:5060;branch=z9hG4bKx", "response to us"),
    ],
)
def test_responses_that_are_not_ours_are_dropped(via: str, reason: str) -> None:
    stage = Stage()
    assert stage.send(message("SIP/2.0 200 OK", f"Via: SIP/2.0/UDP {via}", "CSeq: 1 X"), A) is None
    assert stage.dropped() == {reason: 1}


def test_a_response_from_no_server_to_no_server_is_dropped() -> None:
    stage = Stage()
    out, _ = stage.sent(request())
    assert stage.send(answer(out, 200), OTHER) is None
    assert stage.dropped() == {"response from a stranger": 1}


# What the fuzzer found.


def test_a_503_that_waits_for_a_probe_is_forgotten_when_something_else_ends_it() -> None:
    stage = Stage()
    out, server = stage.sent(request())
    assert stage.send(answer(out, 503), server) is None
    assert status_of(stage.sent(answer(out, 200, f"Contact: <sip:{server}>"), server)[0]) == 200
    stage.judge(server, result=ProbeResult.UNAVAILABLE)
    assert [to for _, to in stage.due(1.0) if to in SERVERS] == []
    assert [stage.server(address).transactions for address in (A, B, C)] == [0, 0, 0]


def test_a_held_503_without_its_end_does_not_stop_the_clock() -> None:
    stage = Stage()
    out, server = stage.sent(request())
    assert (
        stage.send(answer(out, 503)[:-2].replace(b"\r\nContent-Length: 0\r\n", b"\r\nno colon here\r\n"), server)
        is None
    )
    stage.judge(server, result=ProbeResult.UNAVAILABLE)
    stage.due(1.0)
    assert stage.table.state.last_error == ""


def test_ipv6() -> None:
    servers = (real("[2001:db8::11]:5060"), real("[2001:db8::12]:5060"))
    stage = Stage(service_of(*servers, host="2001:db8::1", alias=("pbx.example.com",)))
    phone = "[2001:db8:1::1]:5060"
    out, server = stage.sent(request("INVITE", "Route: <sip:[2001:DB8:0:0::1];lr>", via=f"{phone};rport"), phone)
    assert server in {"[2001:db8::11]:5060", "[2001:db8::12]:5060"}
    assert lines_of(out, "Via")[0].startswith("SIP/2.0/UDP [2001:db8::1]:5060;branch=")
    assert lines_of(out, "Via")[1] == f"SIP/2.0/UDP {phone};rport=5060;received=2001:db8:1::1;branch=z9hG4bK1"
    assert stage.sent(answer(out, 200), server)[1] == phone
    bye = request("BYE", route_of(out), branch="z9hG4bK2", via=f"{phone};rport", to=IN_DIALOG)
    assert (stage.by(bye, phone), stage.to(bye, phone)) == ("token", server)
