from __future__ import annotations

import asyncio
import json

import pytest

from sipbalancer.daemon.commands import Commands
from sipbalancer.daemon.status import Document
from sipbalancer.director.snapshot import ServerSnapshot, ServiceSnapshot, Snapshot, WhereSnapshot
from sipbalancer.director.verdict import Transition, Verdict
from sipbalancer.errors import AdminError, ConfigError, Finding

ONE, TWO = "192.0.2.1:5060", "192.0.2.2:5060"


def server(key: str, calls: int, registrations: int, drained: bool) -> ServerSnapshot:
    return ServerSnapshot(
        key, key, Verdict.UP, "", 0.0, 0.0, 1, False, drained, calls, registrations, 0, {}, {}, {}, (), 0.0
    )


class FakeBalancer:
    """Remembers what it was told; two services share server ONE."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.broken = False
        self.vouched = 0

    def document(self) -> Document:
        return {"services": []}

    def snapshot(self) -> Snapshot:
        drained = ("drain", ONE) in self.told
        services = (
            ServiceSnapshot("v1", "rr", (server(ONE, 3, 10, drained), server(TWO, 9, 9, False)), {}, {}, {}, ()),
            ServiceSnapshot("v2", "rr", (server(ONE, 1, 5, drained),), {}, {}, {}, ()),
        )
        return Snapshot(0.0, 0.0, services, {})

    def where(self, aor: str) -> tuple[WhereSnapshot, ...]:
        self.told.append(("where", aor))
        return (WhereSnapshot(aor, "v1", ONE, (), 5.0),)

    def drain(self, server: str) -> tuple[Transition, ...]:
        self.told.append(("drain", server))
        return (Transition(ONE, Verdict.UP, Verdict.DRAINING, "drained by the operator", 1.0),)

    def vouch(self) -> None:
        self.vouched += 1

    def enable(self, server: str) -> tuple[Transition, ...]:
        if server == TWO:
            return ()
        raise AdminError(f"no server {server}")

    def named(self, server: str) -> tuple[str, ...]:
        return (server,)

    def explain(self, data: bytes, source: str, virtual: str) -> Document:
        return {"explained": [data.decode(), source, virtual]}

    async def reload(self) -> tuple[str, ...]:
        if self.broken:
            raise ConfigError((Finding("f", 1, "a", "b"), Finding("f", 2, "c", "d")))
        return ("+ virtual x",)


def obey(balancer: FakeBalancer, **request: object) -> object:
    return json.loads(json.dumps(asyncio.run(Commands(balancer).obey(request))))


def test_status_and_where() -> None:
    balancer = FakeBalancer()
    assert obey(balancer, command="status") == {"services": []}
    assert obey(balancer, command="where", aor=" sip:1@x ") == [
        {"aor": "sip:1@x", "virtual": "v1", "server": ONE, "expires": 5.0, "contacts": []}
    ]
    assert balancer.told == [("where", "sip:1@x")]


def test_drain_says_what_is_left_over_all_services() -> None:
    assert obey(FakeBalancer(), command="drain", server=ONE) == {
        "transitions": [
            {"server": ONE, "old": "up", "new": "draining", "reason": "drained by the operator", "at": 1.0}
        ],
        "drained": [{"server": ONE, "calls": 4, "registrations": 15}],
    }


def test_drain_vouches_only_when_told_so() -> None:
    balancer = FakeBalancer()
    obey(balancer, command="drain", server=TWO)
    obey(balancer, command="drain", server=TWO, vouch="yes")
    assert balancer.vouched == 0
    obey(balancer, command="drain", server=TWO, vouch=True)
    assert balancer.vouched == 1


def test_enable() -> None:
    assert obey(FakeBalancer(), command="enable", server=TWO) == {"transitions": [], "drained": []}


def test_left_is_what_a_drain_waits_for() -> None:
    found = obey(FakeBalancer(), command="left", server=ONE)
    assert isinstance(found, dict)
    assert {name: found[name] for name in ("servers", "calls", "registrations", "leaving", "safe")} == {
        "servers": [ONE],
        "calls": 4,
        "registrations": 15,
        "leaving": False,
        "safe": False,
    }


def test_explain_takes_base64() -> None:
    assert obey(FakeBalancer(), command="explain", datagram="YWI=", **{"from": "192.0.2.1:5060"}) == {
        "explained": ["ab", "192.0.2.1:5060", ""]
    }
    assert obey(FakeBalancer(), command="explain", datagram="", virtual="v") == {"explained": ["", "", "v"]}


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ({"datagram": "*"}, "not base64"),
        ({"datagram": 5}, "datagram is missing"),
        ({"datagram": "QUFB" * 22000}, "66000 bytes; a datagram has 65535 at most"),
        ({"datagram": "YWI=", "from": 5}, "from is no text"),
    ],
)
def test_explain_refuses_what_is_no_datagram(words: dict[str, object], advice: str) -> None:
    with pytest.raises(AdminError, match=advice):
        asyncio.run(Commands(FakeBalancer()).obey({"command": "explain", **words}))


def test_the_balancers_refusal_is_the_answer() -> None:
    with pytest.raises(AdminError, match="no server 192.0.2.9"):
        obey(FakeBalancer(), command="enable", server="192.0.2.9")


def test_reload_answers_the_difference_or_all_errors() -> None:
    balancer = FakeBalancer()
    assert obey(balancer, command="reload") == {"changes": ["+ virtual x"]}
    balancer.broken = True
    with pytest.raises(AdminError, match="f:1: a: b\nf:2: c: d"):
        obey(balancer, command="reload")


@pytest.mark.parametrize(
    ("request_", "advice"),
    [
        ({}, "use one of status, where, drain, enable, left, explain, reload"),
        ({"command": "stauts"}, "did you mean status"),
        ({"command": ["status"]}, "unknown command"),
        ({"command": "drain"}, "server is missing: give it as text, such as 192.0.2.1:5060"),
        ({"command": "drain", "server": 5}, "server is missing"),
        ({"command": "where", "aor": "  "}, "aor is missing"),
        ({"command": "where", "aor": "a\udcffb"}, "aor is missing"),
    ],
)
def test_a_bad_request_says_what_to_write(request_: dict[str, object], advice: str) -> None:
    with pytest.raises(AdminError, match=advice):
        asyncio.run(Commands(FakeBalancer()).obey(request_))
