"""Running state as values."""

from __future__ import annotations

import pytest

from tests.director.stage import PHONE, VIP, Stage, request, service_of


def test_every_configured_server_is_there_from_the_first_second() -> None:
    stage = Stage(up=False)
    (service,) = stage.table.snapshot(stage.now).services
    assert [server.key for server in service.servers] == ["192.0.2.11:5060", "192.0.2.12:5060", "192.0.2.13:5060"]
    assert {str(server.verdict) for server in service.servers} == {"starting"}


def test_the_numbers() -> None:
    stage = Stage()
    home = stage.registered()
    server, _ = stage.called()
    stage.send(request("MESSAGE", call="m", branch="z9hG4bKm"))
    (service,) = stage.table.snapshot(stage.now).services
    by_key = {one.key: one for one in service.servers}
    assert by_key[home].registrations == 1
    assert by_key[server].calls == 1
    assert by_key[home].requests["REGISTER"] == 1
    assert by_key[home].responses["2xx"] >= 1
    assert (service.pins["call"], service.pins["binding"], service.pins["transaction"]) == (1, 1, 1)
    assert service.chosen["scheduler"] == 1 and service.chosen["binding"] == 2


def test_a_retired_server_is_shown_while_something_lives_on_it() -> None:
    stage = Stage()
    home = stage.registered()
    stage.apply(service_of(*(server.config for server in stage.service.servers if server.key != home)))
    shown = [server.key for server in stage.table.snapshot(stage.now).services[0].servers]
    assert home in shown
    stage.now += 7200
    for _ in range(100):
        stage.due(0.05)
    shown = [server.key for server in stage.table.snapshot(stage.now).services[0].servers]
    assert home not in shown


@pytest.mark.parametrize("name", ["1001", f"1001@{VIP}", f"sip:1001@{VIP}", f"SIP:1001@{VIP}:5060", "sip:1001"])
def test_where_by_any_name(name: str) -> None:
    stage = Stage()
    home = stage.registered()
    (where,) = stage.table.where(name, stage.now)
    assert (where.server, where.contacts[0].uri, where.contacts[0].client) == (home, f"sip:1001@{PHONE}", PHONE)
    assert 3599 <= where.expires <= 3601


@pytest.mark.parametrize("name", ["1002", "1001@elsewhere.example", "", "@", "sip:", "a b@c", "\udcff", "1" * 5000])
def test_nobody(name: str) -> None:
    stage = Stage()
    stage.registered()
    assert stage.table.where(name, stage.now) == ()
