"""No call of ours takes long, whatever has piled up; and nothing of the pile is forgotten."""

from __future__ import annotations

from sipbalancer.director import retries
from sipbalancer.director.verdict import ProbeResult
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
