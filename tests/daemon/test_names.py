"""Names over time: a real DNS server on loopback, and time that moves only when the test says so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sipbalancer.config.model import Config, RealServerConfig, VirtualServiceConfig
from sipbalancer.daemon.names import Names, names_of
from sipbalancer.daemon.resolver import Resolver
from sipbalancer.errors import EnvironmentFault
from tests.daemon import nameserver
from tests.daemon.nameserver import Nameserver


class Stage:
    """One Names, its DNS server, what it published, and its waits: each is held until `pass_time`."""

    def __init__(self, server: Nameserver) -> None:
        self.server = server
        self.published: list[Config] = []
        self.pauses: asyncio.Queue[tuple[float, asyncio.Event]] = asyncio.Queue()
        resolver = Resolver(("127.0.0.1",), server.port, Path("/no/such/hosts"), lifetime=0.3)
        self.names = Names(resolver, self.published.append, self._wait)

    async def _wait(self, delay: float) -> None:
        over = asyncio.Event()
        self.pauses.put_nowait((delay, over))
        await over.wait()

    async def pass_time(self) -> float:
        """Let the oldest wait end; how long it was to be. Returns when the next wait has begun."""
        delay, over = await self.pauses.get()
        over.set()
        following = await self.pauses.get()
        self.pauses.put_nowait(following)
        return delay

    async def pause(self) -> float:
        """How long the oldest wait is to be."""
        delay, over = await self.pauses.get()
        self.pauses.put_nowait((delay, over))
        return delay


def play(scenario: Callable[[Stage], Awaitable[None]]) -> None:
    async def run() -> None:
        stage = Stage(await nameserver.serve())
        try:
            await asyncio.wait_for(scenario(stage), 20)
        finally:
            await stage.names.close()
            stage.server.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def service(*hosts: str, fallback: str = "", host: str = "192.0.2.10", port: int = 5060) -> VirtualServiceConfig:
    return VirtualServiceConfig(
        host=host,
        port=port,
        real=tuple(RealServerConfig(host=name) for name in hosts),
        fallback=RealServerConfig(host=fallback) if fallback else None,
        lines={"host": 3},
    )


def config(*services: VirtualServiceConfig) -> Config:
    return Config(path="lb.cf", virtual=services)


def servers(found: Config, at: int = 0) -> list[str]:
    return [real.key for real in found.virtual[at].real]


def test_names_become_addresses_and_literals_stay() -> None:
    async def scenario(stage: Stage) -> None:
        stage.server.put("a.example.com", "A", "60 192.0.2.1", "60 192.0.2.2")
        stage.server.put("f.example.com", "A", "60 192.0.2.9")
        asked = config(service("192.0.2.7", "a.example.com", fallback="f.example.com"), service("192.0.2.8"))
        found = await stage.names.resolve(asked)
        assert servers(found) == ["192.0.2.7:5060", "192.0.2.1:5060", "192.0.2.2:5060"]
        assert [real.name for real in found.virtual[0].real] == ["", "a.example.com", "a.example.com"]
        assert found.virtual[0].fallback is not None
        assert found.virtual[0].fallback.key == "192.0.2.9:5060"
        assert found.virtual[1] == asked.virtual[1]
        assert found.path == "lb.cf"

    play(scenario)


def test_a_name_is_asked_once_however_often_it_is_written() -> None:
    async def scenario(stage: Stage) -> None:
        stage.server.put("a.example.com", "A", "60 192.0.2.1")
        asked = config(service("a.example.com"), service("a.example.com", fallback="a.example.com"))
        await stage.names.resolve(asked)
        assert stage.server.asked == [("a.example.com", "A")]
        assert names_of(asked) == (("a.example.com", 4),)

    play(scenario)


def test_of_twins_the_first_stays() -> None:
    async def scenario(stage: Stage) -> None:
        stage.server.put("a.example.com", "A", "60 192.0.2.1")
        found = await stage.names.resolve(config(service("192.0.2.1", "a.example.com")))
        assert [(real.key, real.name) for real in found.virtual[0].real] == [("192.0.2.1:5060", "")]

    play(scenario)


def test_asked_again_when_the_ttl_ends_and_published_when_changed() -> None:
    async def scenario(stage: Stage) -> None:
        stage.server.put("a.example.com", "A", "60 192.0.2.1")
        asked = config(service("a.example.com"))
        await stage.names.resolve(asked)
        stage.names.watch(asked)
        assert await stage.pass_time() == 60
        assert stage.published == []  # asked again, nothing new
        assert len(stage.server.asked) == 2
        stage.server.put("a.example.com", "A", "30 192.0.2.2")
        assert await stage.pass_time() == 60
        assert [servers(found) for found in stage.published] == [["192.0.2.2:5060"]]
        assert await stage.pause() == 30

    play(scenario)


def test_the_last_good_answer_is_kept_and_asked_for_ever_more_slowly(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(stage: Stage) -> None:
        stage.server.put("a.example.com", "A", "60 192.0.2.1")
        asked = config(service("a.example.com"))
        await stage.names.resolve(asked)
        stage.names.watch(asked)
        del stage.server.records["a.example.com", "A"]
        waits = [await stage.pass_time() for _ in range(6)]
        assert waits == [60, 5, 10, 20, 40, 60]
        assert stage.published == []
        assert servers(await stage.names.resolve(asked)) == ["192.0.2.1:5060"]
        stage.server.put("a.example.com", "A", "45 192.0.2.1")
        await stage.pass_time()
        assert (await stage.pause(), stage.published) == (45, [])

    with caplog.at_level(logging.INFO, "sipbalancer"):
        play(scenario)
    assert caplog.messages == ["name cannot be resolved: its last answer is kept", "name can be resolved again"]


def test_a_name_without_answer_at_start_is_left_out_said_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(stage: Stage) -> None:
        asked = config(service("192.0.2.7", "a.example.com", fallback="a.example.com"))
        found = await stage.names.resolve(asked)
        assert servers(found) == ["192.0.2.7:5060"]
        assert found.virtual[0].fallback is None
        stage.names.watch(asked)
        assert await stage.pass_time() == 5
        stage.server.put("a.example.com", "A", "60 192.0.2.1")
        assert await stage.pass_time() == 10
        assert servers(stage.published[0]) == ["192.0.2.7:5060", "192.0.2.1:5060"]
        assert stage.published[0].virtual[0].fallback is not None

    with caplog.at_level(logging.INFO, "sipbalancer"):
        play(scenario)
    first, last = caplog.records
    assert (first.levelname, first.message) == (
        "WARNING",
        "name cannot be resolved: its servers are left out until it can",
    )
    assert last.message == "name has new addresses"


def test_reload_keeps_answers_watches_new_names_and_forgets_old_ones() -> None:
    async def scenario(stage: Stage) -> None:
        for name, address in (("a", "192.0.2.1"), ("b", "192.0.2.2"), ("c", "192.0.2.3")):
            stage.server.put(f"{name}.example.com", "A", f"60 {address}")
        before, after = (
            config(service("a.example.com", "b.example.com")),
            config(service("b.example.com", "c.example.com")),
        )
        await stage.names.resolve(before)
        stage.names.watch(before)
        tasks = {task.get_name(): task for task in asyncio.all_tasks()}
        stage.server.asked.clear()
        assert servers(await stage.names.resolve(after)) == ["192.0.2.2:5060", "192.0.2.3:5060"]
        assert stage.server.asked == [("c.example.com", "A")]
        stage.names.watch(after)
        await asyncio.gather(tasks["resolve a.example.com"], return_exceptions=True)
        left = {task.get_name(): task for task in asyncio.all_tasks() if task.get_name().startswith("resolve ")}
        assert set(left) == {"resolve b.example.com", "resolve c.example.com"}
        assert left["resolve b.example.com"] is tasks["resolve b.example.com"]

    play(scenario)


def test_a_reload_that_is_given_up_changes_nothing() -> None:
    async def scenario(stage: Stage) -> None:
        stage.server.put("a.example.com", "A", "60 192.0.2.1")
        asked = config(service("a.example.com"))
        await stage.names.resolve(asked)
        stage.names.watch(asked)
        await stage.names.resolve(config(service("192.0.2.7")))
        stage.server.put("a.example.com", "A", "60 192.0.2.2")
        await stage.pass_time()
        assert [servers(found) for found in stage.published] == [["192.0.2.2:5060"]]

    play(scenario)


def test_a_virtual_by_name_listens_on_the_address_that_is_here() -> None:
    async def scenario(stage: Stage) -> None:
        stage.server.put("pbx.example.com", "A", "60 127.0.0.5", "60 10.255.255.1")
        asked = config(service("192.0.2.7", host="pbx.example.com"))
        found = await stage.names.resolve(asked)
        assert found.virtual[0].key == "127.0.0.5:5060"
        stage.names.watch(asked)
        assert len(asyncio.all_tasks()) == 2  # this test: and what wait_for runs; nothing is watched

    play(scenario)


def test_a_virtual_whose_name_has_no_address_is_one_clear_line() -> None:
    async def scenario(stage: Stage) -> None:
        with pytest.raises(EnvironmentFault) as raised:
            await stage.names.resolve(config(service(host="pbx.example.com")))
        assert str(raised.value) == (
            "lb.cf:3: virtual: pbx.example.com cannot be resolved; write its address and pbx.example.com as alias"
        )

    play(scenario)


def test_a_fault_of_ours_does_not_end_the_watching(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(stage: Stage) -> None:
        stage.server.put("a.example.com", "A", "60 192.0.2.1")
        asked = config(service("a.example.com"))
        await stage.names.resolve(asked)

        def broken(_: Config) -> None:
            raise ZeroDivisionError("ours")

        stage.names._changed = broken
        stage.names.watch(asked)
        stage.server.put("a.example.com", "A", "60 192.0.2.2")
        await stage.pass_time()
        assert await stage.pass_time() == 5
        assert await stage.pause() == 60

    with caplog.at_level(logging.ERROR, "sipbalancer"):
        play(scenario)
    assert "resolving failed inside sipbalancer" in caplog.messages
