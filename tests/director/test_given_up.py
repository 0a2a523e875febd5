"""Whatever the server that was left still says: one row each, what it gets for it, and that the phone hears nothing."""

from __future__ import annotations

import pytest

from sipbalancer.director.verdict import ProbeResult
from tests.director.stage import PHONE, Stage, answer, request, service_of


def _moved(method: str = "INVITE") -> tuple[Stage, bytes, str]:
    """A request that left its server, which is down: (stage, the bytes it had, the server)."""
    stage = Stage(service_of())
    data = request(method, "Contact: <sip:1001@10.1.0.1>")
    first, server = stage.sent(data)
    stage.judge(server, result=ProbeResult.REFUSED)
    assert [to for _, to in stage.due()] == [_second(stage)]
    return stage, first, server


def _second(stage: Stage) -> str:
    return next(iter(stage.table.state.transactions.pending.values())).server.key


def _said(stage: Stage, data: bytes, server: str) -> list[tuple[str, str]]:
    """What the balancer sends because of it: (method, destination)."""
    assert stage.send(data, server) is None, "nothing for the phone"
    return [(out.split(b" ")[0].decode(), to) for out, to in stage.due()]


@pytest.mark.parametrize(
    ("status", "words"), [(100, ["CANCEL"]), (180, ["CANCEL"]), (200, ["ACK", "BYE"]), (302, ["ACK"]), (486, ["ACK"])]
)
def test_an_invite_is_cleaned_up(status: int, words: list[str]) -> None:
    stage, first, server = _moved()
    late = answer(first, status, "Contact: <sip:600@192.0.2.99:5070>")
    assert _said(stage, late, server) == [(word, server) for word in words]


def test_a_final_that_comes_again_is_acknowledged_again_and_a_bye_is_not_doubled() -> None:
    stage, first, server = _moved()
    late = answer(first, 200, "Contact: <sip:600@192.0.2.99:5070>")
    assert len(_said(stage, late, server)) == 2
    assert _said(stage, late, server) == [("ACK", server)]


@pytest.mark.parametrize("method", ["REGISTER", "MESSAGE", "OPTIONS"])
def test_a_late_answer_to_anything_else_is_dropped(method: str) -> None:
    stage, first, server = _moved(method)
    assert _said(stage, answer(first, 200), server) == []
    assert stage.dropped()["given-up try"] == 1


def test_a_2xx_without_contact_can_only_be_counted() -> None:
    stage, first, server = _moved()
    assert _said(stage, answer(first, 200), server) == []
    assert stage.dropped()["given-up try without Contact"] == 1


def test_the_answer_to_our_cancel_ends_it() -> None:
    stage, first, server = _moved()
    stage.send(answer(first, 180), server)
    ((cancel, to),) = stage.due()
    assert to == server and b"CSeq: 1 CANCEL" in cancel
    assert [out for out, _ in stage.due(0.6) if out.startswith(b"CANCEL")] == [cancel]
    stage.send(answer(cancel, 200), server)
    assert not [out for out, _ in stage.due(2.0) if out.startswith(b"CANCEL")]
    assert stage.dropped()["answer to us"] == 1


def test_the_other_server_is_heard() -> None:
    stage, _, _ = _moved()
    second = next(iter(stage.table.state.transactions.pending.values()))
    out, client = stage.sent(answer(second.sent, 200, "Contact: <sip:600@x>"), second.server.key)
    assert client == PHONE and out.startswith(b"SIP/2.0 200")
