"""Each step of the chain, one row a sentence: which server, by what."""

from __future__ import annotations

import pytest

from sipbalancer.config.model import PersistenceKey
from sipbalancer.director.from_client import Decision
from sipbalancer.director.verdict import ProbeResult
from sipbalancer.sip.flow_token import FlowToken, TokenSealer
from tests.director.stage import (
    KEY,
    OTHER,
    PHONE,
    START,
    VIP,
    A,
    B,
    C,
    Stage,
    answer,
    lines_of,
    packed,
    real,
    request,
    route_of,
    service_of,
    status_of,
)

FOREIGN = "Route: <sip:evil.example.net;lr>"
SERVERS = {A, B, C}


def token_route(server: str, client: str = PHONE, key: bytes = KEY, host: str = VIP) -> str:
    token = TokenSealer((key,)).seal(FlowToken(packed(server), packed(client))).decode()
    return f"Route: <sip:{token}@{host};lr>"


IN_DIALOG = f"<sip:600@{VIP}>;tag=t"


# The chain, first match wins.


def test_transaction_before_all_else() -> None:
    stage = Stage()
    out, server = stage.sent(request())
    stage.sent(answer(out, 180), server)
    elsewhere = next(iter(SERVERS - {server}))
    for copy in (request(), request("CANCEL"), request("ACK"), request("INVITE", token_route(elsewhere))):
        assert (stage.by(copy), stage.to(copy)) == ("transaction", server)


def test_token_before_call_pin() -> None:
    stage = Stage()
    server, _ = stage.called()
    elsewhere = next(iter(SERVERS - {server}))
    bye = request("BYE", token_route(elsewhere), branch="z9hG4bKbye", to=IN_DIALOG, cseq=2)
    assert (stage.by(bye), stage.to(bye)) == ("token", elsewhere)


def test_call_pin_before_binding_pin() -> None:
    stage = Stage()
    home = stage.registered("1002")
    calls = {stage.called(call=f"by-another-{n}", phone=OTHER)[0]: f"by-another-{n}" for n in range(3)}
    server = next(server for server in calls if server != home)
    bye = request("BYE", user="1002", branch="z9hG4bKbye", call=calls[server], to=IN_DIALOG)
    assert (stage.by(bye), stage.to(bye)) == ("call", server)


@pytest.mark.parametrize(
    "header",
    ["Replaces", "Join", "Target-Dialog", "replaces", "REPLACES", "JOIN", "join ", "Target-dialog", "target-dialog\t"],
)
def test_the_named_call_before_binding_pin(header: str) -> None:
    stage = Stage()
    server, _ = stage.called(call="first")
    for number in range(6):
        again = request(
            "INVITE", f"{header}: first;to-tag=a;from-tag=b", call=f"second{number}", branch=f"z9hG4bK{number}"
        )
        assert (stage.by(again), stage.to(again)) == ("related", server)


@pytest.mark.parametrize("method", ["INVITE", "SUBSCRIBE", "MESSAGE", "PUBLISH", "REGISTER"])
def test_binding_pin_before_scheduler(method: str) -> None:
    stage = Stage()
    home = stage.registered()
    for number in range(6):
        data = request(method, call=f"new{number}", branch=f"z9hG4bKn{number}")
        assert (stage.by(data), stage.to(data)) == ("binding", home)


def test_scheduler_then_fallback_then_503() -> None:
    stage = Stage(service_of(real(A), fallback=real(B)))
    assert (stage.by(request()), stage.to(request())) == ("scheduler", A)
    stage.judge(A, result=ProbeResult.REFUSED)
    again = request(call="2", branch="z9hG4bK2")
    assert (stage.by(again), stage.to(again)) == ("fallback", B)
    stage.apply(service_of(real(A)))
    out, to = stage.sent(request(call="3", branch="z9hG4bK3"))
    assert (status_of(out), to) == (503, PHONE)
    assert lines_of(out, "Retry-After")


# The binding key.


@pytest.mark.parametrize(
    "from_value",
    [
        f"<sip:1001@{VIP}>;tag=x",
        f"<sips:1001@{VIP}:5070;transport=tcp>;tag=x",
        "sip:%31001@PBX.Example.COM;tag=x",
        '"1002 <sip:1002@x>" <sip:1001@pbx.example.com>;tag=x',
        "<sip:1001@phone.example.net:5080>;tag=x",
    ],
)
def test_every_spelling_of_the_aor_is_one_phone(from_value: str) -> None:
    stage = Stage(service_of(alias=("pbx.example.com",), advertise="phone.example.net:5080"))
    home = stage.registered("1001")
    stage.registered("1002", OTHER)
    data = request(call="x", via="10.9.9.9:5060;rport", branch="z9hG4bKx").replace(
        f"<sip:1001@{VIP}>;tag=f".encode(), from_value.encode()
    )
    assert (stage.by(data, "10.9.9.9:5060"), stage.to(data, "10.9.9.9:5060")) == ("binding", home)


@pytest.mark.parametrize(
    "header",
    [
        f'P-Preferred-Identity: "A" <sip:1001@{VIP}>',
        f"P-Asserted-Identity: <sip:1001@{VIP}>",
        'Authorization: Digest username="1001", realm="x"',
        'Proxy-Authorization: Digest realm="x,y", username="1001"',
        f"p-asserted-identity: <sip:1001@{VIP}>",
        f"P-PREFERRED-IDENTITY: <sip:1001@{VIP}>",
        f"P-Asserted-identity : <sip:1001@{VIP}>",
        f"P-Asserted-Identity: <tel:+491001>, <sip:1001@{VIP}>",
        'AUTHORIZATION: Digest username="1001"',
        'authorization : Digest username="1001"',
        'PROXY-authorization: Digest USERNAME="1001"',
        f'Authorization: Digest username="1001@{VIP}", realm="x"',
        'Authorization: Digest username="1001@PBX.example.com", realm="x"',
        'Authorization: Digest username="1001@asterisk", realm="asterisk"',
    ],
)
def test_an_anonymous_caller_is_known_by_other_names(header: str) -> None:
    stage = Stage()
    stage.apply(service_of(alias=("pbx.example.com",)))
    home = stage.registered("1001", OTHER)
    data = request("INVITE", header, user="anonymous")
    assert (stage.by(data), stage.to(data)) == ("binding", home)


def test_a_digest_user_of_another_domain_is_looked_for_there_first() -> None:
    stage = Stage()
    stage.registered("1001", OTHER)
    data = request("REGISTER", user="x", branch="z9hG4bKr").replace(f"To: <sip:x@{VIP}>".encode(), b"To: <sip:1001@b>")
    out, home = stage.sent(data, "10.1.0.3:5060")
    stage.sent(answer(out, 200, "Contact: <sip:1001@10.1.0.3>;expires=60"), home)
    asked = request("INVITE", 'Authorization: Digest username="1001@B"', user="anonymous", branch="z9hG4bKi")
    assert (stage.by(asked), stage.to(asked)) == ("binding", home)


def test_and_by_the_flow_some_binding_registered_from() -> None:
    stage = Stage()
    home = stage.registered("1001")
    assert (stage.by(request(user="anonymous")), stage.to(request(user="anonymous"))) == ("binding", home)
    assert stage.by(request(user="anonymous", call="2"), OTHER) == "scheduler"


def test_only_register_makes_binding_pins() -> None:
    stage = Stage()
    for number in range(6):
        out, server = stage.sent(request(call=f"{number}", branch=f"z9hG4bK{number}"))
        stage.sent(answer(out, 200), server)
    assert stage.by(request(call="new", branch="z9hG4bKnew")) == "scheduler"


@pytest.mark.parametrize(
    ("words", "same", "other"),
    [
        ({"persistencekey": "source"}, ("1002", PHONE, "c"), ("1001", OTHER, "c")),
        (
            {"persistencekey": "source", "netmask": "255.255.255.0"},
            ("1002", OTHER, "c"),
            ("1001", "10.1.1.1:5060", "c"),
        ),
        ({"persistencekey": "callid"}, ("1002", OTHER, "call-1"), ("1001", PHONE, "c")),
        ({"persistencekey": "domain"}, ("1002", OTHER, "c"), None),
    ],
)
def test_other_keys_are_kept_by_any_request(
    words: dict[str, str], same: tuple[str, str, str], other: tuple[str, str, str] | None
) -> None:
    stage = Stage(service_of(persistent=100, **words))
    out, server = stage.sent(request("MESSAGE"))
    stage.sent(answer(out, 200), server)
    stage.now += 99
    user, phone, call = same
    again = request("MESSAGE", user=user, call=call, branch="z9hG4bK2", via=f"{phone};rport")
    assert (stage.by(again, phone), stage.to(again, phone)) == ("binding", server)
    stage.now += 99
    assert stage.by(request("MESSAGE", user=user, call=call, branch="z9hG4bK3"), phone) == "binding", "renewed"
    if other is not None:
        user, phone, call = other
        assert stage.by(request("MESSAGE", user=user, call=call, branch="z9hG4bK4"), phone) == "scheduler"
    stage.now += 200
    user, phone, call = same
    assert stage.by(request("MESSAGE", user=user, call=call, branch="z9hG4bK5"), phone) == "scheduler"


def test_other_keys_are_kept_by_requests_inside_a_dialog_too() -> None:
    stage = Stage(service_of(persistencekey=PersistenceKey.SOURCE, persistent=100))
    server, route = stage.called()
    for number in range(5):
        stage.now += 60
        info = request("INFO", route, branch=f"z9hG4bKi{number}", to=IN_DIALOG, cseq=2 + number)
        assert stage.to(info) == server
    new = request(call="new", branch="z9hG4bKnew")
    assert (stage.by(new), stage.to(new)) == ("binding", server)


# A REGISTER and its challenge.


def test_the_answer_to_a_challenge_meets_the_server_that_asked() -> None:
    stage = Stage()
    for number in range(6):
        user = f"20{number:02}"
        out, server = stage.sent(request("REGISTER", user=user, call=user, branch=f"z9hG4bK{user}"))
        stage.sent(answer(out, 401), server)
        subscribe = request("SUBSCRIBE", user=user, call="s" + user, branch=f"z9hG4bKs{user}")
        assert stage.to(subscribe) == server, "the SUBSCRIBE sent beside it too"
        proof = request("REGISTER", "Authorization: Digest x", user=user, call=user, branch=f"z9hG4bKa{user}", cseq=2)
        assert (stage.by(proof), stage.to(proof)) == ("binding", server)


def test_also_when_that_server_began_to_drain_in_between() -> None:
    stage = Stage()
    out, server = stage.sent(request("REGISTER"))
    stage.sent(answer(out, 401), server)
    stage.judge(server, result=ProbeResult.UNAVAILABLE)
    proof = request("REGISTER", "Authorization: Digest x", branch="z9hG4bK2", cseq=2)
    out, again = stage.sent(proof)
    assert again == server
    stage.sent(answer(out, 200, f"Contact: <sip:1001@{PHONE}>;expires=60"), server)
    refresh = request("REGISTER", "Authorization: Digest x", branch="z9hG4bK3", cseq=3)
    assert stage.to(refresh) != server, "and its refresh leaves"
    assert stage.to(request(call="new", branch="z9hG4bK4")) != server


# Health.


@pytest.mark.parametrize(
    ("result", "quiescent", "register", "invite"),
    [
        (ProbeResult.OK, False, True, True),
        (ProbeResult.UNAVAILABLE, False, False, False),
        (ProbeResult.UNAVAILABLE, True, False, False),
        (ProbeResult.REFUSED, False, False, False),
        (ProbeResult.REFUSED, True, True, True),
    ],
)
def test_whether_a_binding_stays_with_its_server(
    result: ProbeResult, quiescent: bool, register: bool, invite: bool
) -> None:
    stage = Stage(service_of(quiescent=quiescent))
    home = stage.registered()
    stage.judge(home, result=result)
    assert (stage.to(request("REGISTER", call="r", branch="z9hG4bKr")) == home) is register
    assert (stage.to(request("INVITE", call="i", branch="z9hG4bKi")) == home) is invite


def test_a_drained_server_keeps_its_dialogs_and_gets_nothing_new() -> None:
    stage = Stage()
    server, route = stage.called()
    stage.table.drain(server, stage.now)
    assert stage.to(request("INVITE", route, branch="z9hG4bKre", to=IN_DIALOG, cseq=2)) == server
    for number in range(6):
        assert stage.to(request(call=f"n{number}", branch=f"z9hG4bKn{number}")) != server


def test_weight_0_gets_nothing_new() -> None:
    stage = Stage(service_of(real(A, weight=0), real(B), real(C)))
    assert {stage.to(request(call=f"{n}", branch=f"z9hG4bK{n}")) for n in range(9)} == {B, C}


def test_a_priority_group_works_when_no_lower_one_does() -> None:
    stage = Stage(service_of(real(A, priority=1), real(B, priority=2), real(C, priority=2)))
    assert {stage.to(request(call=f"{n}", branch=f"z9hG4bK{n}")) for n in range(6)} == {A}
    stage.judge(A, result=ProbeResult.REFUSED)
    assert {stage.to(request(call=f"x{n}", branch=f"z9hG4bKx{n}")) for n in range(6)} == {B, C}


# Routes (4.1, 4.2).


@pytest.mark.parametrize(
    "host", [VIP, "pbx.example.com", "PBX.EXAMPLE.COM:5060", "public.example.net:5080", f"{VIP}:5060"]
)
def test_leading_routes_of_ours_go(host: str) -> None:
    stage = Stage(service_of(alias=("pbx.example.com",), advertise="public.example.net:5080"))
    data, to = stage.sent(request("INVITE", f"Route: <sip:{host};lr>"))
    assert to in SERVERS
    assert lines_of(data, "Route") == []


@pytest.mark.parametrize(
    "routes",
    [
        [FOREIGN],
        ["Route: <sip:192.0.2.1:5070;lr>"],
        [f"Route: <sip:{VIP};lr>", FOREIGN],
        [f"Route: <sip:{VIP};lr>, <sip:evil.example.net;lr>"],
        [token_route(A), FOREIGN],
        [token_route(A, key=b"x" * 32, host="evil.example.net")],
    ],
)
def test_a_foreign_route_is_403(routes: list[str]) -> None:
    stage = Stage()
    data, to = stage.sent(request("INVITE", *routes))
    assert (status_of(data), to) == (403, PHONE)


def test_a_repeat_with_a_foreign_route_is_refused_too() -> None:
    stage = Stage()
    assert stage.to(request()) in SERVERS
    data, to = stage.sent(request("INVITE", FOREIGN))
    assert (status_of(data), to) == (403, PHONE)


def test_a_foreign_route_is_told_once_with_the_line_to_add() -> None:
    stage = Stage()
    stage.send(request("INVITE", f"Route: <sip:{VIP};lr>", "Route: <sip:me@pbx.example.com:5080;lr>"))
    stage.send(request("INVITE", "Route: <sip:pbx.example.com:5080;lr>", branch="z9hG4bK2"))
    (event,) = stage.table.events()
    assert "alias = pbx.example.com:5080 " in event
    assert stage.table.events() == ()


def test_what_is_told_holds_nothing_that_a_terminal_obeys() -> None:
    stage = Stage()
    for number, host in enumerate(("\x1bcevil", "\x7fevil", "evil\xff", "x" * 5000)):
        stage.send(request("INVITE", f"Route: <sip:{host};lr>", branch=f"z9hG4bK{number}"))
    events = stage.table.events()
    assert events
    assert all(event.isprintable() and len(event) < 500 for event in events)


# Tokens.


def test_any_host_may_stand_behind_a_good_seal() -> None:
    stage = Stage()
    data = request("BYE", token_route(B, host="whatever.example"), to=IN_DIALOG)
    assert (stage.by(data), stage.to(data)) == ("token", B)


def test_two_keys_may_open() -> None:
    stage = Stage(keys=(b"n" * 32, KEY))
    assert stage.by(request("BYE", token_route(B), to=IN_DIALOG)) == "token"
    assert Stage(keys=(b"n" * 32,)).by(request("BYE", token_route(B), to=IN_DIALOG)) != "token"


BAD = token_route(A, key=b"x" * 32)


def test_a_bad_seal_in_a_dialog_goes_by_call_pin_then_by_uri_then_481() -> None:
    stage = Stage()
    server, _ = stage.called()
    bye = request("BYE", BAD, branch="z9hG4bK2", to=IN_DIALOG)
    data, to = stage.sent(bye)
    assert (to, lines_of(data, "Route")) == (server, [])
    unknown = request("BYE", BAD, branch="z9hG4bK3", call="unknown", to=IN_DIALOG, uri=f"sip:600@{B}")
    assert stage.to(unknown) == B
    data, to = stage.sent(request("BYE", BAD, branch="z9hG4bK4", call="unknown", to=IN_DIALOG))
    assert (status_of(data), to) == (481, PHONE)


def test_a_bad_seal_outside_a_dialog_is_as_no_token() -> None:
    stage = Stage()
    assert stage.by(request("INVITE", BAD)) == "scheduler"


def test_a_server_that_left_the_file_is_honoured_by_token_and_pin() -> None:
    stage = Stage()
    server, route = stage.called()
    home = stage.registered()
    stage.apply(service_of(*(real(address) for address in SERVERS - {server})))
    assert stage.to(request("BYE", route, branch="z9hG4bK2", to=IN_DIALOG)) == server
    assert stage.to(request("INFO", branch="z9hG4bK3", to=IN_DIALOG)) == server
    stage.restart()
    assert stage.to(request("BYE", route, branch="z9hG4bK4", to=IN_DIALOG)) == server
    assert stage.to(request("INFO", branch="z9hG4bK5", to=IN_DIALOG)) == server
    if home == server:
        assert stage.to(request("REGISTER", branch="z9hG4bK6")) != server


def test_nobody_can_make_servers_without_end() -> None:
    stage = Stage()
    seen = set()
    for number in range(1100):
        route = token_route(f"10.8.{number >> 8}.{number & 255}:5060")
        out = stage.send(request("BYE", route, branch=f"z9hG4bK{number}", call=f"{number}", to=IN_DIALOG))
        assert out is not None
        seen.add(status_of(out[0]) if out[0].startswith(b"SIP/") else 0)
    assert seen == {0, 481}
    assert len(stage.service.by_packed) <= 1024


# Services are apart.


def test_the_same_message_to_two_services_is_two_transactions() -> None:
    second = service_of(real(A), real(B), host="192.0.2.2")
    stage = Stage(service_of(real(C)), second)
    assert stage.to(request()) == C
    data, to = stage.sent(request(), leg=1)
    assert to in {A, B}
    assert lines_of(data, "Via")[0].startswith("SIP/2.0/UDP 192.0.2.2:5060")


def test_decide_only_reads() -> None:
    stage = Stage()
    first = [stage.decided(request()) for _ in range(2)]
    assert all(isinstance(one, Decision) for one in first)
    assert stage.table.state.transactions.pending == {}
    assert sum(stage.service.chosen.values()) == 0
    assert stage.now == START


def test_an_ack_that_nobody_knows_ends_here() -> None:
    stage = Stage()
    assert stage.send(request("ACK", to=IN_DIALOG)) is None
    assert stage.dropped() == {"stray ack": 1}


def test_an_ack_for_a_2xx_follows_its_dialog() -> None:
    stage = Stage()
    server, route = stage.called()
    assert stage.to(request("ACK", route, branch="z9hG4bKack", to=IN_DIALOG)) == server
    assert stage.to(request("ACK", branch="z9hG4bKack2", to=IN_DIALOG)) == server
    assert route_of(stage.sent(request("INVITE", route, branch="z9hG4bK3", to=IN_DIALOG))[0])
