"""The ACK of a 2xx that came again: kept, said twice, and nothing of the others (design 4, invariants 2, 3, 5)."""

from __future__ import annotations

from sipbalancer.director import acks
from sipbalancer.director.acks import Acks
from sipbalancer.sip.flow import Datagram, flow_of
from tests.director.stage import PHONE, A, Stage, answer, lines_of, packed, request, route_of

ACK: Datagram = (b"ACK", flow_of(0, packed(A)))
TAGGED = "<sip:600@192.0.2.1>;tag=t"


def called(stage: Stage) -> tuple[str, bytes, bytes]:
    """(server, its 200, the phone's ACK)."""
    out, server = stage.sent(request())
    said = answer(out, 200, f"Contact: <sip:{server}>")
    stage.sent(said, server)
    return server, said, request("ACK", route_of(out), to=TAGGED, branch="z9hG4bKack", uri=f"sip:{server}")


def test_an_ack_that_arrives_is_not_kept_and_leaves_once() -> None:
    stage = Stage()
    server, _, ack = called(stage)
    assert stage.to(ack) == server
    assert stage.due() == stage.due(0.1) == []
    assert len(stage.table.state.acks.unheard) == 0


def test_a_2xx_that_comes_again_goes_on_and_its_ack_leaves_twice() -> None:
    stage = Stage()
    server, said, ack = called(stage)
    stage.send(ack)
    assert stage.to(said, server) == PHONE
    assert stage.due() == [], "the first ACK was not kept"
    again = stage.sent(ack)
    assert stage.due(0.03) == []
    assert stage.due(0.03) == [again], "the same bytes: the same branch"
    assert stage.due(5.0) == []
    assert stage.service.chosen["repeat"] == 1


def test_the_next_one_is_answered_at_once_by_the_kept_ack() -> None:
    stage = Stage()
    server, said, ack = called(stage)
    stage.send(said, server)
    sent = stage.sent(ack)
    stage.due(0.1)
    assert stage.to(said, server) == PHONE
    assert stage.due() == [sent]
    assert stage.due(0.06) == [sent]
    stage.due(70)
    assert stage.to(said, server) == PHONE
    assert stage.due() == [], "kept for 32 s"
    assert len(stage.table.state.acks.unheard) == 1


def test_another_calls_ack_is_neither_kept_nor_said_twice() -> None:
    stage = Stage()
    server, said, ack = called(stage)
    stage.send(said, server)
    for other in (
        ack.replace(b"call-1", b"call-2"),
        ack.replace(b";tag=t", b";tag=u"),
        ack.replace(b": 1 A", b": 2 A"),
    ):
        stage.send(other.replace(b"z9hG4bKack", b"z9hG4bKother"))
    assert stage.due(0.1) == []
    stage.send(ack.replace(b": 1 A", b": 01 A"))
    assert len(stage.due(0.1)) == 1


def test_a_restarted_balancer_does_the_same() -> None:
    stage = Stage()
    server, said, ack = called(stage)
    stage.restart()
    assert stage.to(said, server) == PHONE
    sent = stage.sent(ack)
    assert stage.due(0.1) == [sent]


def test_a_phones_2xx_that_comes_again_leaves_twice_and_meets_the_servers_ack_at_once() -> None:
    stage = Stage()
    home = stage.registered()
    invite = request(uri=f"sip:1001@{PHONE}", via=f"{home};rport", branch="z9hG4bKs")
    out, _ = stage.sent(invite, home)
    said = answer(out, 200, f"Contact: <sip:1001@{PHONE}>")
    popped = stage.sent(said, PHONE)
    assert stage.due(0.1) == []
    assert stage.sent(said, PHONE) == popped
    assert stage.due(0.1) == [popped], "it may be the 2xx that is lost"
    route = route_of(out)
    ack = request("ACK", route, uri=f"sip:1001@{PHONE}", via=f"{home};rport", branch="z9hG4bKsa", to=TAGGED)
    sent = stage.sent(ack, home)
    assert sent[1] == PHONE and lines_of(sent[0], "Via")
    assert stage.due(0.1) == [sent]
    assert stage.sent(said, PHONE) == popped
    assert stage.due() == [sent]
    assert stage.due(0.1) == [sent]


def test_a_stranger_cannot_make_us_say_a_2xx_twice() -> None:
    stage = Stage()
    home = stage.registered()
    invite = request(uri=f"sip:1001@{PHONE}", via=f"{home};rport", branch="z9hG4bKs")
    out, _ = stage.sent(invite, home)
    made_up = answer(out, 200).replace(b"branch=z9hG4bK", b"branch=z9hG4bKx", 1)
    for _ in range(3):
        stage.send(made_up, PHONE)
    assert stage.due() == stage.due(0.1) == []


def test_without_a_number_or_for_another_method_nothing_is_kept() -> None:
    stage = Stage()
    server, said, _ = called(stage)
    for spoiled in (said.replace(b"CSeq: 1 INVITE", b"CSeq: x INVITE"), said.replace(b"1 INVITE", b"1 REGISTER")):
        assert stage.to(spoiled, server) == PHONE
    assert len(stage.table.state.acks.unheard) == 0


def test_what_is_kept_is_bounded() -> None:
    held = Acks()
    for key in range(acks.LIMIT + 10):
        held.missing(key, 0.0)
        held.passed(key, ACK, 0.0)
    assert len(held.unheard) == acks.LIMIT and held.unheard.refused > 0
    batches = [len(held.due(1.0)) for _ in range(acks.LIMIT // acks.AT_ONCE + 1)]
    assert batches == [acks.AT_ONCE] * (acks.LIMIT // acks.AT_ONCE) + [0]
    long = (b"x" * (acks.LONGEST + 1), ACK[1])
    assert held.passed(5, long, 1.0), "said twice"
    assert held.missing(5, 1.0) == ACK, "and not kept"
