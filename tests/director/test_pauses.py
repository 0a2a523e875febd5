"""No call of ours takes long, whatever has piled up; and nothing of the pile is forgotten."""

from __future__ import annotations

from typing import Any

from sipbalancer.director import forwarder, retries
from sipbalancer.director.health import OVERLOAD_ANSWERS
from sipbalancer.director.transactions import Transaction
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult, Verdict
from tests.director.stage import PHONE, A, B, Stage, answer, real, request, service_of, status_of

CALLS = 3000


def piled_up() -> Stage:
    """Requests that A does not answer, B not being there yet."""
    stage = Stage(service_of(real(A), real(B)), up=False)
    stage.judge(A)
    for number in range(CALLS):
        assert stage.to(request(call=f"call-{number}", branch=f"z9hG4bK{number}")) == A
    return stage


def emptied(stage: Stage) -> list[list[tuple[bytes, str]]]:
    """What each further call of `due` brings, until one brings nothing."""
    batches = [stage.due()]
    while batches[-1]:
        batches.append(stage.due())
    return batches


def test_copies_of_many_requests_leave_by_and_by() -> None:
    stage = piled_up()
    stage.now += 0.2
    batches = emptied(stage)
    assert max(map(len, batches)) <= retries.AT_ONCE
    assert len({data for batch in batches for data, _ in batch}) == CALLS


def test_what_a_dead_server_leaves_moves_by_and_by() -> None:
    stage = piled_up()
    stage.judge(B)
    stage.judge(A, result=ProbeResult.REFUSED)
    assert len(stage.table.forwarder.outbox) <= retries.AT_ONCE
    batches = emptied(stage)
    assert max(map(len, batches)) <= 2 * retries.AT_ONCE
    assert sum(to == B for batch in batches for _, to in batch) == CALLS
    assert stage.server(A).transactions == 0 and stage.server(B).transactions == CALLS


def test_a_server_that_is_back_at_once_keeps_the_rest() -> None:
    stage = piled_up()
    stage.judge(B)
    stage.judge(A, result=ProbeResult.REFUSED)
    moved = len(stage.due())
    stage.judge(A)
    emptied(stage)
    assert stage.server(A).transactions == CALLS - moved


def test_answers_of_ours_that_nobody_takes_are_repeated_by_and_by() -> None:
    stage = Stage(service_of(real(A)))
    for number in range(CALLS):
        stage.send(request(call=f"call-{number}", branch=f"z9hG4bK{number}"))
    stage.judge(A, result=ProbeResult.REFUSED)
    finals = [status_of(data) for batch in emptied(stage) for data, _ in batch]
    assert finals == [503] * CALLS
    stage.now += 0.6
    batches = emptied(stage)
    assert max(map(len, batches)) <= 2 * retries.AT_ONCE
    assert sum(to == PHONE for batch in batches for _, to in batch) == CALLS


def test_a_move_leaves_one_timer() -> None:
    """A held 503 and the move after it set one each; the copies came threefold."""
    stage = Stage()
    out, server = stage.sent(request())
    assert stage.send(answer(out, 503), server) is None
    stage.judge(server, result=ProbeResult.UNAVAILABLE)
    sent = [stage.due() + stage.due(0.11), *(stage.due(0.05) for _ in range(30))]
    invites = [number for number, batch in enumerate(sent) for data, _ in batch if data.startswith(b"INVITE")]
    assert len(invites) == 4  # at once, after 0.1, 0.3 and 0.7 s


def test_what_an_overloaded_server_leaves_moves_by_and_by() -> None:
    stage = piled_up()
    stage.judge(B)
    health = stage.server(A).health
    stage.now += 5
    for _ in range(OVERLOAD_ANSWERS):
        health.evidence.answered(True, stage.now)
    stage.table.probed(health, ProbeOutcome(ProbeResult.TIMEOUT, "silent", 0.001, 20, 1.0), stage.now)
    assert stage.server(A).verdict is Verdict.OVERLOADED
    assert len(stage.table.forwarder.outbox) <= retries.AT_ONCE
    batches = emptied(stage)
    assert max(map(len, batches)) <= 2 * retries.AT_ONCE
    assert stage.server(A).transactions == 0 and stage.server(B).transactions == CALLS


def test_503s_that_waited_for_a_probe_are_settled_by_and_by() -> None:
    stage = Stage(service_of(real(A), real(B)), up=False)
    stage.judge(A)
    sent = [stage.sent(request(call=f"call-{number}", branch=f"z9hG4bK{number}"))[0] for number in range(CALLS)]
    stage.judge(B)
    assert [stage.send(answer(out, 503), A) for out in sent] == [None] * CALLS
    stage.judge(A)
    assert len(stage.table.forwarder.outbox) <= retries.AT_ONCE
    batches = emptied(stage)
    assert max(map(len, batches)) <= 2 * retries.AT_ONCE
    assert sum(to == PHONE for batch in batches for _, to in batch) == CALLS


class Counting(dict[bytes, Transaction]):
    """Counts what is looked up."""

    looked = 0

    def get(self, key: bytes, default: Any = None) -> Any:
        self.looked += 1
        return super().get(key, default)


def test_timers_of_what_has_ended_are_passed_over_by_and_by() -> None:
    """An INVITE flood that is answered at once leaves a timer each."""
    stage = Stage()
    state, dead = stage.table.state, 3 * retries.KEYS_AT_ONCE
    for number in range(dead):
        state.wheel.set(b"%d" % number, stage.now)
    stage.send(request("OPTIONS"))
    stage.now += 1
    pending = state.transactions.pending = Counting(state.transactions.pending)
    looked = []
    for _ in range(6):
        before = pending.looked
        stage.due()
        looked.append(pending.looked - before)
    assert max(looked) <= retries.KEYS_AT_ONCE
    assert sum(looked) >= dead + 1
    assert looked[-1] == 0, "each once"
    assert stage.service.chosen["repeat"] == 1, "the living one among them"


def test_many_that_expire_at_once_do_so_by_and_by() -> None:
    stage = piled_up()
    transactions = stage.table.state.transactions
    stage.now += 250
    left = []
    while transactions.pending:
        left.append(len(transactions.pending))
        stage.table.forwarder._expire(stage.now)
    steps = [before - after for before, after in zip(left, [*left[1:], 0], strict=True)]
    assert max(steps) <= 2 * forwarder._DUE_TRANSACTIONS
    assert stage.dropped()["unanswered"] == CALLS
