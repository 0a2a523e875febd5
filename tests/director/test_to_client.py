"""What a client gets of a server's request, and what is remembered beside it."""

from __future__ import annotations

from tests.director.stage import PHONE, VIP, Stage, answer, lines_of, request, route_of


def path_of(stage: Stage) -> tuple[str, str]:
    """A phone registers: (its server, the Route line of its Path)."""
    out, server = stage.sent(
        request("REGISTER", f"Contact: <sip:1001@{PHONE}>", "Expires: 60", uri=f"sip:{VIP}", call="reg")
    )
    stage.sent(answer(out, 200, f"Contact: <sip:1001@{PHONE}>;expires=60"), server)
    return server, route_of(out, "Path")


def from_server(
    server: str, method: str, *more: str, to: str = "<sip:1001@h>", uri: str = f"sip:1001@{PHONE}"
) -> bytes:
    return request(method, *more, uri=uri, user="600", via=f"{server};rport", branch="z9hG4bKs", call="out", to=to)


def test_our_route_goes_and_via_and_record_route_name_the_server() -> None:
    stage = Stage()
    server, route = path_of(stage)
    out, to = stage.sent(from_server(server, "INVITE", route), server)
    assert (to, lines_of(out, "Route")) == (PHONE, [])
    assert len(lines_of(out, "Record-Route")) == 1
    assert lines_of(out, "Via")[0].startswith(f"SIP/2.0/UDP {VIP}:5060;branch=z9hG4bK")
    assert "rport=5060" in lines_of(out, "Via")[1]
    assert lines_of(out, "Max-Forwards") == ["69"]


def test_a_request_that_makes_no_dialog_gets_no_record_route() -> None:
    stage = Stage()
    server, route = path_of(stage)
    for method in ("OPTIONS", "MESSAGE"):
        out, _ = stage.sent(from_server(server, method, route), server)
        assert lines_of(out, "Record-Route") == []


def test_a_request_uri_of_ours_becomes_the_contact() -> None:
    """rewrite_contact: the server knows the phone by the virtual address."""
    stage = Stage()
    server, _ = path_of(stage)
    out, to = stage.sent(from_server(server, "INVITE", uri=f"sip:1001@{VIP}"), server)
    assert to == PHONE
    assert out.startswith(b"INVITE sip:1001@10.1.0.1:5060 SIP/2.0\r\n")


def test_it_is_counted_as_sent_by_the_server_and_as_its_sign_of_life() -> None:
    stage = Stage()
    server, route = path_of(stage)
    stage.sent(from_server(server, "INVITE", route), server)
    assert stage.server(server).sent[b"INVITE"] == 1
    assert stage.service.chosen["client_token"] == 1
    assert stage.server(server).health.evidence.own == stage.now


def test_its_ack_leaves_no_transaction() -> None:
    stage = Stage()
    server, route = path_of(stage)
    before = len(stage.table.state.transactions.pending)
    stage.sent(from_server(server, "ACK", route, to="<sip:1001@h>;tag=p"), server)
    assert len(stage.table.state.transactions.pending) == before
    stage.sent(from_server(server, "INVITE", route), server)
    assert len(stage.table.state.transactions.pending) == before + 1
