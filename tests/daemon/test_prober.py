"""The prober on real loopback sockets: what is probed and how as time runs, when it is probed in virtual time."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sipbalancer.config.model import CheckConfig, CheckType
from sipbalancer.daemon.prober import HURRY_EVERY, LISTENING_AT_MOST, Prober, ProbeTarget, Turns
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult
from tests.daemon import virtual_time
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


def in_virtual_time(scenario: Callable[[Prober, Reports], Awaitable[None]], **hooks: Any) -> None:
    """The same with a clock that jumps; `hooks` are the prober's own."""

    async def run() -> None:
        reports = Reports()
        prober = Prober(reports, random.Random(1).randbytes, virtual_time.now, **hooks)
        try:
            await scenario(prober, reports)
        finally:
            await prober.close()
        assert len(asyncio.all_tasks()) == 1

    virtual_time.run(run())


def timed(server: Answerer) -> list[float]:
    """Have the moments kept at which probes come."""
    moments: list[float] = []
    reply = server.reply

    def note(data: bytes, number: int) -> list[bytes]:
        moments.append(virtual_time.now())
        return reply(data, number)

    server.reply = note
    return moments


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


def test_sync_leaves_alone_what_did_not_change() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve()
        moments = timed(server)
        kept = target(server.port, checkinterval=10.0)
        for number in range(40):
            prober.sync([kept, target(1 + number)])
            await asyncio.sleep(1.0)
        assert 4 <= len(moments) <= 6, "a probe at the start, then one every ten seconds"
        server.close()

    in_virtual_time(scenario)


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
        on = target(1, checktype=checktype)
        prober.sync([on])
        prober.hurry(on.health_key)
        await asyncio.sleep(60.0)
        assert reports.all == []

    in_virtual_time(scenario)


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


# Bursts.


def test_a_silent_server_is_a_burst_and_told_as_soon_as_the_first_is_silent() -> None:
    told: list[tuple[ProbeTarget, float]] = []

    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve(lambda data, _: [])
        moments = timed(server)
        asked = target(server.port, checkinterval=10.0, negotiatetimeout=30.0)
        prober.sync([asked])
        (outcome,) = await reports.have(1)
        assert (outcome.result, outcome.probes, len(moments)) == (ProbeResult.TIMEOUT, 20, 20)
        assert virtual_time.now() - moments[0] == pytest.approx(1.1)
        assert told == [(asked, moments[0])]
        server.close()

    in_virtual_time(scenario, silent=lambda target, sent: told.append((target, sent)))


def test_how_long_an_answer_may_take_is_asked_for_each_burst() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve(lambda data, _: [])
        prober.sync([target(server.port, checkinterval=10.0, negotiatetimeout=30.0)])
        (outcome,) = await reports.have(1)
        assert outcome.duration == pytest.approx(2 * 0.6 + 18 * 0.05)
        server.close()

    in_virtual_time(scenario, wait=lambda target: 0.6)


def test_an_idle_servers_death_is_seen_within_its_interval_and_1_3_s() -> None:
    """With the defaults, checkinterval = 10 and negotiatetimeout = 30; it dies right after an answer."""

    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve()
        prober.sync([target(server.port, checkinterval=10.0, negotiatetimeout=30.0)])
        for count in range(1, 30):
            await reports.have(count)
            died, reply = virtual_time.now(), server.reply
            server.reply = lambda data, _: []
            await reports.have(count + 1)
            assert reports.all[-1][1].result is ProbeResult.TIMEOUT
            assert virtual_time.now() - died <= 10 + 1.3
            server.reply = reply
            reports.all[:] = reports.all[:count]
        server.close()

    in_virtual_time(scenario)


@pytest.mark.parametrize("checktype", [CheckType.NEGOTIATE, CheckType.CONNECT])
def test_a_late_answer_is_reported_after_the_silence(checktype: CheckType) -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve(lambda data, _: [])
        prober.sync([target(server.port, checkinterval=60.0, checktype=checktype, negotiatetimeout=30.0)])
        await reports.have(1)
        for data, address in server.got:  # it wakes and answers all that waited
            server.send(answer(data), address)
        late = (await reports.have(2))[1]
        assert (late.result, late.probes) == (ProbeResult.OK, 1)
        await asyncio.sleep(8.0)
        assert len(reports.all) == 2, "one life, not twenty"
        server.close()

    in_virtual_time(scenario)


def test_life_ends_the_waiting_for_older_answers() -> None:
    """Three bursts of a hung server listen; when it wakes it is reported as alive once."""

    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve(lambda data, _: [])
        asked = target(server.port, checkinterval=2.0, negotiatetimeout=30.0)
        prober.sync([asked])
        await reports.have(3)
        assert len(late_tasks()) == 3
        prober.sync([asked])
        for data, address in server.got[-60:]:
            server.send(answer(data), address)
        await reports.have(4)
        await asyncio.sleep(0.01)
        assert [outcome.result for _, outcome in reports.all[3:]] == [ProbeResult.OK]
        assert late_tasks() == []
        server.close()

    in_virtual_time(scenario)


def late_tasks() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("late ")]


def test_many_dead_servers_do_not_pile_up_sockets() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve(lambda data, _: [])
        prober.sync(
            [
                target(server.port, receive=f"server {number}", checkinterval=2.0, negotiatetimeout=30.0)
                for number in range(100)
            ]
        )
        await reports.have(400)
        assert len(late_tasks()) <= LISTENING_AT_MOST
        await asyncio.sleep(0)
        prober.sync([])
        await asyncio.sleep(0.001)
        assert late_tasks() == []
        server.close()

    in_virtual_time(scenario)


# Suspicion.


def test_a_suspect_is_probed_at_once_and_the_pace_goes_on() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve()
        moments = timed(server)
        asked = target(server.port, checkinterval=10.0)
        prober.sync([asked])
        await reports.have(2)
        expected = virtual_time.now() + 10
        await asyncio.sleep(3.0)
        suspected = virtual_time.now()
        prober.hurry(asked.health_key)
        await reports.have(3)
        assert moments[-1] == pytest.approx(suspected, abs=0.001)
        await reports.have(4)
        assert moments[-1] == pytest.approx(expected, abs=0.3)
        server.close()

    in_virtual_time(scenario)


def test_suspicions_without_end_cost_two_probes_a_second() -> None:
    """A request that the server never answers, sent again and again: no storm while the server answers its probes."""

    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve()
        moments = timed(server)
        asked = target(server.port, checkinterval=10.0)
        prober.sync([asked])
        await reports.have(1)
        for _ in range(400):
            prober.hurry(asked.health_key)
            await asyncio.sleep(0.05)
        assert 38 <= len(moments) <= 44
        server.close()

    in_virtual_time(scenario)


def test_a_suspicion_within_the_half_second_is_not_forgotten() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve()
        moments = timed(server)
        asked = target(server.port, checkinterval=60.0)
        prober.sync([asked])
        await reports.have(1)
        moments.clear()
        prober.hurry(asked.health_key)
        await reports.have(2)
        await asyncio.sleep(0.1)
        prober.hurry(asked.health_key)
        prober.hurry(asked.health_key)
        await reports.have(3)
        assert moments[1] - moments[0] == pytest.approx(HURRY_EVERY)
        await asyncio.sleep(5.0)
        assert len(moments) == 2
        server.close()

    in_virtual_time(scenario)


def test_while_a_burst_runs_its_answer_is_the_answer() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve(lambda data, _: [])
        asked = target(server.port, checkinterval=60.0, negotiatetimeout=30.0)
        prober.sync([asked])
        await server.have(1)
        for _ in range(10):
            prober.hurry(asked.health_key)
            await asyncio.sleep(0.1)
        await reports.have(1)
        assert len(server.got) == 20
        await asyncio.sleep(10.0)
        assert len(reports.all) == 1
        server.close()

    in_virtual_time(scenario)


def test_hurrying_what_is_not_probed_is_nothing() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        prober.hurry(target(1).health_key)
        asked = target(1, checkinterval=60.0)
        prober.sync([asked])
        await reports.have(1)
        prober.hurry(asked.health_key)
        await reports.have(2)
        prober.hurry(asked.health_key)  # waits for its half second
        prober.sync([])
        await asyncio.sleep(10.0)
        assert len(reports.all) == 2

    in_virtual_time(scenario)


def test_a_suspect_is_judged_even_where_connects_are_in_turn() -> None:
    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve()
        statuses(server, "200 OK", "503 Gone")
        asked = target(server.port, checktype=CheckType.MIXED, mixed_connects=100, checkinterval=60.0)
        prober.sync([asked])
        await reports.have(1)
        prober.hurry(asked.health_key)
        assert (await reports.have(2))[1].result is ProbeResult.UNAVAILABLE
        server.close()

    in_virtual_time(scenario)


def test_a_command_of_a_suspect_runs_at_once_and_alone(tmp_path: Path) -> None:
    """On the wall clock: commands are processes."""
    ran = tmp_path / "ran"

    async def scenario(prober: Prober, reports: Reports) -> None:
        command = f"sh -c 'echo >>{ran}; sleep 0.3'"
        asked = target(7, checktype=CheckType.EXTERNAL, checkcommand=command, checktimeout=10.0, checkinterval=600.0)
        prober.sync([asked])
        await reports.have(1)
        for _ in range(20):
            prober.hurry(asked.health_key)
            await asyncio.sleep(0)
        await reports.have(2)
        assert ran.read_text().count("\n") == 2

    probing(scenario)


# The pace of one that is down, or of a standby.


def test_the_interval_may_change_with_every_outcome() -> None:
    every = [10.0]

    async def scenario(prober: Prober, reports: Reports) -> None:
        server = await serve()
        moments = timed(server)
        prober.sync([target(server.port)])
        await reports.have(2)
        every[0] = 2.0
        prober.repace()
        begun = virtual_time.now()
        await reports.have(7)
        assert moments[2] - begun <= 2.0
        assert [later - earlier for earlier, later in pairwise(moments[2:])] == pytest.approx([2.0] * 4, abs=0.2)
        every[0] = 30.0
        await reports.have(10)
        assert [later - earlier for earlier, later in pairwise(moments[-2:])] == pytest.approx([30.0], abs=0.2)
        server.close()

    in_virtual_time(scenario, interval=lambda target: every[0])
