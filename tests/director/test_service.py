"""Running state beside its configuration."""

from __future__ import annotations

import pytest

from sipbalancer.director.service import read_netmask
from sipbalancer.director.verdict import ProbeResult
from tests.director.stage import A, B, Stage, packed, real, service_of


@pytest.mark.parametrize(
    ("text", "mask"),
    [("", b""), ("255.255.255.0", b"\xff\xff\xff\0"), ("64", b"\xff" * 8 + b"\0" * 8), ("128", b"\xff" * 16)],
)
def test_netmasks(text: str, mask: bytes) -> None:
    assert read_netmask(text) == mask


@pytest.mark.parametrize(
    ("words", "place", "ours"),
    [
        ({}, (b"192.0.2.1", 5060), True),
        ({}, (b"192.0.2.1", 5070), False),
        ({}, (b"192.0.2.2", 5060), False),
        ({"port": 5070}, (b"192.0.2.1", 5070), True),
        ({"advertise": "Public.example.net"}, (b"public.example.net", 5060), True),
        ({"advertise": "public.example.net:5080"}, (b"public.example.net", 5080), True),
        ({"advertise": "public.example.net:5080"}, (b"public.example.net", 5060), False),
        ({"alias": ("pbx.example.com", "x:99")}, (b"pbx.example.com", 5060), True),
        ({"alias": ("pbx.example.com", "x:99")}, (b"x", 99), True),
        ({"host": "2001:db8::1"}, (b"[2001:db8::1]", 5060), True),
        ({"advertise": "[2001:DB8::5]"}, (b"[2001:db8::5]", 5060), True),
    ],
)
def test_what_is_ours(words: dict[str, object], place: tuple[bytes, int], ours: bool) -> None:
    assert Stage(service_of(**words)).service.is_ours(place) is ours


def test_its_via() -> None:
    assert Stage().service.via == b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK"
    assert Stage(service_of(advertise="a.example")).service.via == b"Via: SIP/2.0/UDP a.example:5060;branch=z9hG4bK"


@pytest.mark.parametrize(
    ("result", "taking"),
    [(ProbeResult.OK, True), (ProbeResult.UNAVAILABLE, False), (ProbeResult.REFUSED, False), (ProbeResult.BAD, False)],
)
def test_who_takes_new_work(result: ProbeResult, taking: bool) -> None:
    stage = Stage()
    stage.judge(A, result=result)
    assert (stage.server(A) in stage.service.eligible) is taking


def test_servers_nobody_has_judged_work_only_while_none_is_up() -> None:
    stage = Stage(up=False)
    assert len(stage.service.eligible) == 3
    stage.judge(B)
    assert [server.key for server in stage.service.eligible] == [B]


def test_pools_are_published_whole() -> None:
    stage = Stage()
    before, eligible = stage.service.servers, stage.service.eligible
    stage.apply(service_of(real(A)))
    assert (len(before), len(eligible)) == (3, 3)
    assert [server.key for server in stage.service.servers] == [A]
    assert stage.service.source(packed(B)) is not None, "known still, for its dialogs"


def test_servers_are_known_by_text_in_one_spelling() -> None:
    stage = Stage(service_of(real("[2001:DB8:0::11]:5060"), host="2001:db8::1"))
    assert list(stage.service.by_text) == [b"[2001:db8::11]:5060"]
