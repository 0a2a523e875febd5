"""Why a client's request goes where it goes."""

from __future__ import annotations

from sipbalancer.director.explain import explain
from sipbalancer.director.verdict import ProbeResult
from sipbalancer.sip.flow import pack_address
from tests.director.explaining import PHONE, explained, request, taken_by
from tests.flows.pool import Pool


def test_a_new_call_goes_by_the_scheduler_and_says_who_else_could_have_had_it() -> None:
    pool = Pool()
    pool.balancer.judge("10.0.0.12:5060", result=ProbeResult.UNAVAILABLE, text="503 Service Unavailable")
    said = explained(pool, request(), PHONE)
    assert [step.link for step in said.steps] == ["transaction", "token", "call", "related", "binding", "scheduler"]
    assert [step.chose for step in said.steps] == [False] * 5 + [True]
    assert said.steps[-1].why == (
        "rr among 10.0.0.11:5060 (weight 1, 0 connections), 10.0.0.13:5060 (weight 1, 0 connections); "
        "not 10.0.0.12:5060 (draining: 503 Service Unavailable)"
    )
    assert said.outcome == "goes to server 10.0.0.11:5060"
    shown = [change._replace(after=change.after.partition(";branch")[0]) for change in said.sends[0].changes]
    lines = [
        (each.before, each.after.partition(";received")[0].split("sip:")[0] + "sip:" * ("sip:" in each.after))
        for each in shown
    ]
    assert lines == [
        ("", "Via: SIP/2.0/UDP 10.0.0.1:5060"),
        ("", "Record-Route: <sip:"),
        ("Via: SIP/2.0/UDP 10.1.0.9:5060;rport;branch=z9hG4bKx", "Via: SIP/2.0/UDP 10.1.0.9:5060;rport=5060"),
        ("Max-Forwards: 70", "Max-Forwards: 69"),
    ]
    assert said.learns[0] == "transaction INVITE, of 10.0.0.11:5060: until its final, 200 s at most"


def test_asking_ten_times_moves_no_turn() -> None:
    pool = Pool()
    state = pool.balancer.table.state
    said = {explain(state, 0, request(), PHONE, pool.lab.now).outcome for _ in range(10)}
    assert said == {"goes to server 10.0.0.11:5060"}
    assert {explained(pool, request(call=f"c{n}"), PHONE).outcome[-15:] for n in range(3)} == {
        " 10.0.0.11:5060",
        " 10.0.0.12:5060",
        " 10.0.0.13:5060",
    }


def test_a_registered_phone_goes_to_its_server() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    home = pool.balancer.table.where("1001", pool.lab.now)[0].server
    said = explained(pool, request(), pack_address(*phone.address))
    assert taken_by(said) == "binding" and said.outcome.startswith(f"goes to server {home}")
    assert "1001 is pinned to" in said.steps[-1].why


def test_an_anonymous_caller_is_known_by_its_flow() -> None:
    pool = Pool()
    phone = pool.registered("1001")
    caller = "<sip:anonymous@anonymous.invalid>;tag=1"
    said = explained(pool, request(sender=caller), pack_address(*phone.address))
    assert taken_by(said) == "binding"
    assert "no pin for anonymous@anonymous.invalid; 1001 registered from this address" in said.steps[-1].why


def test_the_refusals_of_a_clients_request() -> None:
    pool = Pool()
    said = explained(pool, request("INVITE", "sip:x@y.example", "Route: <sip:evil.example.net;lr>"), PHONE)
    assert (taken_by(said), said.reason) == ("token", "foreign route")
    assert said.outcome.startswith("answered by the balancer with 403 Forbidden")
    said = explained(pool, request("ACK", to="<sip:600@10.0.0.1>;tag=b", call="c2"), PHONE)
    assert (said.reason, said.outcome) == ("stray ack", "nothing is sent: an ACK for no call known here")
    said = explained(pool, request("INVITE", "sip:600@10.0.0.1", f"User-Agent: {'x' * 99}", hops="0", call="c3"), PHONE)
    assert taken_by(said) == "max-forwards" and said.outcome.startswith("answered by the balancer with 483")
    terse = b"X sip:a SIP/2.0\r\nv:SIP/2.0/UDP h\r\nMax-Forwards:0\r\nf:a\r\nt:b\r\ni:c\r\nCSeq:1 X\r\n\r\n"
    said = explained(pool, terse, PHONE)
    assert said.outcome.startswith("nothing is sent: Max-Forwards is 0; our answer would be longer")
    said = explained(pool, request("OPTIONS", "sip:10.0.0.1", f"User-Agent: {'x' * 99}"), PHONE)
    assert taken_by(said) == "to us" and "200 OK" in said.outcome
    for server in pool.servers:
        pool.balancer.judge(server, result=ProbeResult.REFUSED, text="port refused")
    said = explained(pool, request("INVITE", "sip:600@10.0.0.1", f"User-Agent: {'x' * 99}", call="c4"), PHONE)
    assert [step.link for step in said.steps][-4:] == ["scheduler", "fallback", "draining", "none"]
    assert "nobody takes new work: 10.0.0.11:5060 (down: port refused)" in said.steps[-4].why
    assert said.outcome.startswith("answered by the balancer with 503 Service Unavailable: no server takes new work")


def test_a_copy_goes_the_way_of_the_first() -> None:
    pool = Pool()
    first = explained(pool, request("REGISTER", "sip:10.0.0.1", to="<sip:1001@10.0.0.1>"), PHONE)
    again = explained(pool, request("REGISTER", "sip:10.0.0.1", to="<sip:1001@10.0.0.1>"), PHONE)
    assert (taken_by(first), taken_by(again)) == ("scheduler", "transaction")
    assert again.reason == "repeat absorbed" and "repeats it by itself" in again.outcome
    assert "provisional pin (AoR and address) to 10.0.0.11:5060 for 32 s" in first.learns
