from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
from collections.abc import Iterator

import pytest

from sipbalancer.config.model import CheckConfig, CheckType, Config, RealServerConfig, VirtualServiceConfig
from sipbalancer.daemon import balancer as module
from sipbalancer.daemon.balancer import Balancer
from sipbalancer.daemon.standby import Standby
from sipbalancer.director.pins import PinTable
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult, Verdict
from sipbalancer.errors import AdminError, EnvironmentFault

NOW = 1_700_000_000.0
NET = f"127.{192 + os.getpid() % 32}.{os.getpid() // 32 % 256}"
HOSTS = itertools.count(1)
ONE, TWO = "192.0.2.1", "192.0.2.2"


def address() -> str:
    return f"{NET}.{next(HOSTS)}"


def service(host: str, *reals: str, check: CheckConfig | None = None) -> VirtualServiceConfig:
    # `on`: nothing is probed unless a test does it.
    check = check or CheckConfig(checktype=CheckType.ON)
    return VirtualServiceConfig(host=host, real=tuple(RealServerConfig(host=each) for each in reals), check=check)


def made(*services: VirtualServiceConfig) -> Balancer:
    pins = PinTable(bytearray(PinTable.size_for(100)), b"12345678", NOW)
    return Balancer(Config(virtual=services), (b"k" * 32,), pins, lambda: NOW, 0)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


def sockets(balancer: Balancer) -> list[str | None]:
    return [leg.name if leg else None for leg in balancer.edge.legs]


def close(balancer: Balancer) -> None:
    asyncio.run(balancer.close())


def test_a_leg_per_virtual_address() -> None:
    one, two = address(), address()
    balancer = made(service(one, ONE), service(two, TWO))
    assert sockets(balancer) == [f"{one}:5060", f"{two}:5060"]
    assert balancer.unserved() == ()
    assert set(balancer.kernel_drops()) == {f"{one}:5060", f"{two}:5060"}
    close(balancer)
    assert balancer.unserved() == (f"{one}:5060", f"{two}:5060")


def test_a_start_opens_all_addresses_or_none() -> None:
    free, taken = address(), address()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((taken, 5060))
        with pytest.raises(EnvironmentFault, match=taken):
            made(service(free, ONE), service(taken, ONE))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind((free, 5060))


def test_a_reload_opens_closes_and_keeps(loop: asyncio.AbstractEventLoop) -> None:
    kept, gone, new = address(), address(), address()

    async def run() -> None:
        balancer = made(service(kept, ONE), service(gone, ONE))
        before = balancer.edge.legs[0]
        changes = balancer.apply(Config(virtual=(service(new, ONE), service(kept, ONE, TWO))))
        assert sockets(balancer) == [f"{kept}:5060", None, f"{new}:5060"]
        assert balancer.edge.legs[0] is before
        assert changes == (
            f"+ virtual {new}:5060",
            f"+ virtual {kept}:5060 real {TWO}:5060",
            f"- virtual {gone}:5060",
        )
        assert [each.key for each in balancer.snapshot().services] == [f"{new}:5060", f"{kept}:5060"]
        again = balancer.apply(Config(virtual=(service(new, ONE), service(gone, ONE))))
        assert sockets(balancer) == [None, None, f"{new}:5060", f"{gone}:5060"], "an index is never used again"
        assert again == (f"+ virtual {gone}:5060", f"- virtual {kept}:5060")
        await balancer.close()

    loop.run_until_complete(run())


def test_a_reload_that_cannot_open_an_address_changes_nothing(loop: asyncio.AbstractEventLoop) -> None:
    held, free, taken = address(), address(), address()

    async def run() -> None:
        balancer = made(service(held, ONE))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind((taken, 5060))
            with pytest.raises(EnvironmentFault, match=taken):
                balancer.apply(Config(virtual=(service(free, ONE), service(taken, ONE))))
        assert sockets(balancer) == [f"{held}:5060"]
        assert [each.key for each in balancer.snapshot().services] == [f"{held}:5060"]
        assert [each.host for each in balancer.config.virtual] == [held]
        await balancer.close()

    loop.run_until_complete(run())


def test_one_probe_per_server_and_check_however_many_services() -> None:
    check = CheckConfig(checkport=5099)
    balancer = made(service(address(), ONE, TWO, check=check), service(address(), ONE, check=check))
    targets = [balancer._target(health) for health in balancer.table.healths]
    first = balancer.config.virtual[0].host
    assert [(each.key, each.host, each.port, each.source) for each in targets] == [
        (f"{ONE}:5060", ONE, 5099, first),
        (f"{TWO}:5060", TWO, 5099, first),
    ]
    close(balancer)


def test_an_outcome_becomes_a_verdict_and_one_log_line(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        check = CheckConfig(checkinterval=3600.0)
        balancer = made(service(address(), ONE, check=check))
        balancer._sync_probes()
        target = balancer._target(balancer.table.healths[0])
        for _ in range(3):
            balancer._probed(target, ProbeOutcome(ProbeResult.REFUSED, "port refused"))
        assert balancer.snapshot().services[0].servers[0].verdict is Verdict.DOWN
        balancer._probed(target, ProbeOutcome(ProbeResult.OK, "200 OK", 0.01))
        assert balancer.snapshot().services[0].servers[0].verdict is Verdict.UP
        await balancer.close()

    with caplog.at_level(logging.INFO, "sipbalancer"):
        loop.run_until_complete(run())
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "server down"),
        ("INFO", "server up"),
    ]


def test_a_probe_of_a_server_that_just_left_is_nothing(loop: asyncio.AbstractEventLoop) -> None:
    async def run() -> None:
        host, check = address(), CheckConfig(checkinterval=3600.0)
        balancer = made(service(host, ONE, check=check))
        target = balancer._target(balancer.table.healths[0])
        balancer.apply(Config(virtual=(service(host, TWO, check=check),)))
        balancer._probed(target, ProbeOutcome(ProbeResult.OK, "200 OK"))
        assert [each.verdict for each in balancer.snapshot().services[0].servers] == [Verdict.STARTING]
        await balancer.close()

    loop.run_until_complete(run())


def test_drain_enable_and_where() -> None:
    balancer = made(service(address(), ONE))
    assert [each.new for each in balancer.drain(ONE)] == [Verdict.DRAINING]
    assert [each.new for each in balancer.enable(ONE)] == [Verdict.UP]
    with pytest.raises(AdminError, match=ONE):
        balancer.drain("192.0.2.11")
    assert balancer.where("100@nowhere") == ()
    close(balancer)


class Here:
    """Which addresses are on this host, as the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
        self.hosts = set(hosts)
        monkeypatch.setattr(module, "Standby", lambda: Standby(lambda host: host in self.hosts))


def test_notes_say_what_is_true_now(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under keepalived the address comes after the socket was opened, and may go again."""
    host = address()
    here = Here(monkeypatch, host)

    async def run() -> None:
        balancer = made(service(host, ONE))

        def shouts() -> list[str]:
            return [note for note in balancer.snapshot().services[0].notes if "NOT ON THIS HOST" in note]

        assert shouts() == []
        here.hosts = set()
        balancer.look()
        assert len(shouts()) == 1 and f"{host}:5060" in shouts()[0] and "standby" in shouts()[0]
        await balancer.close()

    loop.run_until_complete(run())


def test_an_address_that_was_absent_at_first_is_said_once(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Here(monkeypatch)

    async def run() -> None:
        balancer = made(service("192.0.2.77", ONE))
        notes = balancer.snapshot().services[0].notes
        assert len([note for note in notes if "192.0.2.77:5060" in note and "host" in note.lower()]) == 1
        here.hosts = {"192.0.2.77"}
        balancer.look()
        assert not [note for note in balancer.snapshot().services[0].notes if "interface" in note]
        await balancer.close()

    loop.run_until_complete(run())


def test_standby_is_told_when_it_begins_and_when_it_ends(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = address(), address()
    here = Here(monkeypatch, one, two)

    async def run() -> None:
        balancer = made(service(one, ONE), service(two, TWO))
        assert [balancer.standby(f"{host}:5060") for host in (one, two)] == [False, False]
        here.hosts = {one}
        for _ in range(3):
            balancer.look()
        assert [balancer.standby(f"{host}:5060") for host in (one, two)] == [False, True]
        assert [each.standby for each in balancer.snapshot().services] == [False, True]
        here.hosts = {one, two}
        for _ in range(3):
            balancer.look()
        assert not balancer.standby(f"{two}:5060")
        assert not balancer.standby("192.0.2.99:5060")
        await balancer.close()

    with caplog.at_level(logging.INFO, "sipbalancer"):
        loop.run_until_complete(run())
    assert [record.message.partition(":")[0] for record in caplog.records] == ["standby", "active"]


# How often, and from where.


def verdict(balancer: Balancer, result: ProbeResult) -> None:
    for health in balancer.table.healths:
        balancer.table.probed(health, ProbeOutcome(result, "", 0.001, 20, 1.1), NOW)


@pytest.mark.parametrize(
    ("result", "interval", "seconds"),
    [
        (ProbeResult.OK, 10.0, 10.0),
        (ProbeResult.UNAVAILABLE, 10.0, 10.0),
        (ProbeResult.ERROR, 10.0, 2.0),  # not judged yet
        (ProbeResult.TIMEOUT, 10.0, 2.0),
        (ProbeResult.REFUSED, 1.5, 1.5),
    ],
)
def test_a_server_whose_return_is_awaited_is_probed_every_2_s(
    result: ProbeResult, interval: float, seconds: float
) -> None:
    balancer = made(service(address(), ONE, check=CheckConfig(checkinterval=interval)))
    balancer._healths = {(health.key, health.check): health for health in balancer.table.healths}
    verdict(balancer, result)
    assert balancer._interval(balancer._target(balancer.table.healths[0])) == seconds
    close(balancer)


@pytest.mark.parametrize(("interval", "seconds"), [(1.0, 10.0), (10.0, 30.0)])
def test_a_standby_probes_slowly(interval: float, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    Here(monkeypatch)
    balancer = made(service(address(), ONE, check=CheckConfig(checkinterval=interval)))
    verdict(balancer, ProbeResult.REFUSED)
    assert balancer._interval(balancer._target(balancer.table.healths[0])) == seconds
    close(balancer)


def test_a_server_of_two_services_is_asked_from_the_one_that_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    away, here = address(), address()
    Here(monkeypatch, here)
    check = CheckConfig()
    balancer = made(service(away, ONE, check=check), service(here, ONE, check=check))
    assert balancer._target(balancer.table.healths[0]).source == here
    assert balancer._interval(balancer._target(balancer.table.healths[0])) == 10.0
    close(balancer)


class Hurried:
    def __init__(self, balancer: Balancer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: list[str] = []
        monkeypatch.setattr(balancer._prober, "hurry", lambda key: self.keys.append(key[0]))


def test_suspects_are_hurried_as_soon_as_the_core_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    balancer = made(service(address(), ONE, TWO, check=CheckConfig()))
    hurried = Hurried(balancer, monkeypatch)
    verdict(balancer, ProbeResult.OK)
    core = balancer.edge._core
    core.due(NOW)
    assert hurried.keys == []
    flow = next(server.flow for server in balancer.table.state.servers if server.key == f"{TWO}:5060")
    core.refused(flow, NOW)
    core.refused(flow, NOW)
    core.due(NOW)
    assert hurried.keys == [f"{TWO}:5060"], "once, until its probe has an outcome"
    verdict(balancer, ProbeResult.OK)
    core.refused(flow, NOW)
    assert hurried.keys == [f"{TWO}:5060"] * 2
    verdict(balancer, ProbeResult.REFUSED)
    core.refused(flow, NOW)
    assert hurried.keys == [f"{TWO}:5060"] * 2, "it is down: there is nothing to suspect"
    close(balancer)


def test_an_address_that_comes_is_live_all_its_servers_are_probed(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = address(), address()
    here = Here(monkeypatch, one)

    async def run() -> None:
        check = CheckConfig(checkinterval=3600.0)
        balancer = made(service(one, ONE, check=check), service(two, ONE, TWO, check=check))
        balancer._sync_probes()
        hurried = Hurried(balancer, monkeypatch)
        here.hosts = {one, two}
        balancer.look()
        balancer.look()
        assert sorted(hurried.keys) == [f"{ONE}:5060", f"{TWO}:5060"]
        await balancer.close()

    loop.run_until_complete(run())


def test_a_silent_probe_reaches_the_director_in_its_own_time(loop: asyncio.AbstractEventLoop) -> None:
    async def run() -> None:
        balancer = made(service(address(), ONE, check=CheckConfig(checkinterval=3600.0)))
        balancer._sync_probes()
        (health,) = balancer.table.healths
        target = balancer._target(health)
        health.evidence.measured(0.5)
        assert balancer._wait(target) == pytest.approx(1.5)
        balancer._silent(target, NOW - 1)
        assert health.evidence.silent == NOW - 1
        await balancer.close()

    loop.run_until_complete(run())


def test_the_edge_counters_are_a_copy() -> None:
    balancer = made(service(address(), ONE))
    shown = balancer.edge_counters()
    balancer.edge.counters.received += 1
    balancer.edge.counters.send_errors["EPERM"] = 1
    assert shown["received"] == 0 and shown["send_errors"] == {}
    close(balancer)
