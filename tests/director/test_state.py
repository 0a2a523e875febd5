"""What the director remembers."""

from __future__ import annotations

from sipbalancer.sip.flow_token import FlowToken, TokenSealer
from tests.director.stage import KEY, PHONE, A, Stage, packed, real, service_of


def test_a_route_line_names_server_and_client_under_our_seal() -> None:
    stage = Stage()
    state, service, server = stage.table.state, stage.service, stage.server(A)
    line = state.route_line(b"Path", service, server, packed(PHONE))
    token = line.removeprefix(b"Path: <sip:").partition(b"@")
    assert token[2] == b"192.0.2.1:5060;lr>\r\n"
    assert TokenSealer((KEY,)).open(token[0]) == FlowToken(packed(A), packed(PHONE))
    six = state.route_line(b"Path", service, server, packed("[2001:db8::9]:5060"))
    assert TokenSealer((KEY,)).open(six[11:].partition(b"@")[0]) == FlowToken(packed(A), packed("[2001:db8::9]:5060"))
    assert (
        state.route_line(b"Record-Route", service, server, packed(PHONE)).partition(b":")[2] == line.partition(b":")[2]
    )


def test_lines_say_the_new_name_after_a_reload() -> None:
    stage = Stage()
    stage.apply(service_of(advertise="public.example.net"))
    line = stage.table.state.route_line(b"Path", stage.service, stage.server(A), packed(PHONE))
    assert line.endswith(b"@public.example.net:5060;lr>\r\n")


def test_a_server_known_by_a_seal_alone_is_retired_and_bounded() -> None:
    stage = Stage()
    state, service = stage.table.state, stage.service
    known = state.server_at(service, packed(A))
    assert known is not None and not known.retired
    unknown = state.server_at(service, packed("10.9.0.1:5060"))
    assert unknown is not None and unknown.retired and unknown.reason == "no longer in the file"
    assert state.server_at(service, packed("10.9.0.1:5060")) is unknown
    for number in range(2000):
        state.server_at(service, packed(f"10.8.{number >> 8}.{number & 255}:5060"))
    assert len(service.by_packed) <= 1024
    assert state.server_at(service, packed("10.7.0.1:5060")) is None


def test_pins_name_servers_over_a_restart_but_not_over_services() -> None:
    stage = Stage(service_of(real(A)), service_of(real(A), host="192.0.2.2"))
    state = stage.table.state
    first, second = state.services[0], state.services[1]
    serials = [service.servers[0].serial for service in (first, second)]
    assert serials[0] != serials[1]
    assert state.server_of_pin(first, serials[0]) is first.servers[0]
    assert state.server_of_pin(first, serials[1]) is None
    assert state.server_of_pin(first, -1) is None


def test_what_is_told_is_told_once_and_bounded() -> None:
    state = Stage().table.state
    for number in [1, 1, *range(1000)]:
        state.tell(f"{number}")
    told = state.told()
    assert len(told) == len(set(told)) == 256
    assert state.told() == ()
