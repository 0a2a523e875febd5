"""The levers over a real balancer whose probes a test answers."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sipbalancer.config.model import CheckConfig, Config, RealServerConfig, VirtualServiceConfig
from sipbalancer.daemon import levers as module
from sipbalancer.daemon.balancer import Balancer
from sipbalancer.daemon.levers import Levers
from sipbalancer.daemon.mail import Letter
from sipbalancer.director.pins import PinKind, PinTable
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult, Verdict

START = 1_700_000_000.0
NET = f"127.{216 + os.getpid() % 8}.{os.getpid() // 8 % 256}"
HOSTS = itertools.count(1)
ONE, TWO = "192.0.2.1", "192.0.2.2"
OK, BAD = ProbeResult.OK, ProbeResult.REFUSED


class Bench:
    """Letters and commands are noted, not sent or run."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.now = START
        self.host = f"{NET}.{next(HOSTS)}"
        self.letters: list[Letter] = []
        self.commands: list[tuple[str, ...]] = []
        self.words: dict[str, object] = {}
        self.top: dict[str, object] = {}
        self.problem = ""
        self.balancer: Balancer | None = None
        monkeypatch.setattr(module, "post", self._post)

    async def _post(self, letter: Letter) -> str:
        self.letters.append(letter)
        return self.problem

    def config(self, *reals: RealServerConfig) -> Config:
        servers = reals or (RealServerConfig(host=ONE), RealServerConfig(host=TWO))
        # Half an hour between probes: a test gives every outcome itself.
        service = {"host": self.host, "real": servers, "check": CheckConfig(checkinterval=1800), **self.words}
        virtual = (VirtualServiceConfig.model_validate(service),)
        return Config.model_validate({"virtual": virtual, **self.top})

    def run(self, work: Callable[[Levers], Awaitable[None]]) -> None:
        async def whole() -> None:
            pins = PinTable(bytearray(PinTable.size_for(100)), b"12345678", START)
            self.balancer = Balancer(self.config(), (b"k" * 32,), pins, lambda: self.now, 0)
            levers = Levers(self.balancer, Path("/etc/a.cf"), lambda: self.now)
            levers._hooks.run = lambda *wish: self.commands.append(wish)  # type: ignore[method-assign]
            await levers.prepare()
            levers.start()
            await work(levers)
            await levers.close()
            await self.balancer.close()

        asyncio.run(whole())

    def judge(self, result: ProbeResult, *hosts: str) -> None:
        assert self.balancer is not None
        for health in self.balancer.table.healths:
            if not hosts or health.key.partition(":")[0] in hosts:
                outcome = ProbeOutcome(result, str(result))
                self.balancer._tell(self.balancer.table.probed(health, outcome, self.now))
                assert self.balancer.watcher is not None
                self.balancer.watcher.probed(health, outcome)

    def verdicts(self) -> list[Verdict]:
        assert self.balancer is not None
        return [server.verdict for server in self.balancer.snapshot().services[0].servers]

    def subjects(self) -> list[str]:
        return [letter.subject.partition(f" ({self.host}")[0] for letter in self.letters]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_mails_from_the_start_to_the_stop(bench: Bench) -> None:
    bench.words = {"emailalert": "a@x", "smtp": "mx"}
    bench.top = {"emailalertfrom": "me@x"}

    async def work(levers: Levers) -> None:
        bench.judge(OK)
        await levers.once()
        bench.judge(BAD, ONE)
        await levers.once()

    bench.run(work)
    assert bench.subjects() == [
        f"real servers up: {ONE}:5060, {TWO}:5060",
        f"real server down: {ONE}:5060",
        f"real servers not served: {ONE}:5060, {TWO}:5060",
    ]
    states = [letter.text.partition("Daemon-Status: ")[2].partition("\n")[0] for letter in bench.letters]
    assert states == ["starting", "running", "stopping"]
    assert {letter.sender for letter in bench.letters} == {"me@x"}


def test_a_flap_within_a_second_is_told(bench: Bench) -> None:
    bench.words = {"emailalert": "a@x", "smtp": "mx", "emailalertstatus": "running"}

    async def work(levers: Levers) -> None:
        bench.judge(OK)
        await levers.once()
        bench.judge(BAD, ONE)
        bench.judge(OK, ONE)
        await levers.once()

    bench.run(work)
    assert bench.subjects() == [f"real server up: {ONE}:5060"]
    (letter,) = bench.letters
    assert f"real server down: {ONE}:5060" in letter.text


def test_a_reload_has_a_state_of_its_own(bench: Bench) -> None:
    bench.words = {"emailalert": "a@x", "smtp": "mx", "emailalertstatus": "reloading"}

    async def work(levers: Levers) -> None:
        bench.judge(OK)
        await levers.once()
        levers.reloading()
        assert bench.balancer is not None
        bench.balancer.apply(bench.config(RealServerConfig(host=ONE)))
        await levers.reloaded()
        await levers.once()
        bench.judge(BAD, ONE)
        await levers.once()

    bench.run(work)
    assert bench.subjects() == [f"real server removed: {TWO}:5060"]


def test_a_start_is_over_after_a_minute_at_the_latest(bench: Bench) -> None:
    bench.words = {"emailalert": "a@x", "smtp": "mx", "emailalertstatus": "running"}

    async def work(levers: Levers) -> None:
        bench.judge(OK, ONE)
        await levers.once()
        bench.now += 61
        await levers.once()
        bench.judge(BAD, ONE)
        await levers.once()

    bench.run(work)
    assert bench.subjects() == [f"real server down: {ONE}:5060"]


def test_a_mail_that_was_not_sent_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.words = {"emailalert": "a@x", "smtp": "mx"}
    bench.problem = "mx: gone"

    async def work(levers: Levers) -> None:
        bench.judge(OK)

    bench.run(work)
    found = [record.__dict__["fields"]["error"] for record in caplog.records if record.message == "mail not sent"]
    assert found == ["mx: gone"] * len(bench.letters) != []


def test_no_way_to_send_is_a_note(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "can_send", bool)
    notes: list[list[str]] = []

    async def work(levers: Levers) -> None:
        notes.append(list(levers.notes()))

    for words in ({}, {"emailalert": "a@x"}, {"emailalert": "a@x", "smtp": "mx"}):
        bench.words = dict(words)
        bench.run(work)
    assert [len(each) for each in notes] == [0, 1, 0]
    assert notes[1][0].startswith("emailalert: no mail can be sent: write smtp = HOST")


def test_fallbackcommand_at_the_last_down_and_the_first_up(bench: Bench) -> None:
    bench.words = {"fallbackcommand": "/bin/x"}

    async def work(levers: Levers) -> None:
        bench.judge(OK)
        bench.judge(BAD, ONE)
        assert bench.commands == []
        bench.judge(BAD, TWO)
        bench.judge(BAD)
        await levers.once()
        bench.judge(OK, ONE)
        bench.judge(OK, TWO)

    bench.run(work)
    service = f"{bench.host}:5060"
    assert bench.commands == [
        (f"fallback {service}", "fallbackcommand", "/bin/x", "start", service, "udp"),
        (f"fallback {service}", "fallbackcommand", "/bin/x", "stop", service, "udp"),
    ]


def test_a_service_at_its_thresholds_is_not_out_of_service(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.words = {"fallbackcommand": "/bin/x", "real": (RealServerConfig(host=ONE, upper=1),)}
    caplog.set_level(logging.INFO, "sipbalancer")

    async def work(levers: Levers) -> None:
        assert bench.balancer is not None
        bench.judge(OK)
        table = bench.balancer.table
        (server,) = table.state.services[0].servers
        for _ in range(2):
            table.state.pins.put(1, server.serial, PinKind.CALL, START + 60)
            table.forwarder.due(START)
            await levers.once()
        table.state.pins.drop(1)
        table.forwarder.due(START)
        await levers.once()

    bench.run(work)
    assert bench.commands == []
    told = [record.message for record in caplog.records if "threshold" in record.message]
    assert told == ["server at its upper threshold", "server below its lower threshold"]


def test_a_standby_runs_no_command_and_sends_no_mail(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.words = {"fallbackcommand": "/bin/x", "emailalert": "a@x", "smtp": "mx"}
    monkeypatch.setattr(Balancer, "standby", lambda self, service: True)

    async def work(levers: Levers) -> None:
        bench.judge(OK)
        bench.judge(BAD)
        await levers.once()
        assert bench.commands == []
        monkeypatch.setattr(Balancer, "standby", lambda self, service: False)
        await levers.once()

    bench.run(work)
    assert [command[3] for command in bench.commands] == ["start"], "what is so when the address comes"
    assert bench.subjects() == [f"real servers not served: {ONE}:5060, {TWO}:5060"]


def test_callback_whenever_the_file_changed(bench: Bench) -> None:
    bench.top = {"callback": "/bin/c"}
    wish = ("callback", "callback", "/bin/c", "/etc/a.cf")

    async def work(levers: Levers) -> None:
        levers.file_changed()
        assert bench.commands == [wish], "at once without autoreload"
        levers.reloading()
        levers.file_changed()
        assert bench.commands == [wish], "after the reload"
        await levers.reloaded()
        assert bench.commands == [wish] * 2
        await levers.reloaded()

    bench.run(work)
    assert bench.commands == [wish] * 2, "a SIGHUP alone is no change"


def test_callback_waits_for_autoreload(bench: Bench) -> None:
    bench.top = {"callback": "/bin/c", "autoreload": True}

    async def work(levers: Levers) -> None:
        levers.file_changed()
        assert bench.commands == []
        await levers.reloaded()

    bench.run(work)
    assert len(bench.commands) == 1


def test_every_check_is_a_line_of_the_monitorfile(bench: Bench) -> None:
    path = bench.folder / "checks"
    bench.words = {"monitorfile": str(path)}

    async def work(levers: Levers) -> None:
        bench.judge(OK)
        bench.judge(BAD, ONE)

    bench.run(work)
    lines = path.read_text().splitlines()
    assert [line.partition("udp ")[2] for line in lines] == [
        f"{ONE} 5060 1 gate [up] ok",
        f"{TWO} 5060 1 gate [up] ok",
        f"{ONE} 5060 1 gate [down] refused",
    ]


def test_maintenancedir_from_before_the_first_datagram(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.top = {"maintenancedir": str(bench.folder)}
    file = bench.folder / ONE
    file.touch()

    async def work(levers: Levers) -> None:
        assert bench.verdicts() == [Verdict.DRAINING, Verdict.STARTING]
        bench.judge(OK)
        assert bench.verdicts() == [Verdict.DRAINING, Verdict.UP]
        assert bench.balancer is not None
        bench.balancer.apply(bench.config(RealServerConfig(host=TWO)))
        bench.balancer.apply(bench.config())
        assert bench.verdicts()[0] is Verdict.DRAINING, "a reload does not put it to work for a second"
        file.unlink()
        await levers.once()
        assert bench.verdicts()[0] is not Verdict.DRAINING

    bench.run(work)
    reasons = [record.__dict__["fields"].get("reason") for record in caplog.records if "fields" in record.__dict__]
    assert f"maintenancedir file {ONE}" in reasons
