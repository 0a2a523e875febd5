"""What a server gets of a client's request, line by line, and what is remembered beside it."""

from __future__ import annotations

import pytest

from tests.director.stage import PHONE, VIP, Stage, lines_of, request, route_of, service_of


def changed(data: bytes, out: bytes) -> tuple[list[str], list[str]]:
    """(lines that are new, lines that are gone)."""
    before, after = (text.decode("latin-1").split("\r\n") for text in (data, out))
    return [line for line in after if line not in before], [line for line in before if line not in after]


@pytest.mark.parametrize("method", ["INVITE", "SUBSCRIBE", "REFER", "NOTIFY", "UPDATE"])
def test_what_makes_or_moves_a_dialog_gets_a_record_route(method: str) -> None:
    out, _ = Stage().sent(request(method))
    assert [line.endswith(f"@{VIP}:5060;lr>") for line in lines_of(out, "Record-Route")] == [True]
    assert lines_of(out, "Path") == []


@pytest.mark.parametrize("method", ["MESSAGE", "OPTIONS", "PUBLISH"])
def test_what_makes_none_gets_none(method: str) -> None:
    out, _ = Stage().sent(request(method))
    assert lines_of(out, "Record-Route") == lines_of(out, "Path") == []


def test_a_register_gets_a_path_before_others_and_path_in_supported_once() -> None:
    stage = Stage()
    out, _ = stage.sent(request("REGISTER", "Path: <sip:edge.example.com;lr>", uri=f"sip:{VIP}"))
    assert len(paths := lines_of(out, "Path")) == 2 and paths[1] == "<sip:edge.example.com;lr>"
    assert lines_of(out, "Supported") == ["path"]
    out, _ = stage.sent(request("REGISTER", "Supported: gruu, path", uri=f"sip:{VIP}", branch="z9hG4bK2"))
    assert lines_of(out, "Supported") == ["gruu, path"]


def test_nothing_else_is_touched() -> None:
    data = request(user="O'Neil%20x", via=PHONE).replace(b"User-Agent: ", b"uSER-agent :\t")
    out, _ = Stage().sent(data)
    new, gone = changed(data, out)
    assert [line.partition(":")[0] for line in new] == ["Via", "Record-Route", "Via", "Max-Forwards"]
    assert [line.partition(":")[0] for line in gone] == ["Via", "Max-Forwards"]
    assert new[2].startswith(gone[0]) and ";received=10.1.0.1" in new[2]


def test_the_clients_address_is_set_and_its_own_word_for_it_is_gone() -> None:
    stage = Stage(service_of(clientheader="X-Client"))
    out, _ = stage.sent(request("INVITE", "x-client: 192.0.2.99", "X-CLIENT : 192.0.2.98"))
    assert [line for line in out.decode().split("\r\n") if line.lower().startswith("x-client")] == [
        "X-Client: 10.1.0.1"
    ]


def test_a_first_copy_is_counted_and_remembered_once() -> None:
    stage = Stage()
    _, server = stage.sent(request())
    stage.send(request())
    assert len(stage.table.state.transactions.pending) == 1
    assert stage.server(server).requests[b"INVITE"] >= 1
    assert stage.service.chosen["scheduler"] == 1


def test_an_ack_is_forwarded_and_leaves_no_transaction() -> None:
    stage = Stage()
    server, route = stage.called()
    pending = len(stage.table.state.transactions.pending)
    ack = request("ACK", route, branch="z9hG4bKack", to=f"<sip:600@{VIP}>;tag=t")
    out, to = stage.sent(ack)
    assert (to, lines_of(out, "Route")) == (server, [])
    assert len(stage.table.state.transactions.pending) == pending


def test_a_phone_that_moved_inside_its_call_is_answered_where_it_is() -> None:
    stage = Stage()
    server, route = stage.called()
    out, _ = stage.sent(
        request("INVITE", route, branch="z9hG4bKre", via="10.1.0.1:9;rport", to=f"<sip:600@{VIP}>;tag=t", cseq=2),
        "10.1.0.9:7000",
    )
    assert "received=10.1.0.9" in lines_of(out, "Via")[1]
    assert route_of(out) != route
