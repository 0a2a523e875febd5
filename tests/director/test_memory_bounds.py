"""What strangers and phones make us remember is small, however long what they write is (invariant 5)."""

from __future__ import annotations

from typing import TypeVar

from sipbalancer.director.recent import RecentPins
from tests.director.stage import PHONE, VIP, Stage, answer, request, route_of, service_of

LONG = "x" * 30_000

V = TypeVar("V")


def octets(table: RecentPins[V]) -> int:
    """Of the keys: what is not an integer by now is as long as somebody liked."""
    shards = [kept for shard in table._shards for kept in (shard.young, shard.old)]
    return sum(len(key) for shard in shards for key in shard if isinstance(key, bytes))


def test_a_long_call_id_is_remembered_by_its_hash() -> None:
    stage = Stage(service_of(registerrate=10))
    out, server = stage.sent(request(call=LONG))
    route = route_of(out)
    stage.sent(answer(out, 200, f"Contact: <sip:{server}>"), server)
    moved = request(
        "INVITE", route, call=LONG, branch="z9hG4bK2", to=f"<sip:600@{VIP}>;tag=t", cseq=2, via="10.1.0.9;rport"
    )
    out, _ = stage.sent(moved, "10.1.0.9:5060")
    stage.sent(answer(out, 200, f"Contact: <sip:{server}>"), server)
    out, server = stage.sent(request("REGISTER", uri=f"sip:{VIP}", call=LONG, branch="z9hG4bK3"), PHONE)
    stage.sent(answer(out, 401), server)
    state = stage.table.state
    assert len(state.moved) == len(state.challenged) == 1
    assert octets(state.moved) + octets(state.challenged) == 0
    assert route_of(out, "Path")


def test_a_registered_contact_without_end_is_not_kept_and_its_register_passes() -> None:
    stage = Stage()
    contact = f"<sip:1001@10.1.0.1;x={LONG[:20_000]}>"
    assert stage.registered(contact=contact)
    where = stage.table.where("1001", stage.now)
    assert where[0].server and not where[0].contacts
    assert stage.dropped() == {"contact not kept": 1}
    assert stage.table.state.bindings[0].refused == 1
    stage.now += 1
    stage.registered(contact=f"<sip:1001@10.1.0.1;x={LONG[:900]}>")
    assert stage.table.where("1001", stage.now)[0].contacts


def test_unconfirmed_pins_are_kept_by_a_hash() -> None:
    stage = Stage()
    for number in range(3):
        stage.send(request("REGISTER", user=f"{number}{LONG[:200]}", branch=f"z9hG4bK{number}"))
    provisional = stage.table.state.provisional
    assert len(provisional) == 3
    assert octets(provisional) == 0


def test_strangers_do_not_use_up_what_is_told() -> None:
    stage = Stage()
    for number in range(300):
        stage.send(request("INVITE", f"Route: <sip:h{number}.example.net;lr>", branch=f"z9hG4bK{number}"))
    assert len(stage.table.events()) == 64
    assert stage.table.state.tell("what an operator must know")
