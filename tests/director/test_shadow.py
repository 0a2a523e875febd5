"""A copy that costs little and leaks nothing."""

from __future__ import annotations

from sipbalancer.director.forwarder import Forwarder
from sipbalancer.director.lines import Held
from sipbalancer.director.pins import PinTable
from sipbalancer.director.shadow import Overlay, shadow_of
from sipbalancer.sip.flow import flow_of
from tests.director.stage import PHONE, A, Stage, answer, packed, real, request, service_of
from tests.flows.pool import Pool


def own(table: object) -> dict[object, object]:
    """What a shadow's table has taken a copy of."""
    assert isinstance(table, Overlay)
    return table.own


def test_the_shadow_of_a_full_table_is_made_at_once() -> None:
    """It does not copy pins: what it holds is small whatever the table's size."""
    pool = Pool()
    state = pool.balancer.table.state
    for number in range(5000):
        state.recent_calls.put(number, 0, pool.lab.now)
    shadow = shadow_of(state, pool.lab.now)
    assert not any(own(shard.young) for shard in shadow.recent_calls._shards)
    assert shadow.recent_calls.get(77, pool.lab.now) == 0
    assert isinstance(shadow.pins, PinTable) and shadow.pins is not state.pins
    assert shadow.services[0].servers[0] is shadow.servers[0] is not state.servers[0]


def test_caches_and_what_waits_are_not_copied() -> None:
    stage = Stage(service_of(registerrate=10))
    state, service, flow = stage.table.state, stage.service, flow_of(0, packed(PHONE))
    out, server = stage.sent(request("MESSAGE", "Route: <sip:192.0.2.1;lr>"))
    stage.send(answer(out, 200), server)
    stage.send(answer(out, 200), server)
    held = Held(service, b"REGISTER", flow, stage.now)
    state.lines.join(stage.server(A), b"key", held)
    state.repeats.begin(b"key", (b"BYE", flow), stage.now)
    state.acks.twice((b"ACK", flow), stage.now)
    assert service.names and service.routes and service.ways_back
    shadow = shadow_of(state, stage.now)
    twin = shadow.services[0]
    assert not (twin.names or twin.routes or twin.ways_back or shadow.acks._second or shadow.repeats._wheel._ticks)
    assert own(shadow.repeats._sayings) == {}
    number = stage.server(A).number
    assert shadow.lines._lines[number][b"key"] is held
    assert shadow.repeats.end(b"key") and len(state.repeats) == 1
    shadow.lines.leave(shadow.servers[number], b"key")
    assert state.lines.holds(stage.server(A), b"key")


def test_an_overlay_is_a_dict_that_leaves_the_one_below_alone() -> None:
    under = {"a": [1], "b": [2], "c": [3]}
    over: Overlay[str, list[int]] = Overlay(under, {})
    over["a"].append(9)
    over["d"] = [4]
    del over["b"]
    assert over.pop("x", None) is None and over.get("b") is None and "b" not in over
    assert list(reversed(over)) == ["d", "c", "a"]
    assert (len(over), sorted(over), over.setdefault("c", [0])) == (3, ["a", "c", "d"], [3])
    assert under == {"a": [1], "b": [2], "c": [3]}
    assert sorted(over.changes()) == [("a", [1], [1, 9]), ("b", [2], None), ("d", None, [4])]


def test_a_look_for_a_contact_to_come_copies_what_it_looks_at_and_no_more() -> None:
    stage = Stage(service_of(real(A)))
    for number in range(50):
        contact = f"Contact: <sip:{number}u@{PHONE}>"
        stage.now += 0.5
        stage.send(request("REGISTER", contact, user=f"{number}u", branch=f"z9hG4bK{number}", call=f"{number}"))
    shadow = shadow_of(stage.table.state, stage.now)
    early = request("OPTIONS", uri=f"sip:nobody@{PHONE}", call="q", via=f"{A};rport", branch="z9hG4bKq")
    Forwarder(shadow).datagram_received(early, flow_of(0, packed(A)), stage.now)
    assert len(shadow.transactions.pending) == 50
    assert len(own(shadow.transactions.pending)) < 10
