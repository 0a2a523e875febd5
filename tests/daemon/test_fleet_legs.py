from __future__ import annotations

import itertools
import os
import socket

import pytest

from sipbalancer.config.model import VirtualServiceConfig
from sipbalancer.daemon.fleet_legs import FleetLegs
from sipbalancer.daemon.leg import open_leg
from sipbalancer.errors import EnvironmentFault

NET = f"127.{192 + os.getpid() % 32}.{os.getpid() // 32 % 256}"
HOSTS = itertools.count(200)


def service() -> VirtualServiceConfig:
    return VirtualServiceConfig(host=f"{NET}.{next(HOSTS)}")


def test_every_worker_has_a_leg_for_clients_and_one_for_servers() -> None:
    legs, one = FleetLegs(3), service()
    legs.keep(legs.open([one]), [one.key])
    held = legs.held[one.key]
    assert [leg.name for leg in held.clients] == [one.key] * 3
    assert [leg.name for leg in held.servers] == [f"{one.host}:{port}" for port in (15060, 15061, 15062)]
    assert held.files(1) == (held.clients[1].sock.fileno(), held.servers[1].sock.fileno())
    assert [worker for _, worker, _ in legs.clients([one.key, "gone"])] == [0, 1, 2]
    legs.close()
    assert legs.held == {}
    open_leg(one.host, 15062).sock.close()


def test_an_address_that_another_program_shares_is_not_joined() -> None:
    one = service()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((one.host, one.port))
        with pytest.raises(EnvironmentFault, match=f"cannot open udp {one.key}"):
            FleetLegs(2).open([one])


def test_all_are_opened_or_none() -> None:
    legs, free, taken = FleetLegs(2), service(), service()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((taken.host, 15061))
        with pytest.raises(EnvironmentFault, match=f"cannot open udp {taken.host}:15061"):
            legs.open([free, taken])
    assert legs.held == {}
    open_leg(free.host, 5060).sock.close()


def test_what_is_held_stays_and_what_is_gone_is_closed() -> None:
    legs, kept, gone, new = FleetLegs(2), service(), service(), service()
    legs.keep(legs.open([kept, gone]), [kept.key, gone.key])
    before = legs.held[kept.key]
    fresh = legs.open([kept, new])
    assert list(fresh) == [new.key]
    legs.keep(fresh, [kept.key, new.key])
    assert legs.held[kept.key] is before
    open_leg(gone.host, gone.port).sock.close()
    legs.close()
