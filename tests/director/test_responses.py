"""Responses on their way back: whose they are, where they go, and that no memory is needed for it."""

from __future__ import annotations

import pytest

from tests.director.stage import OTHER, PHONE, VIP, A, Stage, answer, lines_of, request, service_of, status_of


@pytest.mark.parametrize("status", [100, 180, 200, 404, 486])
def test_our_via_goes_and_the_next_says_where_to(status: int) -> None:
    stage = Stage()
    out, server = stage.sent(request(via="192.168.1.5:5062;rport"), "10.1.0.1:6000")
    back, to = stage.sent(answer(out, status), server)
    assert (to, status_of(back)) == ("10.1.0.1:6000", status)
    assert [via.partition(";")[0] for via in lines_of(back, "Via")] == ["SIP/2.0/UDP 192.168.1.5:5062"]


def test_no_memory_is_needed() -> None:
    stage = Stage()
    out, server = stage.sent(request())
    stage.restart()
    assert stage.to(answer(out, 200, f"Contact: <sip:{server}>"), server) == PHONE


def test_a_via_of_another_spelling_is_read_too() -> None:
    stage = Stage()
    out, server = stage.sent(request())
    odd = answer(out, 180).replace(b"SIP/2.0/UDP 10.1.0.1:5060", b"sip / 2.0 / udp 10.1.0.1 : 5060 ")
    assert stage.to(odd, server) == PHONE


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"advertise": "a.example"}, {"advertise": "b.example"}),
        ({"advertise": "a.example"}, {}),
        ({}, {"advertise": "b.example"}),
        ({"advertise": "a.example:5080", "alias": ("c.example",)}, {"alias": ("d.example",)}),
    ],
)
def test_what_left_under_a_former_name_is_answered_after_the_reload(
    before: dict[str, object], after: dict[str, object]
) -> None:
    stage = Stage(service_of(**before))
    out, server = stage.sent(request())
    stage.apply(service_of(**after))
    stage.now += 150
    assert stage.to(answer(out, 180), server) == PHONE
    stage.apply(service_of(**{**after, "alias": ("e.example",)}))
    assert stage.to(answer(out, 200, f"Contact: <sip:{server}>"), server) == PHONE
    assert stage.server(server).calls == 1
    assert not stage.service.is_ours((b"a.example", 5060)) and not stage.service.is_ours((b"a.example", 5080))


def test_a_service_that_is_back_in_the_file_answers_from_its_new_socket() -> None:
    here, other = service_of(), service_of(port=5070)
    stage = Stage(here, other)
    out, server = stage.sent(request("MESSAGE"))
    for _ in range(2):  # the second has no transaction, its Via alone says where to
        back = stage.send(answer(out, 200), server)
        assert back is not None and back[1][0] == 0
    stage.apply(other)
    stage.apply(other, here)
    leg = next(spec.index for spec in stage.table.legs if spec.port == 5060)
    back = stage.send(answer(out, 200), server, leg)
    assert leg != 0 and back is not None and back[1][0] == leg


def test_former_names_are_bounded_and_a_name_that_is_back_is_not_former() -> None:
    stage = Stage()
    for number in range(100):
        stage.apply(service_of(advertise=f"n{number}.example"))
    assert len(stage.service.former) == 64
    assert stage.service.was_ours((b"n98.example", 5060)) and not stage.service.was_ours((b"n3.example", 5060))
    stage.apply(service_of(advertise="n98.example"))
    assert (b"n98.example", 5060) not in stage.service.former


def test_a_foreign_via_on_top_is_dropped() -> None:
    stage = Stage()
    out, server = stage.sent(request())
    assert stage.send(answer(out, 200).replace(VIP.encode(), b"192.0.2.200"), server) is None
    assert stage.dropped() == {"foreign via": 1}


def test_nobody_may_use_us_as_a_reflector() -> None:
    """Neither from a server nor to one."""
    stage = Stage()
    out, _ = stage.sent(request())
    assert stage.send(answer(out, 200), OTHER) is None
    assert stage.dropped() == {"response from a stranger": 1}


def test_an_answer_without_a_second_via_is_for_us() -> None:
    stage = Stage()
    out, server = stage.sent(request())
    alone = b"\r\n".join(line for line in answer(out, 200).split(b"\r\n") if b"z9hG4bK1" not in line)
    assert stage.send(alone, server) is None
    assert stage.dropped() == {"response to us": 1}


def test_answers_are_counted_by_class_and_are_evidence_of_service() -> None:
    stage = Stage()
    out, server = stage.sent(request())
    stage.now += 1
    stage.sent(answer(out, 486), server)
    assert stage.server(server).responses[4] == 1
    assert stage.server(server).health.evidence.heard_new == stage.now


def test_maxexpires_shortens_what_a_register_is_granted_and_a_repeat_is_equal() -> None:
    stage = Stage(service_of(maxexpires=600))
    out, server = stage.sent(request("REGISTER", f"Contact: <sip:1001@{PHONE}>", uri=f"sip:{VIP}"))
    granted = answer(out, 200, f"Contact: <sip:1001@{PHONE}>;expires=3600")
    back, _ = stage.sent(granted, server)
    assert 540 <= int(lines_of(back, "Contact")[0].rpartition("=")[2]) <= 600
    assert stage.sent(granted, server)[0] == back


def test_a_2xx_that_teaches_nothing_is_forwarded_and_said() -> None:
    stage = Stage()
    out, server = stage.sent(request("REGISTER", f"Contact: <sip:1001@{PHONE}>", uri=f"sip:{VIP}"))
    assert stage.to(answer(out, 200, "Contact: <sip:1001@10.1.0.1>;expires=3600, <sip:"), server) == PHONE
    assert [reason.partition(":")[0] for reason in stage.dropped()] == ["not learned"]


@pytest.mark.parametrize("port", [22, 161])
def test_a_stranger_reaches_no_other_port_of_a_servers_host(port: int) -> None:
    stage = Stage()
    host = A.partition(":")[0]
    forged = (
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP %b;branch=z9hG4bKabcdefghijklmnop\r\n"
        b"Via: SIP/2.0/UDP %b:%d;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\n"
        b"Call-ID: x\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ) % (stage.service.sent_by, host.encode(), port)
    assert stage.send(forged) is None
    assert stage.service.dropped["response from a stranger"] == 1


def test_the_way_back_is_the_same_with_and_without_memory() -> None:
    with_memory, without = Stage(), Stage()
    for via in (
        "10.1.0.1:5060;rport",
        "10.1.0.1:5060;rport=5060;received=10.1.0.1;x=y",
        "10.1.0.9:5060",
        "10.1.0.1:5070",
    ):
        for stage in (with_memory, without):
            stage.registered()
        data = request(branch=f"z9hG4bK{len(via)}", call=via, via=via)
        out, server = with_memory.sent(data)
        assert without.to(data) == server
        without.table.state.transactions.pending.clear()
        for said in (out, out.replace(b";received=10.1.0.1", b";received=10.1.0.12"), out.replace(b"rport=", b"x=")):
            assert with_memory.send(answer(said, 180), server) == without.send(answer(said, 180), server)
