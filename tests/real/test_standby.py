"""The virtual address comes to this host and goes, as under keepalived: `ip address` on a real interface."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from sipbalancer.config.model import CheckConfig, Config, RealServerConfig, VirtualServiceConfig
from sipbalancer.daemon.balancer import Balancer
from sipbalancer.daemon.clock import anchored_clock
from sipbalancer.director.pins import PinTable
from tests.daemon.answerer import Answerer, serve

VIRTUAL = "192.0.2.10"
KEY = f"{VIRTUAL}:5060"
SERVER = "127.0.0.22"
INTERVAL = 0.2


def ip(verb: str) -> None:
    subprocess.run(["ip", "address", verb, f"{VIRTUAL}/32", "dev", "lo"], check=True)


@pytest.fixture(autouse=True)
def left_as_found(logs: Path) -> Iterator[None]:
    """The address goes whatever happened: the next test would find it."""
    yield
    subprocess.run(["ip", "address", "del", f"{VIRTUAL}/32", "dev", "lo"], check=False, stderr=subprocess.DEVNULL)


def balancer(port: int) -> Balancer:
    check = CheckConfig(checkinterval=INTERVAL, negotiatetimeout=5.0)
    service = VirtualServiceConfig(host=VIRTUAL, real=(RealServerConfig(host=SERVER, port=port),), check=check)
    clock = anchored_clock()
    pins = PinTable(bytearray(PinTable.size_for(100)), b"12345678", clock())
    return Balancer(Config(virtual=(service,)), (b"k" * 32,), pins, clock, 0)


async def within(seconds: float, true: Callable[[], bool]) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while not true():
        assert asyncio.get_running_loop().time() < end, f"not within {seconds:g} s"
        await asyncio.sleep(0.01)  # the kernel tells nobody


def probing(scenario: Callable[[Balancer, Answerer], Awaitable[None]]) -> None:
    async def run() -> None:
        server = await serve(host=SERVER)
        made = balancer(server.port)
        made.start(asyncio.get_running_loop())
        try:
            await scenario(made, server)
        finally:
            await made.close()
            server.close()

    asyncio.run(run())


def source(server: Answerer) -> str:
    """Where the last probe came from."""
    return server.got[-1][1][0] if server.got else ""


def test_a_standby_is_quiet_and_is_live_within_a_second() -> None:
    async def scenario(made: Balancer, server: Answerer) -> None:
        await within(3, lambda: bool(server.got))
        assert source(server) not in ("", VIRTUAL), "asked from an address we own"
        assert made.standby(KEY)
        shown = made.snapshot().services[0]
        assert shown.standby and any("standby" in note for note in shown.notes)
        await asyncio.sleep(10 * INTERVAL)
        assert len(server.got) <= 2, "at a slower pace: 10 s from a moment of its own, at its own pace it would be 9"

        ip("add")
        await within(1, lambda: source(server) == VIRTUAL and not made.standby(KEY))
        assert not made.snapshot().services[0].standby
        seen = len(server.got)
        await within(5, lambda: len(server.got) >= seen + 5)  # at its own pace again

        ip("del")
        await within(1, lambda: made.standby(KEY))
        seen = len(server.got)
        await asyncio.sleep(10 * INTERVAL)
        assert len(server.got) <= seen + 1

    probing(scenario)


def test_the_one_who_loses_the_address_keeps_its_verdicts() -> None:
    """Probes from an address that is gone would be answered to who has it now: every server would look dead."""

    async def scenario(made: Balancer, server: Answerer) -> None:
        await within(5, lambda: len(server.got) >= 3)
        assert source(server) == VIRTUAL
        ip("del")
        await within(1, lambda: made.standby(KEY))
        for health in made.table.healths:
            made._prober.hurry((health.key, health.check))
        await within(3, lambda: source(server) != VIRTUAL)
        await asyncio.sleep(1.5)
        assert [str(each.verdict) for each in made.snapshot().services[0].servers] == ["up"]

    ip("add")
    probing(scenario)
