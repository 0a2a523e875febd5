"""A stage for `explain`: what it says is held against what the forwarder then really does, and nothing may change."""

from __future__ import annotations

from collections import deque
from re import Pattern
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, NamedTuple

from sipbalancer.config.model import Frozen
from sipbalancer.director.explain import Explanation, explain
from sipbalancer.director.keys import Keys
from sipbalancer.sip.flow import address_text, flow_of, pack_address
from sipbalancer.sip.flow_token import TokenSealer
from tests.flows.pool import Pool

VALUES = (bytes, str, int, float, bool, type(None))
WHOLE = (Keys, TokenSealer, memoryview, Frozen, FunctionType, BuiltinFunctionType, MethodType, type, Pattern)


def everything(root: object) -> list[Any]:
    """All that can be reached from an object, flat: two lists are equal when nothing has changed in between."""
    seen: dict[int, int] = {}
    flat: list[Any] = []
    todo = deque([root])
    while todo:
        one = todo.popleft()
        if isinstance(one, VALUES):
            flat.append(one)
            continue
        if isinstance(one, WHOLE):
            flat.append(id(one))
            continue
        known = seen.get(id(one))
        flat.append(known if known is not None else type(one).__name__)
        if known is not None:
            continue
        seen[id(one)] = len(seen)
        parts = list(parts_of(one))
        flat.append(len(parts))
        todo.extend(parts)
    return flat


def parts_of(one: Any) -> list[Any]:
    if isinstance(one, dict):
        return [each for pair in one.items() for each in pair]
    if isinstance(one, frozenset | set):
        return sorted(map(id, one))
    if isinstance(one, list | tuple | deque):
        return list(one)
    if type(one).__name__ == "array":
        return [bytes(one)]
    slots = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
    held = [getattr(one, name) for name in slots if hasattr(one, name)]
    return [*held, *(each for pair in getattr(one, "__dict__", {}).items() for each in pair)]


def told(pool: Pool) -> list[Any]:
    table = pool.balancer.table
    return [bytes(pool.balancer.memory), *everything(table.state), repr(table.snapshot(pool.lab.now))]


class Really(NamedTuple):
    sends: list[tuple[bytes, str]]
    by: str
    reason: str


def really(pool: Pool, data: bytes, source: bytes) -> Really:
    forwarder, service = pool.balancer.table.forwarder, pool.balancer.table.state.services[0]
    chosen, dropped = dict(service.chosen), dict(service.dropped)
    waiting = len(forwarder.outbox)
    out = forwarder.datagram_received(data, flow_of(0, source), pool.lab.now)
    assert pool.balancer.table.state.last_error == ""
    sends = [(each[0], address_text(each[1][1])) for each in ([out] if out else []) + forwarder.outbox[waiting:]]
    counted = [
        ", ".join(name for name, count in after.items() if count != before.get(name, 0))
        for before, after in ((chosen, service.chosen), (dropped, service.dropped))
    ]
    return Really(sends, counted[0], counted[1])


def explained(pool: Pool, data: bytes, source: bytes) -> Explanation:
    """What explain says, when it is what really happens, and nothing has changed before that."""
    before = told(pool)
    said = explain(pool.balancer.table.state, 0, data, source, pool.lab.now)
    assert told(pool) == before
    really_done = really(pool, data, source)
    assert [(each.data, each.to) for each in said.sends] == really_done.sends
    assert (said.by, said.reason) == (really_done.by, really_done.reason)
    return said


def request(method: str = "INVITE", uri: str = "sip:600@10.0.0.1", *more: str, **words: str) -> bytes:
    say = {
        "via": "10.1.0.9:5060;rport;branch=z9hG4bKx",
        "sender": "<sip:1001@10.0.0.1>;tag=a",
        "to": "<sip:600@10.0.0.1>",
        "call": "c1",
        "hops": "70",
        **words,
    }
    lines = (
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP {say['via']}",
        f"Max-Forwards: {say['hops']}",
        f"From: {say['sender']}",
        f"To: {say['to']}",
        f"Call-ID: {say['call']}",
        f"CSeq: 1 {method}",
        *more,
        "Content-Length: 0",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


PHONE = pack_address("10.1.0.9", 5060)
SERVER = pack_address("10.0.0.11", 5060)


def taken_by(said: Explanation) -> str:
    return next((step.link for step in said.steps if step.chose), "")
