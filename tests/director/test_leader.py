from __future__ import annotations

from sipbalancer.director.verdict import ProbeResult, Verdict
from tests.director.crew import SERVERS, Crew
from tests.director.stage import A, B, answer, packed, real, request, route_of, service_of


def verdict(crew: Crew) -> Verdict:
    return crew.table.healths[0].verdict


def test_evidence_is_what_all_workers_saw() -> None:
    crew = Crew(service_of(real(A)))
    one, two = crew.members
    for member, call in ((one, "1"), (two, "2")):
        out, server = member.sent(request(call=call, branch=f"z9hG4bK{call}"))
        crew.tick()
        member.send(answer(out, 200), server, SERVERS)
    heard = crew.now
    crew.tick()
    evidence = crew.table.healths[0].evidence
    assert evidence.heard == evidence.heard_new == heard


def test_a_burst_is_judged_by_what_any_worker_heard() -> None:
    crew = Crew(service_of(real(A)))
    _, two = crew.members
    out, server = two.sent(request())
    crew.tick(1.0)
    two.send(answer(out, 200), server, SERVERS)
    two.follower.give()
    crew.judge(A, result=ProbeResult.TIMEOUT, probes=20, duration=1.0)
    assert verdict(crew) is Verdict.UP, "something eats the probes"
    crew.tick(5.0)
    crew.judge(A, result=ProbeResult.TIMEOUT, probes=20, duration=1.0)
    assert verdict(crew) is Verdict.DOWN


def test_answers_in_dialogs_of_two_workers_make_a_silent_server_overloaded() -> None:
    crew = Crew(service_of(real(A)))
    dialogs = []
    for number, member in enumerate(crew.members):
        out, server = member.sent(request(call=f"{number}", branch=f"z9hG4bK{number}"))
        member.send(answer(out, 200), server, SERVERS)
        dialogs.append((member, route_of(out), server, f"{number}"))
    crew.tick(10)
    crew.table.healths[0].evidence.suspect(crew.now)
    crew.tick(0.2)
    for member, route, server, call in dialogs:
        inside = request("INFO", route, call=call, branch=f"z9hG4bKi{call}", to="<sip:a@b>;tag=t", cseq=2)
        member.send(answer(member.sent(inside)[0], 200), server, SERVERS)
        member.follower.give()
    crew.judge(A, result=ProbeResult.TIMEOUT, probes=20, duration=1.0)
    assert verdict(crew) is Verdict.OVERLOADED


def test_transactions_are_the_sum_and_are_gone_with_their_worker() -> None:
    crew = Crew(service_of(real(A)))
    for number, member in enumerate(crew.members):
        for call in range(number + 1):
            member.sent(request(call=f"{number}{call}", branch=f"z9hG4bK{number}{call}"))
    crew.tick()
    (server,) = crew.table.state.services[0].servers
    assert server.transactions == 3
    crew.members.pop()
    crew.leader.forget(1)
    crew.tick()
    assert server.transactions == 1


def test_evidence_survives_the_worker_that_gave_it() -> None:
    crew = Crew(service_of(real(A)))
    one, two = crew.members
    out, server = two.sent(request())
    two.send(answer(out, 200), server, SERVERS)
    heard = crew.now
    crew.tick()
    crew.leader.forget(1)
    crew.tick()
    assert crew.table.healths[0].evidence.heard == heard
    assert crew.table.healths[0].evidence.dialog_answers == 0


def test_a_request_of_a_servers_own_is_a_sign_of_life() -> None:
    crew = Crew(service_of(real(A)))
    crew.members[0].send(request("OPTIONS", uri="sip:x@10.9.9.9", via=A), A)
    out, _ = crew.members[0].sent(request())
    crew.members[0].send(request("NOTIFY", route_of(out), via=A, to="<sip:1001@x>;tag=1"), A)
    seen = crew.now
    crew.tick()
    assert crew.table.healths[0].evidence.own == seen


def test_an_outcome_is_told_only_to_who_asked() -> None:
    crew = Crew(service_of(real(A), real(B)))
    generation = memoryview(crew.words).cast("q")[0]
    crew.judge()
    assert memoryview(crew.words).cast("q")[0] == generation
    serial = crew.table.state.services[0].servers[0].serial
    crew.leader.suspect([(serial, False)], crew.now)
    assert not crew.table.healths[0].evidence.suspected
    crew.judge()
    assert memoryview(crew.words).cast("q")[0] == generation + 2


def test_answers_to_probes_alone_are_no_reason_to_write() -> None:
    crew = Crew(service_of(real(A)))
    (health,) = crew.table.healths
    health.evidence.heard = health.evidence.heard_new = crew.now + 99.0
    assert not crew.leader.publish()
    crew.leader.suspect([(crew.table.state.services[0].servers[0].serial, False)], crew.now)
    crew.leader.probed(health)
    assert crew.leader.publish()


def test_an_outcome_writes_the_words_of_its_own_server_and_the_tick_those_of_all() -> None:
    crew = Crew(service_of(real(A), real(B)))
    one, two = crew.table.healths
    for health in (one, two):
        health.evidence.suspect(crew.now)
    assert crew.leader.publish(one)
    assert not crew.leader.publish(one)
    assert crew.leader.publish()
    crew.tick()
    assert all(member.server(each).health.evidence.suspected for member in crew.members for each in (A, B))


def test_what_was_gathered_is_not_counted_twice() -> None:
    crew = Crew(service_of(real(A), real(B)))
    one = crew.members[0].server(A)
    one.health.evidence.unanswered, one.transactions = 3, 2
    for _ in range(3):
        crew.tick()
    server = crew.table.state.services[0].by_packed[packed(A)]
    assert (server.health.evidence.unanswered, server.transactions) == (3, 2)
    one.health.evidence.unanswered = 4
    crew.tick()
    assert server.health.evidence.unanswered == 4


def test_a_server_that_a_new_file_brings_back_is_gathered_at_once() -> None:
    crew = Crew(service_of(real(A)))
    for seat, member in enumerate(crew.members):
        member.server(A).transactions = seat + 1
    crew.tick()
    crew.table.apply(crew.config.model_copy(update={"virtual": (service_of(real(B)),)}), crew.now)
    crew.tick()
    crew.table.apply(crew.config, crew.now)
    crew.tick()
    assert crew.table.state.services[0].by_packed[packed(A)].transactions == 3


def test_two_services_with_one_server_are_one_evidence_and_two_counts() -> None:
    crew = Crew(service_of(real(A)), service_of(real(A), port=5070))
    for member in crew.members:
        for count, service in enumerate(member.table.state.services.values(), 1):
            service.by_packed[packed(A)].transactions = count
        member.server(A).health.evidence.unanswered = 1
    crew.tick()
    crew.tick()
    servers = [service.by_packed[packed(A)] for service in crew.table.state.services.values()]
    assert [server.transactions for server in servers] == [2, 4]
    assert [server.health.evidence.unanswered for server in servers] == [2, 2]
