"""The server hop in rows: when we repeat, when a request moves, when we answer it ourselves."""

from __future__ import annotations

import pytest

from sipbalancer.director.verdict import ProbeResult
from tests.director.stage import Stage, answer, real, request, service_of, status_of

UNAVAILABLE = ProbeResult.UNAVAILABLE


def _times(stage: Stage, data: bytes, seconds: float) -> list[float]:
    """When these bytes left again, from now on."""
    start, found = stage.now, []
    while stage.now < start + seconds:
        found += [round(stage.now - start, 2) for out, _ in stage.due(0.05) if out == data]
    return found


@pytest.mark.parametrize("method", ["INVITE", "REGISTER", "MESSAGE"])
def test_an_unanswered_request_is_repeated_ever_less_often_and_for_32_seconds(method: str) -> None:
    stage = Stage(service_of(real("192.0.2.11:5060")))
    out, _ = stage.sent(request(method))
    times = _times(stage, out, 60)
    assert times[0] <= 0.2 and times[-1] < 33
    assert 8 <= len(times) <= 170, "every 200 ms at most, while nobody has judged the server"


def test_what_our_own_queue_holds_is_not_the_servers_silence() -> None:
    stage = Stage(service_of(real("192.0.2.11:5060")))
    stage.judge("192.0.2.11:5060")
    stage.now += 1
    stage.table.behind(0.4)
    evidence = stage.server("192.0.2.11:5060").health.evidence
    out, _ = stage.sent(request("REGISTER"))
    assert _times(stage, out, 0.45) == [] and not evidence.suspected
    times = _times(stage, out, 3)
    assert times[0] <= 0.2, "100 ms after an answer can have been read"
    assert evidence.suspected
    assert min(later - earlier for earlier, later in zip(times, times[1:], strict=False)) >= 0.5


@pytest.mark.parametrize(("behind", "moves_after"), [(0.0, 0.2), (1.0, 1.2)])
def test_nothing_leaves_a_silent_server_before_we_have_read_what_came(behind: float, moves_after: float) -> None:
    """The queue grew after the request left: what was armed then knew nothing of it."""
    stage = Stage(service_of())
    stage.judge()
    stage.now += 1
    out, server = stage.sent(request("REGISTER"))
    begun = stage.now
    stage.due(0.15)
    stage.table.behind(behind)
    stage.server(server).health.evidence.probe_silent(begun)
    while not stage.table.state.services[0].chosen["failover"] and stage.now < begun + 5:
        stage.due(0.05)
    assert moves_after <= stage.now - begun < moves_after + 1.5
    assert stage.server(server).transactions == 0


def test_the_clients_copies_are_swallowed_until_the_server_says_something() -> None:
    stage = Stage(service_of())
    data = request()
    out, server = stage.sent(data)
    assert stage.send(data) is None
    stage.send(answer(out, 100), server)
    assert stage.sent(data) == (out, server)


@pytest.mark.parametrize(("retry_after", "moves"), [((), False), (("Retry-After: 30",), True)])
def test_a_503_moves_only_when_it_speaks_for_the_server(retry_after: tuple[str, ...], moves: bool) -> None:
    stage = Stage(service_of())
    out, server = stage.sent(request())
    assert stage.send(answer(out, 503, *retry_after), server) is None, "held, or moved"
    stage.judge(server)
    sent = [(data.split(b" ")[0], to) for data, to in stage.due()]
    assert (b"ACK", server) in sent if moves else [word for word, _ in sent] == [b"SIP/2.0"]
    assert any(word == b"INVITE" and to != server for word, to in sent) is moves


def test_a_503_that_waits_follows_nobody_to_another_server() -> None:
    stage = Stage(service_of())
    out, server = stage.sent(request())
    stage.send(answer(out, 503), server)
    stage.judge(server, result=ProbeResult.REFUSED)
    stage.due(0.05)
    (moved,) = stage.table.state.transactions.pending.values()
    assert moved.server.key != server and moved.held is None
    assert not [data for data, _ in stage.due(0.05) if data.startswith(b"SIP/2.0 503")]


def test_a_503_whose_server_changes_its_mind_waits_no_more() -> None:
    stage = Stage(service_of())
    out, server = stage.sent(request())
    assert stage.send(answer(out, 503), server) is None
    assert len(stage.table.state.transactions.held) == 1
    assert status_of(stage.sent(answer(out, 486), server)[0]) == 486
    assert not stage.table.state.transactions.held and not stage.table.state.transactions.pending
    stage.judge(server)
    assert stage.due(0.5) == []


def test_a_503_waits_for_the_probe_that_says_the_server_leaves() -> None:
    stage = Stage(service_of())
    out, server = stage.sent(request())
    stage.send(answer(out, 503), server)
    stage.judge(server, result=UNAVAILABLE)
    assert any(data.startswith(b"INVITE") and to != server for data, to in stage.due())


def test_our_own_503_to_a_ringing_invite_is_said_until_its_ack() -> None:
    stage = Stage(service_of())
    out, server = stage.sent(request())
    stage.send(answer(out, 180), server)
    stage.judge(server, result=ProbeResult.REFUSED)
    ((said, phone),) = stage.due()
    assert status_of(said) == 503
    assert (said, phone) in stage.due(0.6)
    to = next(line for line in said.decode().split("\r\n") if line.startswith("To: "))[4:]
    assert stage.send(request("ACK", to=to)) is None
    assert said not in [data for data, _ in stage.due(2.0)]


def test_a_cancel_after_only_100_of_a_dead_server_is_answered_twice_once_for_each() -> None:
    stage = Stage(service_of())
    out, server = stage.sent(request())
    stage.send(answer(out, 100), server)
    assert stage.to(request("CANCEL")) == server
    stage.judge(server, result=ProbeResult.REFUSED)
    assert [status_of(data) for data, _ in stage.due()] == [487]
    assert status_of(stage.sent(request("CANCEL"))[0]) == 200


def test_with_the_last_server_dead_too_a_cancel_is_answered_200_and_its_invite_487_as_before() -> None:
    stage = Stage(service_of())
    stage.sent(request())
    stage.sent(request("CANCEL"))
    stage.judge(result=ProbeResult.REFUSED)
    assert [status_of(data) for data, _ in stage.due()] == [487]
    assert status_of(stage.sent(request("CANCEL"))[0]) == 200
    assert status_of(stage.sent(request())[0]) == 487


def test_a_bye_to_a_dead_server_that_was_taken_out_of_the_file_is_answered_too() -> None:
    stage = Stage(service_of())
    server, route = stage.called()
    stage.judge(server, result=ProbeResult.REFUSED)
    left = [each for each in ("192.0.2.11", "192.0.2.12", "192.0.2.13") if not server.startswith(each + ":")]
    stage.apply(service_of(*(real(f"{each}:5060") for each in left)))
    bye = request("BYE", route, branch="z9hG4bKbye", to="<sip:600@x>;tag=t", cseq=2)
    assert stage.to(bye) == server
    found: list[int] = []
    for _ in range(60):
        found += [status_of(data) for data, _ in stage.due(0.05) if data.startswith(b"SIP/2.0")]
    assert found == [481]


@pytest.mark.interpreted
def test_a_fault_in_one_transaction_does_not_lose_the_rest_of_the_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    for number in range(2):
        stage.send(request("OPTIONS", call=f"c{number}", branch=f"z9hG4bK{number}"))
    retries, taken = stage.table.forwarder.retries, []

    def step(transaction: object, now: float) -> None:
        taken.append(transaction)
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(retries, "_step", step)
    stage.now += 1
    stage.table.forwarder.due(stage.now)
    assert len(taken) == 2
    assert stage.table.state.internal_errors == 2
