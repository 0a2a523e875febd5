"""What the control process does with its fleet; whole crews of processes are in test_workers."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from sipbalancer.config.model import CheckConfig, CheckType, Config, RealServerConfig, VirtualServiceConfig
from sipbalancer.daemon import fleet_balancer
from sipbalancer.daemon.crew_memory import CrewMemory, new_crew_memory
from sipbalancer.daemon.fleet_balancer import FleetBalancer
from sipbalancer.daemon.handed import rows_of
from sipbalancer.daemon.leg import open_leg
from sipbalancer.daemon.link import Body, Link
from sipbalancer.daemon.shared_memory import new_memory
from sipbalancer.director.bindings import BindingRow
from sipbalancer.director.pins import PinTable
from sipbalancer.director.verdict import Verdict
from sipbalancer.errors import EnvironmentFault

NOW = 1_700_000_000.0
CHECK = b"12345678"
NET = f"127.{224 + os.getpid() % 16}.{os.getpid() // 16 % 256}"
HOSTS = itertools.count(1)
ONE = "192.0.2.1"


def service(**words: object) -> VirtualServiceConfig:
    real, check = RealServerConfig(host=ONE), CheckConfig(checktype=CheckType.ON)
    made = {"host": f"{NET}.{next(HOSTS)}", "real": (real,), "check": check, **words}
    return VirtualServiceConfig.model_validate(made)


@pytest.fixture
def crew() -> Iterator[CrewMemory]:
    made = new_crew_memory(new_memory("pins", PinTable.size_for(1000)), 2)
    yield made
    made.close()


def run(crew: CrewMemory, config: Config, work: Callable[[FleetBalancer], Any]) -> None:
    async def main() -> None:
        pins = crew.control_pins(2, CHECK, NOW)
        try:
            balancer = FleetBalancer(config, (b"k" * 32,), pins, lambda: NOW, 0, 2, crew, CHECK)
            try:
                await work(balancer)
            finally:
                await balancer.close()
        finally:
            pins.close()

    asyncio.run(main())


def test_ports_that_clash_are_an_error_that_says_what_to_write(crew: CrewMemory) -> None:
    async def nothing(balancer: FleetBalancer) -> None:
        raise AssertionError

    config = Config(virtual=(service(legport=5059),))
    with pytest.raises(EnvironmentFault, match="legport: virtual .* but 5060 is taken .*; write legport = 5061"):
        run(crew, config, nothing)


def test_all_sockets_are_held_before_anybody_forwards(crew: CrewMemory) -> None:
    one = service()

    async def work(balancer: FleetBalancer) -> None:
        assert balancer.unserved() == ()
        assert set(balancer.kernel_drops()) == {one.key}
        for port in (5060, 15060, 15061):
            with pytest.raises(EnvironmentFault):
                open_leg(one.host, port)
        assert [shown.pid for shown in balancer.workers()] == [0, 0]
        assert "worker 0 of 2 does not forward now: what comes for it waits" in balancer.notes()
        await balancer.gather()
        assert balancer.edge_counters() == {}
        (shown,) = balancer.snapshot().services
        assert shown.servers[0].verdict is Verdict.UP

    run(crew, Config(virtual=(one,)), work)


def test_a_reload_keeps_legports_and_opens_what_is_new(crew: CrewMemory) -> None:
    one, new = service(), service(legport=20000)

    async def work(balancer: FleetBalancer) -> None:
        moved = one.model_copy(update={"legport": 30000})
        balancer.apply(Config(virtual=(moved, new)))
        held = balancer._legs_held.held
        assert [leg.name for leg in held[one.key].servers] == [f"{one.host}:15060", f"{one.host}:15061"]
        assert [leg.name for leg in held[new.key].servers] == [f"{new.host}:20000", f"{new.host}:20001"]
        with pytest.raises(EnvironmentFault, match="legport"):
            balancer.apply(Config(virtual=(one, service(host=new.host, port=20001), new)))
        assert set(held) == {one.key, new.key}, "nothing has changed"

    run(crew, Config(virtual=(one,)), work)


class SlowLink:
    """Keeps what it is sent; full at every second look."""

    closed = False

    def __init__(self) -> None:
        self.contacts: list[str] = []
        self.over = asyncio.Event()
        self._looks = 0

    @property
    def waiting(self) -> int:
        self._looks += 1
        return 99 if self._looks % 2 else 0

    def send(self, kind: str, body: Body) -> None:
        self.contacts += [row.contact for row in rows_of(body)]


def test_a_new_worker_is_told_every_contact(crew: CrewMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_balancer, "FEED_PAUSE", 0.0)
    link = SlowLink()

    def rows() -> Iterator[BindingRow]:
        yield from (BindingRow("v", "a", str(number), b"\x13\xc4", ONE, NOW) for number in range(450))
        link.over.set()

    async def work(balancer: FleetBalancer) -> None:
        balancer._feed(cast(Link, link), rows())
        async with asyncio.timeout(20):
            await link.over.wait()
        await asyncio.sleep(0)

    run(crew, Config(virtual=(service(),)), work)
    assert link.contacts == [str(number) for number in range(450)]


def test_verdicts_are_published_as_they_change(crew: CrewMemory) -> None:
    async def work(balancer: FleetBalancer) -> None:
        generation = crew.words.generation
        balancer.drain(ONE)
        assert crew.words.generation == generation + 2
        balancer.drain(ONE)
        assert crew.words.generation == generation + 2
        balancer.enable(ONE)
        assert crew.words.generation == generation + 4

    run(crew, Config(virtual=(service(),)), work)
