"""A bug of ours costs what it is in and a count, never the loop or its neighbours (invariant 1, for the slow verbs)."""

from __future__ import annotations

from typing import Any

import pytest

from sipbalancer.director.forwarder import Forwarder
from sipbalancer.director.transactions import Transaction
from sipbalancer.sip.flow import flow_of
from tests.director.stage import A, Stage, packed, request


def fault(*words: Any, **more: Any) -> Any:
    raise RuntimeError("a bug of ours")


def due(stage: Stage, after: float = 0.05) -> list[bytes]:
    stage.now += after
    return [data for data, _ in stage.table.forwarder.due(stage.now)]


PARTS = [
    ("retries", "due"),
    ("end_calls", "due"),
    ("state.repeats", "due"),
    ("state.transactions", "expire"),
    ("state.pins", "sweep"),
    ("service", "measure"),
    ("bindings", "sweep"),
]


@pytest.mark.parametrize(("owner", "verb"), PARTS)
@pytest.mark.interpreted
def test_one_part_of_due_fails_alone(owner: str, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    forwarder: Any = stage.table.forwarder
    owners = {"service": stage.service, "bindings": forwarder.state.bindings[0], "retries": forwarder.retries}
    for step in owner.split(".") if owner not in owners else ():
        owners[owner] = getattr(owners.get(owner, forwarder), step)
    called: list[str] = []
    for other, name in PARTS:
        if (other, name) != (owner, verb) and other in ("retries", "end_calls"):
            part = getattr(forwarder, other)
            monkeypatch.setattr(part, name, lambda now, told=other: called.append(told))
    monkeypatch.setattr(owners[owner], verb, fault)
    stage.table.state.outbox.append((b"said", flow_of(0, packed(A))))
    assert due(stage) == [b"said"]
    assert set(called) == {"retries", "end_calls"} - {owner}
    assert stage.table.state.internal_errors == 1
    assert "a bug of ours" in stage.table.state.last_error


@pytest.mark.parametrize("table", ["provisional", "recent_calls", "waiting", "challenged", "unproved", "moved"])
def test_a_table_that_cannot_be_swept_leaves_the_others_swept(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    state = stage.table.state
    swept: list[object] = []
    for each in state.recent:
        monkeypatch.setattr(each, "sweep", lambda now, it=each: swept.append(it))
    monkeypatch.setattr(getattr(state, table), "sweep", fault)
    forwarder = Forwarder(state)
    forwarder.due(stage.now + 0.05)
    assert len(swept) == len(state.recent) - 1
    assert state.internal_errors == 1


@pytest.mark.interpreted
def test_one_transaction_that_cannot_expire_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    for number in range(3):
        stage.send(request("BYE", call=f"c{number}", branch=f"z9hG4bK{number}"))
    forwarder, ended = stage.table.forwarder, []
    verb = forwarder._unanswered

    def once(transaction: Transaction, now: float) -> None:
        ended.append(transaction)
        if len(ended) == 1:
            fault()
        verb(transaction, now)

    monkeypatch.setattr(forwarder, "_unanswered", once)
    due(stage, 40)
    assert len(ended) == 3
    assert stage.dropped()["internal error"] == stage.table.state.internal_errors == 1
    assert stage.dropped()["unanswered"] == 2


@pytest.mark.interpreted
def test_one_refusal_costs_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    monkeypatch.setattr(type(stage.server(A).health.evidence), "refusal", fault)
    stage.table.forwarder.refused(flow_of(0, packed(A)), stage.now)
    assert stage.table.state.internal_errors == 1
    assert stage.dropped()["internal error"] == 1
