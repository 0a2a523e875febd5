from __future__ import annotations

from collections.abc import Callable

from sipbalancer.director.real_server import RealServer
from sipbalancer.director.verdict import ProbeResult, Verdict
from sipbalancer.sip.flow import address_text
from tests.director.crew import SERVERS, Crew
from tests.director.stage import A, B, C, answer, real, request, service_of


def verdicts(crew: Crew, server: str) -> list[Verdict]:
    return [member.server(server).verdict for member in crew.members]


def look(crew: Crew) -> None:
    for member in crew.members:
        member.follower.look(crew.now)


def test_a_worker_begins_with_what_the_control_process_knows() -> None:
    crew = Crew()
    assert verdicts(crew, A) == [Verdict.UP] * 2
    assert [member.send(request()) is not None for member in crew.members] == [True] * 2


def test_a_verdict_is_every_workers_at_its_next_batch() -> None:
    crew = Crew()
    crew.judge(A, result=ProbeResult.UNAVAILABLE)
    assert verdicts(crew, A) == [Verdict.UP] * 2, "nobody looked yet"
    look(crew)
    assert verdicts(crew, A) == [Verdict.DRAINING] * 2
    assert all(crew.members[0].server(A) is not server for server in crew.members[0].table.state.services[0].eligible)
    crew.judge(A)
    look(crew)
    assert verdicts(crew, A) == [Verdict.UP] * 2
    assert [member.server(A).recovered for member in crew.members] == [crew.now] * 2, "slow start is the same for all"


def test_an_unchanged_generation_costs_no_reading() -> None:
    crew = Crew()
    assert not crew.members[0].follower.look(crew.now)
    assert not crew.leader.publish(), "and nothing is written that did not change"


def test_words_that_are_being_written_are_left_for_the_next_batch() -> None:
    crew = Crew()
    words = memoryview(crew.words).cast("q")
    crew.table.drain(A, crew.now)
    crew.leader.publish()
    words[0] += 1
    look(crew)
    assert verdicts(crew, A) == [Verdict.UP] * 2
    words[0] += 1
    look(crew)
    assert verdicts(crew, A) == [Verdict.DRAINING] * 2
    words.release()


def test_drain_and_maintenance_and_return() -> None:
    crew = Crew()
    acts: list[Callable[[], object]] = [
        lambda: crew.table.drain(A, crew.now),
        lambda: crew.table.maintain({A: "file"}, crew.now),
        lambda: crew.table.enable(A, crew.now),
    ]
    for act in acts:
        act()
        crew.leader.publish()
        look(crew)
        assert verdicts(crew, A) == [Verdict.DRAINING] * 2
    crew.table.maintain({}, crew.now)
    crew.leader.publish()
    look(crew)
    assert verdicts(crew, A) == [Verdict.UP] * 2


def test_requests_of_every_worker_leave_a_server_that_went_down() -> None:
    crew = Crew(service_of(real(A), real(B)))
    gone: dict[str, int] = {A: 0, B: 0}
    for number, member in enumerate(crew.members):
        for call in range(2):
            gone[member.sent(request(call=f"c{number}{call}", branch=f"z9hG4bK{number}{call}"))[1]] += 1
    assert gone == {A: 2, B: 2}
    crew.judge(A, result=ProbeResult.REFUSED)
    out = crew.tick()
    moved = [address_text(flow[1]) for data, flow in out if b"INVITE" in data[:6]]
    assert moved == [B, B]


def test_a_reload_keeps_what_was_said_and_takes_the_new_words() -> None:
    crew = Crew(service_of(real(A), real(B)))
    crew.table.drain(A, crew.now)
    crew.config = crew.config.model_copy(update={"virtual": (service_of(real(A), real(B), real(C)),)})
    crew.table.apply(crew.config, crew.now)
    crew.leader.publish()
    for member in crew.members:
        member.table.apply(crew.config, crew.now)
        member.follower.configured(crew.now)
    assert verdicts(crew, A) == [Verdict.DRAINING] * 2
    assert verdicts(crew, C) == [Verdict.STARTING] * 2
    crew.judge(C)
    look(crew)
    assert verdicts(crew, C) == [Verdict.UP] * 2


def test_silence_seen_by_a_worker_is_a_suspicion_and_its_outcome_comes_back() -> None:
    crew = Crew(service_of(real(A)))
    crew.tick()
    crew.members[1].sent(request())
    for _ in range(4):
        crew.tick()
    suspects = crew.table.suspects()
    assert [health.key for health in suspects] == [A]
    assert suspects[0].evidence.suspected
    assert suspects[0].evidence.unanswered == 1
    assert all(member.server(A).health.evidence.suspected for member in crew.members)
    crew.judge(A)
    look(crew)
    assert not any(member.server(A).health.evidence.suspected for member in crew.members)


def test_a_503_waits_at_its_worker_for_the_word_of_a_probe() -> None:
    crew = Crew(service_of(real(A), real(B)))
    (one, _) = crew.members
    out, server = one.sent(request())
    assert one.send(answer(out, 503), server, SERVERS) is None, "held"
    crew.tick(0.001)
    assert [health.key for health in crew.table.suspects()] == [server]
    crew.judge(server)
    back = crew.tick(0.01)
    assert [data[:11] for data, _ in back] == [b"SIP/2.0 503"], "it was this one call's"


def test_connections_of_other_workers_count_for_the_scheduler() -> None:
    crew = Crew(service_of(real(A), real(B), scheduler="lc"))
    one, two = crew.members
    assert one.sent(request(call="1", branch="z9hG4bK1"))[1] == A
    crew.tick()
    assert two.server(A).elsewhere == 1
    crew.tick(0.0)
    assert two.server(A).connections == 1
    assert two.sent(request(call="2", branch="z9hG4bK2"))[1] == B


def test_a_server_without_identity_is_nobodys_concern() -> None:
    crew = Crew()
    one: RealServer = crew.members[0].server(A)
    one.serial = -1
    crew.judge(A, result=ProbeResult.REFUSED)
    look(crew)
    assert one.verdict is Verdict.UP
