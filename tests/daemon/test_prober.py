"""The prober on real loopback sockets. Intervals are short because the file says so; nothing sleeps, all is awaited."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sipbalancer.config.model import CheckConfig, CheckType
from sipbalancer.daemon.prober import Prober, ProbeTarget, Turns
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult
from tests.daemon.answerer import Answerer, answer, header, serve

INTERVAL = 0.02


def check(**words: Any) -> CheckConfig:
    return CheckConfig(**{"checkinterval": INTERVAL, "negotiatetimeout": 0.2, "checktimeout": 0.2, **words})


def target(port: int, source: str = "", **words: Any) -> ProbeTarget:
    return ProbeTarget(f"127.0.0.1:{port}", "127.0.0.1", port, source, check(**words), "192.0.2.10", 5060)


class Reports:
    """What the prober said, and a way to wait for it."""

    def __init__(self) -> None:
        self.all: list[tuple[ProbeTarget, ProbeOutcome]] = []
        self._said = asyncio.Event()

    def __call__(self, target: ProbeTarget, outcome: ProbeOutcome) -> None:
        self.all.append((target, outcome))
        self._said.set()

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():
            self._said.clear()
            await self._said.wait()

    async def have(self, count: int, key: str = "") -> list[ProbeOutcome]:
        """The first `count` outcomes, of one server or of all."""

        def found() -> list[ProbeOutcome]:
            return [outcome for target, outcome in self.all if key in ("", target.key)]

        await self.until(lambda: len(found()) >= count)
        return found()[:count]


def probing(scenario: Callable[[Prober, Reports], Awaitable[None]]) -> None:
    async def run() -> None:
        reports = Reports()
        prober = Prober(reports)
        try:
            await asyncio.wait_for(scenario(prober, reports), 20)
        finally:
            await prober.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def statuses(server: Answerer, *words: str) -> None:
    """Answer with these one after the other, the last for ever."""
    server.reply = lambda data, number: [answer(data, words[min(number, len(words) - 1)])]


def test_probes_go_on_and_are_reported() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve()
        statuses(server, "200 OK", "503 Gone", "500 Oops", "404 Not Found")
        prober.sync([target(server.port)])
        outcomes = await reports.have(4)
        assert [outcome.result for outcome in outcomes] == ["ok", "unavailable", "bad", "ok"]
        assert all(outcome.latency > 0 for outcome in outcomes)
        server.close()

    probing(scenario)


def test_connect_does_not_judge() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve()
        statuses(server, "503 Gone", "500 Oops")
        prober.sync([target(server.port, checktype=CheckType.CONNECT, receive="never")])
        assert [outcome.result for outcome in await reports.have(2)] == ["ok", "ok"]
        server.close()

    probing(scenario)


def test_the_number_form_negotiates_once_after_every_n_connects() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve()
        statuses(server, "200 OK", "500 Oops")
        prober.sync([target(server.port, checktype=CheckType.MIXED, mixed_connects=2)])
        assert [outcome.result for outcome in await reports.have(5)] == ["ok", "ok", "ok", "bad", "bad"]
        server.close()

    probing(scenario)


def test_turns() -> None:
    turns = Turns(2)
    order = ""
    for result in (ProbeResult.OK, ProbeResult.UNAVAILABLE, ProbeResult.OK, ProbeResult.OK):
        while turns.connect():
            order += "c"
        order += "N"
        turns.negotiated(result)
    assert order == "NccNNccN"


def test_receive_and_login_reach_the_wire() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve()
        prober.sync([target(server.port, receive="pbx-[0-9]", login="ping@example.com")])
        (outcome,) = await reports.have(1)
        assert outcome.text == "200 OK, not matched by receive"
        assert header(server.got[0][0], "To") == "<sip:ping@example.com>"
        server.close()

    probing(scenario)


def test_a_bad_pattern_is_reported_and_costs_nobody() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve()
        prober.sync([target(server.port, receive="(")])
        outcomes = await reports.have(2)
        assert {outcome.result for outcome in outcomes} == {ProbeResult.ERROR}
        assert outcomes[0].text.startswith("receive is no regular expression: ")
        server.close()

    probing(scenario)


def test_refused_and_silent_servers_are_told_apart_while_others_are_probed_on() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        good, silent = await serve(), await serve(lambda data, _: [])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
            closed.bind(("127.0.0.1", 0))
            gone = int(closed.getsockname()[1])
        prober.sync([target(good.port), target(silent.port), target(gone)])
        assert (await reports.have(1, f"127.0.0.1:{silent.port}"))[0].result is ProbeResult.TIMEOUT
        assert (await reports.have(1, f"127.0.0.1:{gone}"))[0].result is ProbeResult.REFUSED
        assert len(await reports.have(3, f"127.0.0.1:{good.port}")) == 3
        good.close()
        silent.close()

    probing(scenario)


def test_one_probe_however_many_services_share_the_server() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve()
        prober.sync([target(server.port, source=source) for source in ("127.0.0.1", "127.0.0.2")])
        await reports.have(6)
        assert {address[0] for _, address in server.got} == {"127.0.0.1"}
        assert {found.source for found, _ in reports.all} == {"127.0.0.1"}
        server.close()

    probing(scenario)


def test_different_checks_of_one_server_are_different_probes() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve()
        targets = [target(server.port), target(server.port, receive="never")]
        prober.sync(targets)
        await reports.until(lambda: {found for found, _ in reports.all} == set(targets))
        server.close()

    probing(scenario)


def running() -> dict[str, asyncio.Task[Any]]:
    return {task.get_name(): task for task in asyncio.all_tasks() if task.get_name().startswith("probe ")}


def test_sync_leaves_alone_what_did_not_change() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        kept, gone, new = target(1), target(2), target(3)
        prober.sync([kept, gone])
        before = running()
        prober.sync([kept, new])
        await asyncio.gather(before["probe 127.0.0.1:2"], return_exceptions=True)
        after = running()
        assert set(after) == {"probe 127.0.0.1:1", "probe 127.0.0.1:3"}
        assert after["probe 127.0.0.1:1"] is before["probe 127.0.0.1:1"]

    probing(scenario)


def test_sync_restarts_what_is_asked_in_another_way() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve()
        prober.sync([target(server.port)])
        await reports.have(1)
        here = target(server.port, source="127.0.0.9")
        prober.sync([here])
        await reports.until(lambda: reports.all[-1][0] == here)
        assert server.got[-1][1][0] == "127.0.0.9"
        server.close()

    probing(scenario)


def test_nothing_is_asked_after_sync_took_it_away() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve()
        prober.sync([target(server.port)])
        await reports.have(1)
        prober.sync([])
        seen = len(reports.all)
        other = await serve()
        prober.sync([target(other.port)])
        await reports.have(5, f"127.0.0.1:{other.port}")
        assert Counter(found.port for found, _ in reports.all)[server.port] == seen
        server.close()
        other.close()

    probing(scenario)


@pytest.mark.parametrize("checktype", [CheckType.ON, CheckType.OFF])
def test_on_and_off_need_no_probe(checktype: CheckType) -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        prober.sync([target(1, checktype=checktype)])
        assert running() == {}

    probing(scenario)


def test_external_gets_ldirectords_words() -> None:
    script = 'test "$*" = "192.0.2.10 5060 127.0.0.1 7"'

    async def scenario(prober: Prober, reports: Reports) -> None:
        command = f"sh -c '{script}' check"
        prober.sync([target(7, checktype=CheckType.EXTERNAL, checkcommand=command, checktimeout=10.0)])
        (outcome,) = await reports.have(1)
        assert outcome[:2] == (ProbeResult.OK, "sh exited 0")

    probing(scenario)


def test_ping() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        prober.sync([target(7, checktype=CheckType.PING, checktimeout=5.0)])
        (outcome,) = await reports.have(1)
        assert outcome.result in (ProbeResult.OK, ProbeResult.ERROR), outcome

    probing(scenario)


def test_a_report_that_fails_does_not_end_the_probing(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        server = await serve()
        reports = Reports()

        def report(found: ProbeTarget, outcome: ProbeOutcome) -> None:
            reports(found, outcome)
            raise ZeroDivisionError("ours")

        prober = Prober(report)
        prober.sync([target(server.port)])
        await reports.have(2)
        await prober.close()
        server.close()

    with caplog.at_level(logging.ERROR, "sipbalancer"):
        asyncio.run(run())
    assert "probe outcome was not taken" in caplog.messages
    assert "ZeroDivisionError: ours" in caplog.text


def test_a_fault_of_ours_is_an_error_and_not_the_servers(caplog: pytest.LogCaptureFixture) -> None:
    def broken(count: int) -> bytes:
        if count > 4:
            raise ZeroDivisionError("no randomness")
        return b"\0" * count

    async def run() -> list[ProbeOutcome]:
        server = await serve()
        reports = Reports()
        prober = Prober(reports, randomness=broken)
        prober.sync([target(server.port)])
        outcomes = await reports.have(2)
        await prober.close()
        server.close()
        return outcomes

    with caplog.at_level(logging.ERROR, "sipbalancer"):
        outcomes = asyncio.run(run())
    assert {outcome.result for outcome in outcomes} == {ProbeResult.ERROR}
    assert "no randomness" in outcomes[0].text
    assert "probe failed inside sipbalancer" in caplog.messages
