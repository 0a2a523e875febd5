"""One worker of several: what servers see names its own leg; what clients see does not."""

from __future__ import annotations

from sipbalancer.director.pins import PinTable
from sipbalancer.director.seat import ALONE, Seat
from sipbalancer.director.table import LegSpec, ServiceTable
from sipbalancer.sip.flow import address_text
from tests.director.stage import KEY, OTHER, PHONE, VIP, A, Stage, answer, lines_of, request, route_of, service_of


class Worker(Stage):
    """Worker 1 of 3, with a table of its own."""

    def _table(self, keys: tuple[bytes, ...]) -> ServiceTable:
        return ServiceTable(self.config, keys, PinTable(self.memory, KEY[:8], self.now), self.now, 1, Seat(1, 3))


def test_alone_there_is_one_leg() -> None:
    assert ALONE.alone and not Seat(0, 2).alone
    assert Stage().table.legs == (LegSpec(0, VIP, 5060),)


def test_a_worker_holds_two_legs_of_each_service() -> None:
    stage = Worker(service_of(), service_of(host="192.0.2.2", legport=20000))
    assert stage.table.legs == (
        LegSpec(0, VIP, 5060),
        LegSpec(1, VIP, 15061),
        LegSpec(2, "192.0.2.2", 5060),
        LegSpec(3, "192.0.2.2", 20001),
    )


def test_servers_are_asked_from_the_workers_own_leg_and_answer_there() -> None:
    stage = Worker()
    out = stage.send(request())
    assert out is not None
    data, flow = out
    assert flow[0] == 1
    assert lines_of(data, "Via")[0].startswith(f"SIP/2.0/UDP {VIP}:15061;branch=")
    assert f"@{VIP}:5060;lr>" in lines_of(data, "Record-Route")[0]
    back = stage.send(answer(data, 200), address_text(flow[1]), leg=1)
    assert back is not None and back[1][0] == 0
    assert address_text(back[1][1]) == PHONE


def test_a_servers_request_goes_out_at_the_virtual_address() -> None:
    stage = Worker()
    asked = stage.send(request())
    assert asked is not None
    server = address_text(asked[1][1])
    call = request("BYE", route_of(asked[0]), uri=f"sip:1001@{PHONE}", via=server, to="<sip:x@y>;tag=t")
    for leg in (0, 1):
        out = stage.send(call, server, leg)
        assert out is not None and out[1][0] == 0
        assert lines_of(out[0], "Via")[0].startswith(f"SIP/2.0/UDP {VIP}:5060;branch=")
        assert address_text(out[1][1]) == PHONE


def test_a_contact_rewritten_to_any_workers_leg_is_ours() -> None:
    stage = Worker()
    assert all(stage.service.is_ours((VIP.encode(), port)) for port in (5060, 15060, 15061, 15062))
    assert not stage.service.is_ours((VIP.encode(), 15063))


def test_no_stranger_is_served_at_a_server_leg() -> None:
    stage = Worker()
    assert stage.send(request("OPTIONS", uri=f"sip:{VIP}"), OTHER, leg=1) is None
    assert stage.send(request(), OTHER, leg=1) is None
    assert stage.service.dropped["stranger at a server leg"] == 2
    assert stage.send(request(), OTHER) is not None


def test_an_icmp_refusal_of_a_server_comes_by_its_leg() -> None:
    stage = Worker()
    stage.table.forwarder.refused(stage.server(A).flow, stage.now)
    assert stage.server(A).refusals == 1


def test_a_record_route_that_a_server_rewrote_to_the_leg_is_put_right_for_the_client() -> None:
    """Asterisk's `rewrite_contact` puts the source it saw into our Record-Route, in answers and in its own Routes."""
    stage = Worker()
    out = stage.send(request())
    assert out is not None
    ours = lines_of(out[0], "Record-Route")[0]
    rewritten = answer(out[0].replace(b":5060;lr>", b":15061;lr>"), 200)
    assert f"@{VIP}:15061;lr>" in lines_of(rewritten, "Record-Route")[0]
    back = stage.send(rewritten, address_text(out[1][1]), leg=1)
    assert back is not None and lines_of(back[0], "Record-Route") == [ours]
    bye = request("BYE", route_of(rewritten), uri=f"sip:1001@{VIP}:15061", via=A, to="<sip:x@y>;tag=t")
    gone = stage.send(bye, address_text(out[1][1]), leg=1)
    assert gone is not None and address_text(gone[1][1]) == PHONE
