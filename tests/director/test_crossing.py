"""A server's requests come to worker W, the phone's answers to worker P; nothing of a call may depend on which."""

from __future__ import annotations

import pytest

from sipbalancer.director.crossing import LIMIT, Crossings
from sipbalancer.director.pins import PinKind
from sipbalancer.director.verdict import ProbeResult
from sipbalancer.sip.flow import address_text
from tests.director.crew import CLIENTS, SERVERS, Crew, Member
from tests.director.stage import (
    OTHER,
    PHONE,
    VIP,
    A,
    B,
    answer,
    lines_of,
    real,
    request,
    route_of,
    service_of,
    status_of,
)

CONTACT = f"Contact: <sip:1001@{PHONE}>"
TO = "<sip:600@192.0.2.1>;tag=t"


def pair(**words: object) -> tuple[Crew, Member, Member]:
    """(all, W, P)."""
    crew = Crew(service_of(real(A), **words))
    crew.tick()
    one, two = crew.members
    return crew, one, two


def calls(crew: Crew) -> int:
    return crew.table.state.services[0].servers[0].calls


def established(crew: Crew, by: Member, *more: str) -> bytes:
    """A call of the phone, answered; what its server was sent."""
    out, server = by.sent(request("INVITE", CONTACT))
    by.sent(answer(out, 200, f"Contact: <sip:600@{A}>", *more), server, SERVERS)
    assert calls(crew) == 1
    return out


def rung(crew: Crew, at: Member, call: str = "in-1") -> bytes:
    """A server rings the phone by this worker: what the phone gets. The token is a registration's Path."""
    asked, server = crew.members[1].sent(request("REGISTER", CONTACT, call="reg"))
    crew.members[1].send(answer(asked, 401), server, SERVERS)
    path = route_of(asked, "Path")
    out, to = at.sent(request("INVITE", path, f"Contact: <sip:600@{A}>", uri=f"sip:1001@{PHONE}", via=A, call=call), A)
    assert to == PHONE
    return out


def test_a_servers_bye_ends_the_call_though_the_phone_answers_elsewhere() -> None:
    crew, w, p = pair()
    out = established(crew, p)
    bye, to = w.sent(request("BYE", route_of(out), uri=f"sip:1001@{PHONE}", via=A, to="<sip:1001@x>;tag=f", cseq=9), A)
    assert to == PHONE
    back, home = p.sent(answer(bye, 200))
    assert home == A and lines_of(back, "Via")[0].startswith(f"SIP/2.0/UDP {A}")
    assert calls(crew) == 0
    assert crew.table.state.pins.total(PinKind.ENDED) == 1
    assert w.server(A).transactions == 1
    crew.tick()
    assert w.server(A).transactions == 0, "told within a tick"


def test_a_call_that_a_server_makes_is_pinned_where_the_phone_answers() -> None:
    crew, w, p = pair()
    ringing = rung(crew, w)
    p.sent(answer(ringing, 180))
    crew.tick()
    pending = next(iter(w.table.state.transactions.pending.values()))
    assert pending.provisional == 180
    assert p.sent(answer(ringing, 200, CONTACT))[1] == A
    assert calls(crew) == 1
    crew.tick()
    assert not w.table.state.transactions.pending
    late = p.sent(answer(ringing, 200, CONTACT))
    assert late[1] == A and calls(crew) == 1
    again, _ = w.sent(request("BYE", route_of(ringing), uri=f"sip:1001@{PHONE}", via=A, call="in-1", to=TO, cseq=2), A)
    p.sent(answer(again, 200))
    assert calls(crew) == 0
    assert p.sent(answer(ringing, 200, CONTACT))[1] == A, "a copy that was late"
    assert calls(crew) == 0


def test_a_session_timer_that_the_server_renews_is_renewed() -> None:
    crew, w, p = pair()
    out = established(crew, p, "Session-Expires: 200;refresher=uas")
    crew.tick(150)
    again, _ = w.sent(
        request(
            "INVITE", route_of(out), uri=f"sip:1001@{PHONE}", via=A, to="<sip:1001@x>;tag=f", cseq=9, branch="z9hG4bKr"
        ),
        A,
    )
    p.sent(answer(again, 200, CONTACT, "Session-Expires: 200;refresher=uac"))
    crew.tick(150)
    assert calls(crew) == 1


def test_an_answer_to_what_nobody_asked_teaches_nothing() -> None:
    crew, w, p = pair()
    ringing = rung(crew, w)
    forged = answer(ringing, 200, CONTACT).replace(b"Call-ID: in-1", b"Call-ID: other")
    assert p.sent(forged)[1] == A
    assert calls(crew) == 0
    crew.tick()
    assert w.table.state.transactions.pending, "nor does it end anything"


def test_an_answer_to_a_cancel_ends_no_invite() -> None:
    crew, w, p = pair()
    ringing = rung(crew, w)
    p.sent(answer(ringing, 200).replace(b"CSeq: 1 INVITE", b"CSeq: 1 CANCEL"))
    crew.tick()
    assert w.table.state.transactions.pending and calls(crew) == 0


@pytest.mark.parametrize("provisional", [0, 180])
def test_a_phone_that_a_dead_server_rings_is_let_go(provisional: int) -> None:
    crew, w, p = pair()
    ringing = rung(crew, w)
    if provisional:
        p.sent(answer(ringing, provisional))
        crew.tick()
    crew.judge(A, result=ProbeResult.REFUSED)
    out = [data for data, _ in crew.tick()]
    if not provisional:
        assert not out
        p.send(answer(ringing, 180))
        crew.tick()
        out = [data for data, _ in crew.tick()]
    assert [data[:6] for data in out] == [b"CANCEL"]
    p.send(answer(out[0], 200))
    p.send(answer(ringing, 487))
    crew.tick(0.6)
    said = [data for data, _ in crew.tick(0.6)]
    assert not any(data.startswith(b"CANCEL") for data in said), "the answer came to the other worker and was heard"


def test_a_final_from_a_callee_of_a_dead_server_is_acknowledged_and_hung_up() -> None:
    crew, w, p = pair()
    ringing = rung(crew, w)
    p.sent(answer(ringing, 180))
    crew.tick()
    crew.judge(A, result=ProbeResult.REFUSED)
    crew.tick()
    p.send(answer(ringing, 200, CONTACT))
    crew.tick()
    out = [(data[:4], address_text(flow[1])) for data, flow in crew.tick()]
    assert (b"ACK ", PHONE) in out and (b"BYE ", PHONE) in out


def test_a_phone_that_moved_in_a_dialog_is_found_by_every_worker() -> None:
    crew, w, p = pair()
    out = established(crew, p)
    inside = request("INFO", route_of(out), via=f"{OTHER};rport", to=TO, cseq=2, branch="z9hG4bKm")
    info, server = w.sent(inside, OTHER)
    w.sent(answer(info, 200), server, SERVERS)
    crew.tick()
    for member in (w, p):
        bye = request("BYE", route_of(out), uri=f"sip:1001@{PHONE}", via=A, to="<sip:1001@x>;tag=f", cseq=9)
        assert member.sent(bye, A)[1] == OTHER


def test_a_registration_whose_port_changed_finds_its_server_at_another_worker() -> None:
    crew = Crew(service_of(real(A), real(B)))
    one, two = crew.members
    one.sent(request("REGISTER", call="first", branch="z9hG4bKx"))
    out, server = one.sent(request("REGISTER", CONTACT))
    one.sent(answer(out, 200, f"{CONTACT};expires=60"), server, SERVERS)
    for call in range(6):
        data = request("REGISTER", CONTACT, call=f"later-{call}", branch=f"z9hG4bK{call}", via=f"{OTHER};rport")
        assert two.sent(data, OTHER)[1] == server


def test_a_copy_at_another_worker_has_the_same_branch_and_server() -> None:
    crew = Crew()
    one, two = crew.members
    out, server = one.sent(request("REGISTER", CONTACT))
    one.sent(answer(out, 200, f"{CONTACT};expires=60"), server, SERVERS)
    first, at = one.sent(request(branch="z9hG4bKc"))
    again, there = two.sent(request(branch="z9hG4bKc"))
    assert there == at == server
    assert lines_of(first, "Via")[0].partition("branch=")[2] == lines_of(again, "Via")[0].partition("branch=")[2]


def test_a_contact_known_to_one_worker_is_every_workers_a_tick_later() -> None:
    crew, w, p = pair()
    out, server = p.sent(request("REGISTER", CONTACT))
    p.sent(answer(out, 200, f"{CONTACT};expires=60"), server, SERVERS)
    ask = request("OPTIONS", uri=f"sip:1001@{PHONE}", via=A, call="q")
    assert w.send(ask, A) is None, "it may be on its way: the server's next copy decides"
    assert w.dropped["contact not known yet"] == 1
    crew.tick()
    assert w.sent(ask, A)[1] == PHONE
    (where,) = crew.table.where("1001", crew.now)
    assert [contact.client for contact in where.contacts] == [PHONE]


def test_a_contact_that_nobody_knows_is_refused_at_the_second_copy() -> None:
    _, w, _ = pair()
    ask = request("OPTIONS", uri="sip:nobody@10.9.9.9", via=A, call="q")
    assert w.send(ask, A) is None
    assert status_of(w.sent(ask, A)[0]) == 403


def test_an_unregistered_contact_is_forgotten_everywhere() -> None:
    crew, w, p = pair()
    for expires in (60, 0):
        out, server = p.sent(request("REGISTER", f"{CONTACT};expires={expires}", cseq=60 - expires + 1))
        p.sent(answer(out, 200, *([f"{CONTACT};expires=60"] if expires else [])), server, SERVERS)
        crew.tick()
    assert crew.table.where("1001", crew.now) == ()
    ask = request("OPTIONS", uri=f"sip:1001@{PHONE}", via=A, call="q")
    w.send(ask, A)
    assert status_of(w.sent(ask, A)[0]) == 403


def test_a_server_that_asks_from_another_port_gets_its_answer_by_any_worker() -> None:
    crew, w, p = pair()
    odd = A.replace(":5060", ":40000")
    path = route_of(p.sent(request("REGISTER", CONTACT, call="reg"))[0], "Path")
    out, _ = w.sent(request("OPTIONS", path, uri=f"sip:1001@{PHONE}", via=odd, call="q"), odd)
    assert p.sent(answer(out, 200))[1] == odd
    forged = answer(out, 200).replace(b":40000", b":40001").replace(b"rport=40000", b"rport=40001")
    assert p.send(forged) is None, "nobody reaches other ports of a server's host"


def test_endcalls_ends_a_servers_own_call_whoever_heard_the_answer() -> None:
    crew, w, p = pair(endcalls=True)
    ringing = rung(crew, w)
    p.sent(answer(ringing, 200, CONTACT))
    crew.tick()
    assert len(w.table.state.dialogs.held) == 1
    crew.judge(A, result=ProbeResult.REFUSED)
    crew.tick()
    byes = [address_text(flow[1]) for data, flow in crew.tick() if data.startswith(b"BYE")]
    assert byes in ([PHONE], []), "in one tick or the next"
    assert calls(crew) == 0


def test_what_strangers_send_is_bounded() -> None:
    crossings = Crossings()
    for _ in range(LIMIT + 5):
        crossings.note_answer(b"k", 200, b"")
        crossings.note_taken(b"k")
        crossings.note_moved(1, b"c")
    crossings.note_taken(b"k" * 100)
    assert crossings.refused == 16
    assert [len(each) for each in crossings.take()] == [LIMIT] * 3
    assert [len(each) for each in crossings.take()] == [0] * 3


def test_a_client_leg_and_a_server_leg_are_two() -> None:
    crew, w, _ = pair()
    assert [spec.port for spec in w.table.legs] == [5060, 15060]
    assert (CLIENTS, SERVERS) == tuple(spec.index for spec in w.table.legs)
    assert all(spec.host == VIP for spec in w.table.legs)
