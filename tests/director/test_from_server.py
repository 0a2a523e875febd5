"""A request from a server: which flow, and what becomes of its Request-URI (design 4.3)."""

from __future__ import annotations

import pytest

from sipbalancer.director import from_server as module
from sipbalancer.sip.contacts import Contact, only_contact
from sipbalancer.sip.flow_token import FlowToken, TokenSealer
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
    packed,
    real,
    request,
    route_of,
    service_of,
    status_of,
)

IN_DIALOG = "<sip:1001@x>;tag=t"


def token(server: str, client: str, key: bytes = KEY) -> str:
    return TokenSealer((key,)).seal(FlowToken(packed(server), packed(client))).decode()


def from_server(
    server: str, uri: str, *more: str, method: str = "INVITE", branch: str = "z9hG4bKs1", **words: str
) -> bytes:
    return request(method, *more, uri=uri, via=f"{server};rport", branch=branch, **words)  # type: ignore[arg-type]


def sent_by(stage: Stage, server: str, uri: str, *more: str, **words: str) -> tuple[bytes, str]:
    return stage.sent(from_server(server, uri, *more, **words), server)


def first_line(data: bytes) -> str:
    return data.decode("latin-1").partition("\r\n")[0]


# Where it goes.


def test_the_token_of_a_path_decides() -> None:
    stage = Stage()
    home = stage.registered()
    out, to = sent_by(stage, home, f"sip:1001@{PHONE}", f"Route: <sip:{token(home, PHONE)}@{VIP}:5060;lr>")
    assert to == PHONE
    assert first_line(out) == f"INVITE sip:1001@{PHONE} SIP/2.0"
    assert lines_of(out, "Route") == []


def test_every_leading_route_of_ours_goes_and_the_first_good_seal_decides() -> None:
    stage = Stage()
    routes = (
        f"<sip:{VIP};lr>, <sip:{token(A, PHONE)}@{VIP};lr>",
        f"<sip:{token(A, OTHER)}@{VIP};lr>",
        "<sip:edge.example;lr>",
    )
    out, to = sent_by(stage, A, "sip:1001@198.51.100.9", *(f"Route: {route}" for route in routes))
    assert (to, lines_of(out, "Route")) == (PHONE, ["<sip:edge.example;lr>"])


@pytest.mark.parametrize("key", [KEY, b"x" * 32])
def test_a_bad_seal_is_as_no_token(key: bytes) -> None:
    stage = Stage()
    stage.registered("1001", OTHER)
    out, to = sent_by(stage, A, f"sip:1001@{OTHER}", f"Route: <sip:{token(A, PHONE, key)}@{VIP};lr>")
    assert to == (PHONE if key == KEY else OTHER)
    assert lines_of(out, "Route") == []


@pytest.mark.parametrize(
    ("contact", "uri", "becomes"),
    [
        ("sip:1001@192.168.1.5:5062", "sip:1001@192.168.1.5:5062", ""),
        ("sip:1001@192.168.1.5:5062", "sip:1001@192.168.1.5:5062;transport=udp", ""),
        ("sip:1001@pc.local;line=7", "sip:1001@PC.local;line=7", ""),
        ("sip:abc@192.168.1.5", f"sip:abc@{VIP}", "sip:abc@192.168.1.5"),
        ("sip:abc@192.168.1.5", "sip:abc@pbx.example.com", "sip:abc@192.168.1.5"),
        ("sip:abc@192.168.1.5", f"sip:1001@{VIP}", "sip:abc@192.168.1.5"),
    ],
)
def test_without_a_token_the_contact_then_its_user_then_the_aor(contact: str, uri: str, becomes: str) -> None:
    stage = Stage(service_of(alias=("pbx.example.com",)))
    home = stage.registered(contact=f"<{contact}>")
    out, to = sent_by(stage, home, uri)
    assert to == PHONE
    assert first_line(out) == f"INVITE {becomes or uri} SIP/2.0"


@pytest.mark.parametrize(
    ("uri", "words", "status"),
    [
        (f"sip:nobody@{VIP}", {}, 480),
        (f"sip:{VIP}", {}, 480),
        ("sip:1001@192.168.1.5:5099", {}, 403),
        ("sip:1001@198.51.100.1", {}, 403),
        ("tel:112", {}, 403),
        ("sip:trunk.example.net", {"outbound": True}, 480),
    ],
)
def test_nobody_is_480_and_elsewhere_403(uri: str, words: dict[str, bool], status: int) -> None:
    stage = Stage(service_of(**words))
    stage.registered()
    out, to = sent_by(stage, A, uri)
    assert (status_of(out), to) == (status, A)


def test_outbound_goes_to_an_address() -> None:
    stage = Stage(service_of(outbound=True))
    assert sent_by(stage, A, "sip:1@198.51.100.1:5070")[1] == "198.51.100.1:5070"


def test_two_phones_of_one_aor_are_two_bindings() -> None:
    stage = Stage()
    home = stage.registered("1001", PHONE)
    stage.registered("1001", OTHER, also=f"<sip:1001@{PHONE}>")
    assert sent_by(stage, home, f"sip:1001@{PHONE}", branch="z9hG4bK1")[1] == PHONE
    assert sent_by(stage, home, f"sip:1001@{OTHER}", branch="z9hG4bK2")[1] == OTHER
    stage.now += 1
    stage.registered("1001", OTHER, expires=0, also=f"<sip:1001@{PHONE}>")
    assert sent_by(stage, home, f"sip:1001@{PHONE}", branch="z9hG4bK3")[1] == PHONE
    assert status_of(sent_by(stage, home, f"sip:1001@{OTHER}", branch="z9hG4bK4")[0]) == 403


def test_each_of_two_phones_gets_its_own_contact_where_the_uri_names_us() -> None:
    stage = Stage()
    home = stage.registered("1001", PHONE)
    stage.registered("1001", OTHER, also=f"<sip:1001@{PHONE}>")
    for number, phone in enumerate((PHONE, OTHER)):
        route = f"Route: <sip:{token(home, phone)}@{VIP};lr>"
        out, to = sent_by(stage, home, f"sip:1001@{VIP}", route, branch=f"z9hG4bK{number}")
        assert (to, first_line(out)) == (phone, f"INVITE sip:1001@{phone} SIP/2.0")


# Which side.


@pytest.mark.parametrize(
    ("source", "is_server"),
    [
        (A, True),
        ("192.0.2.11:5099", True),
        ("192.0.2.20:5060", True),
        ("198.51.100.7:5060", True),
        ("192.0.2.12:5060", True),
        ("192.0.2.30:5060", True),
        ("192.0.2.30:5061", True),
        ("192.0.2.30:5099", False),
        (PHONE, False),
    ],
)
def test_who_is_a_server(source: str, is_server: bool) -> None:
    shared = real("192.0.2.30:5060"), real("192.0.2.30:5061")
    a = real(A, source=("198.51.100.7", "192.0.2.12"))
    stage = Stage(service_of(a, real(B), *shared, fallback=real("192.0.2.20:5060")))
    assert (stage.service.source(packed(source)) is not None) is is_server
    if source == B:
        assert stage.service.source(packed("192.0.2.12:5099")) is stage.server(B), (
            "its own address before another's `source`"
        )


def test_a_phone_on_a_servers_host_is_a_client_inside_its_dialog() -> None:
    stage = Stage()
    phone = "192.0.2.11:5099"
    route = f"Route: <sip:{token(A, phone)}@{VIP};lr>"
    bye = request("BYE", route, uri=f"sip:600@{A}", via=f"{phone};rport", to=IN_DIALOG)
    assert stage.to(bye, phone) == A


def test_a_server_that_called_another_through_us_is_a_client_in_that_dialog() -> None:
    stage = Stage()
    route = f"Route: <sip:{token(B, A)}@{VIP};lr>"
    assert stage.to(request("BYE", route, to=IN_DIALOG, via=f"{A};rport"), A) == B
    assert stage.to(request("BYE", route, to=IN_DIALOG, via=f"{B};rport", branch="z9hG4bK2"), B) == A


def test_a_register_from_a_servers_host_is_a_clients() -> None:
    stage = Stage()
    assert stage.to(request("REGISTER", via="192.0.2.11:5099;rport"), "192.0.2.11:5099") in {A, B, C}


# What leaves.


def test_via_and_record_route_name_the_server_it_came_from() -> None:
    stage = Stage()
    out, _ = stage.sent(from_server(B, f"sip:1001@{PHONE}", f"Route: <sip:{token(A, PHONE)}@{VIP};lr>"), B)
    own = lines_of(out, "Record-Route")[0].partition(":")[2].partition("@")[0]
    assert TokenSealer((KEY,)).open(own.encode()) == FlowToken(packed(B), packed(PHONE))
    assert lines_of(out, "Via")[1] == f"SIP/2.0/UDP {B};rport=5060;received=192.0.2.12;branch=z9hG4bKs1"
    assert stage.sent(answer(out, 200), PHONE)[1] == B


def test_its_cancel_and_ack_share_flow_and_branch_also_when_the_phone_registers_anew() -> None:
    stage = Stage()
    home = stage.registered(contact="<sip:1001@192.168.1.5>")
    out, to = sent_by(stage, home, "sip:1001@192.168.1.5")
    stage.now += 1
    stage.registered(phone=OTHER, contact="<sip:1001@192.168.1.5>")
    cancel, again = sent_by(stage, home, "sip:1001@192.168.1.5", method="CANCEL")
    assert (again, lines_of(cancel, "Via")[0]) == (to, lines_of(out, "Via")[0])


def test_the_ack_of_a_refusal_follows_its_invite_when_the_phone_has_registered_anew() -> None:
    """No Path here: nothing in the ACK says where, but that it is that INVITE's."""
    stage = Stage()
    home = stage.registered(contact="<sip:1001@192.168.1.5>")
    out, to = sent_by(stage, home, "sip:1001@192.168.1.5")
    stage.sent(answer(out, 486), PHONE)
    stage.now += 1
    stage.registered(phone=OTHER, contact="<sip:1001@192.168.1.5>")
    for method in ("ACK", "CANCEL", "INVITE"):
        late, again = sent_by(stage, home, "sip:1001@192.168.1.5", method=method)
        assert (again, lines_of(late, "Via")[0]) == (to, lines_of(out, "Via")[0])
    assert len(stage.table.state.transactions.pending) == 0
    assert sent_by(stage, home, "sip:1001@192.168.1.5", branch="z9hG4bKnew")[1] == OTHER
    stage.due(70)
    assert sent_by(stage, home, "sip:1001@192.168.1.5", method="CANCEL")[1] == OTHER, "32 s later it is over"


def test_and_names_the_contact_its_invite_named() -> None:
    stage = Stage()
    home = stage.registered(contact="<sip:abc@192.168.1.5>")
    out, to = sent_by(stage, home, f"sip:1001@{VIP}")
    stage.now += 1
    stage.registered(phone=OTHER, contact="<sip:xyz@192.168.7.7>")
    cancel, again = sent_by(stage, home, f"sip:1001@{VIP}", method="CANCEL")
    assert (again, first_line(cancel)) == (to, "CANCEL sip:abc@192.168.1.5 SIP/2.0")
    stage.sent(answer(out, 487), PHONE)
    ack, again = sent_by(stage, home, f"sip:1001@{VIP}", method="ACK")
    assert (again, first_line(ack)) == (to, "ACK sip:abc@192.168.1.5 SIP/2.0")


# A flow that moves.


def moved(stage: Stage, *, call: str = "call-1", status: int = 200, to: str = IN_DIALOG, tagged: bool = True) -> str:
    """A phone's call; then it speaks from another address. Where the server's request in the dialog goes."""
    server, route = stage.called(call)
    info = request("INFO", route, call=call, branch="z9hG4bKm", to=to, via=f"{OTHER};rport", cseq=2)
    out, _ = stage.sent(info if tagged else info.replace(b";tag=f", b""), OTHER)
    stage.sent(answer(out, status), server)
    return stage.to(from_server(server, f"sip:1001@{PHONE}", route, method="BYE", call=call, to=IN_DIALOG), server)


def test_a_dialogs_flow_moves_after_a_request_that_the_server_answered_2xx() -> None:
    assert moved(Stage()) == OTHER


@pytest.mark.parametrize("status", [401, 403, 481, 500])
def test_and_not_after_one_it_refused(status: int) -> None:
    assert moved(Stage(), status=status) == PHONE


def test_nor_without_both_tags() -> None:
    assert moved(Stage(), tagged=False) == PHONE
    assert moved(Stage(), to=f"<sip:600@{VIP}>") == PHONE


def test_nor_by_a_stranger_with_a_token_of_its_own() -> None:
    stage = Stage()
    server, route = stage.called("victim")
    theirs = f"Route: <sip:{token(server, '10.6.6.6:5060')}@{VIP};lr>"
    out, _ = stage.sent(
        request("INFO", theirs, call="victim", branch="z9hG4bKx", to=IN_DIALOG, via=f"{OTHER};rport"), OTHER
    )
    stage.sent(answer(out, 200), server)
    bye = from_server(server, f"sip:1001@{PHONE}", route, method="BYE", call="victim", to=IN_DIALOG)
    assert stage.to(bye, server) == PHONE
    assert route_of(stage.sent(from_server(server, f"sip:1001@{PHONE}", route, branch="z9hG4bKy"), server)[0])


@pytest.mark.parametrize("credentials", [(), ('Authorization: Digest username="1001"',)])
@pytest.mark.parametrize("known", [None, "1001", "1002"])
@pytest.mark.parametrize("method", ["OPTIONS", "NOTIFY"])
def test_what_overtakes_the_200_to_a_register_meets_the_contact_it_stored(
    method: str, known: str | None, credentials: tuple[str, ...]
) -> None:
    stage = Stage(service_of(real(A)))
    if known:
        stage.registered(known, OTHER)
    new = f"sip:1001@{PHONE}"
    asked = request("REGISTER", f"Contact: <{new}>", "Expires: 60", *credentials, uri=f"sip:{VIP}", branch="z9hG4bKnew")
    register, _ = stage.sent(asked)
    early = request(method, f"Route: <sip:{VIP};lr>", uri=new, call="q", via=f"{A};rport", branch="z9hG4bKq")
    assert stage.to(early, A) == PHONE
    late = early.replace(b"z9hG4bKq", b"z9hG4bKlate")
    stage.now += 3
    assert stage.decided(late, A).refusal == 403, "the 200 did not come"
    stage.sent(answer(register, 200, f"Contact: <{new}>;expires=60"), A)
    assert stage.to(late, A) == PHONE


def test_an_unregister_is_no_contact_to_come() -> None:
    stage = Stage(service_of(real(A)))
    stage.sent(request("REGISTER", f"Contact: <sip:1001@{PHONE}>;expires=0", uri=f"sip:{VIP}"))
    early = request("OPTIONS", uri=f"sip:1001@{PHONE}", call="q", via=f"{A};rport", branch="z9hG4bKq")
    assert stage.decided(early, A).refusal == 403


@pytest.mark.parametrize("uri", ["sip:1001@10.2.0.1:5060", "sip:10.2.0.1", "sip:10%301@10.2.0.1"])
@pytest.mark.interpreted
def test_a_contact_to_come_is_found_by_few_looks_among_many(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(service_of(real(A)))
    contacts = [uri, *(f"sip:{number}@10.3.{number}.1" for number in range(2, 50))]
    for number, contact in enumerate(contacts):
        stage.sent(
            request(
                "REGISTER", f"Contact: <{contact}>", user=f"{number}u", branch=f"z9hG4bKr{number}", call=f"{number}"
            )
        )
    read: list[bytes] = []

    def counted(data: bytes) -> Contact | None:
        read.append(data)
        return only_contact(data)

    monkeypatch.setattr(module, "only_contact", counted)
    early = request("OPTIONS", uri=uri, call="q", via=f"{A};rport", branch="z9hG4bKq")
    assert stage.to(early, A) == PHONE
    assert len(read) == (len(contacts) if "%" in uri else 1), "an escaped user may be written in many ways"
    read.clear()
    known = request("OPTIONS", f"Route: <sip:{token(A, OTHER)}@{VIP};lr>", uri="sip:x@10.9.9.9", via=f"{A};rport")
    assert (stage.to(known, A), read) == (OTHER, []), "whose token says where needs no look"
