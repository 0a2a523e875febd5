from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sipbalancer.config.model import CheckConfig, CheckType, Config, RealServerConfig, VirtualServiceConfig
from sipbalancer.daemon import chores as module
from sipbalancer.daemon.balancer import Balancer
from sipbalancer.daemon.chores import Chores
from sipbalancer.daemon.file import FileWatch
from sipbalancer.director.bindings import BindingRow
from sipbalancer.director.pins import PinTable

NOW = 1_700_000_000.0
NET = f"127.{224 + os.getpid() % 16}.{os.getpid() // 16 % 256}"
HOSTS = itertools.count(1)


class Bench:
    """Chores over a real balancer whose table is told what to hand out."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, autoreload: bool = False) -> None:
        check = CheckConfig(checktype=CheckType.ON)
        real = RealServerConfig(host="192.0.2.1")
        service = VirtualServiceConfig(host=f"{NET}.{next(HOSTS)}", real=(real,), check=check)
        pins = PinTable(bytearray(PinTable.size_for(100)), b"12345678", NOW)
        config = Config(virtual=(service,), autoreload=autoreload)
        self.balancer = Balancer(config, (b"k" * 32,), pins, lambda: NOW, 0)
        self.changes: tuple[BindingRow, ...] = ()
        self.most = 0
        """Rows handed out in one turn."""
        self.loaded: list[BindingRow] = []
        self.wishes: list[None] = []
        monkeypatch.setattr(self.balancer.table, "binding_changes", self._changes)
        monkeypatch.setattr(self.balancer.table, "restore_bindings", lambda rows, now: self.loaded.extend(rows))
        self.file = folder / "test.cf"
        self.file.touch()
        self.contacts = folder / "contacts.db"

    def _changes(self, limit: int) -> tuple[BindingRow, ...]:
        changes, self.changes = self.changes[:limit], self.changes[limit:]
        self.most = max(self.most, len(changes))
        return changes

    def chores(self, contacts: bool = True) -> Chores:
        path = self.contacts if contacts else None
        return Chores(self.balancer, path, lambda: NOW, FileWatch(self.file), lambda: self.wishes.append(None))

    def run(self, work: Callable[[Chores], Awaitable[None]], contacts: bool = True) -> None:
        async def whole() -> None:
            chores = self.chores(contacts)
            await work(chores)
            await chores.close()
            await self.balancer.close()

        asyncio.run(whole())

    def kept(self) -> list[str]:
        """The Contacts on disk."""
        self.loaded.clear()
        self.run(lambda chores: chores.load())
        return [row.contact for row in self.loaded]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def row(contact: str) -> BindingRow:
    return BindingRow("v", "sip:100@pbx", contact, b"\x13\xc4\xc0\x00\x02\x64", "192.0.2.1:5060", NOW + 60)


async def saved(chores: Chores) -> None:
    assert chores._saving is not None
    await chores._saving


def test_changes_reach_the_disk_and_come_back(bench: Bench) -> None:
    async def work(chores: Chores) -> None:
        bench.changes = (row("a"), row("b"))
        chores.once()
        await saved(chores)

    bench.run(work)
    assert bench.kept() == ["a", "b"]


def test_many_changes_are_taken_in_turns(bench: Bench) -> None:
    async def work(chores: Chores) -> None:
        bench.changes = tuple(row(f"{number:05}") for number in range(3 * module.ROWS_AT_ONCE + 1))
        chores.once()
        await saved(chores)

    bench.run(work)
    assert bench.most == module.ROWS_AT_ONCE
    assert len(bench.kept()) == 3 * module.ROWS_AT_ONCE + 1


def test_changes_that_never_end_are_written_all_the_same(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter(range(100 * module.UNSAVED_AT_MOST // module.ROWS_AT_ONCE))

    async def work(chores: Chores) -> None:
        with monkeypatch.context() as traffic:
            traffic.setattr(bench.balancer.table, "binding_changes", lambda limit: (row(f"{next(numbers):05}"),))
            chores.once()
            await saved(chores)

    bench.run(work)
    assert len(bench.kept()) == next(numbers)


def test_the_last_changes_are_written_at_the_stop(bench: Bench) -> None:
    async def work(chores: Chores) -> None:
        bench.changes = (row("last"),)

    bench.run(work)
    assert bench.kept() == ["last"]


def test_a_disk_that_fails_is_said_once_and_nothing_is_lost(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    folder = bench.contacts = bench.contacts.parent / "gone" / "contacts.db"

    async def work(chores: Chores) -> None:
        for contact in ("a", "b"):
            bench.changes = (row(contact),)
            chores.once()
            await saved(chores)
        folder.parent.mkdir()
        chores.once()
        await saved(chores)

    with caplog.at_level(logging.INFO, "sipbalancer"):
        bench.run(work)
    assert [record.message for record in caplog.records] == [
        "Contacts cannot be saved: a restart forgets the new ones",
        "Contacts are saved again",
    ]
    assert bench.kept() == ["a", "b"]


def test_unsaved_rows_are_bounded_and_the_newest_stay(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNSAVED_AT_MOST", 2)
    bench.contacts = bench.contacts.parent / "gone" / "contacts.db"

    async def work(chores: Chores) -> None:
        for contact in "abc":
            bench.changes = (row(contact),)
            chores.once()
            await saved(chores)
        assert [each.contact for each in chores._unsaved] == ["b", "c"]

    bench.run(work)


def test_without_a_state_folder_nothing_is_kept(bench: Bench) -> None:
    async def work(chores: Chores) -> None:
        await chores.load()
        bench.changes = (row("a"),)
        chores.once()
        await saved(chores)
        assert chores._unsaved == [] and not bench.changes

    bench.run(work, contacts=False)
    assert not bench.contacts.exists()


def test_a_start_does_not_wait_for_a_long_file(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(chores: Chores) -> None:
        bench.changes = tuple(row(f"{number:04}") for number in range(600))
        chores.once()
        await saved(chores)

    async def restart(chores: Chores) -> None:
        await chores.load(seconds=0.0)
        assert not bench.loaded
        assert chores._loading is not None
        await chores._loading
        assert len(bench.loaded) == 600

    bench.run(work)
    bench.run(restart)


def test_a_stop_does_not_wait_for_a_long_file(bench: Bench) -> None:
    async def work(chores: Chores) -> None:
        await chores.load(seconds=0.0)

    bench.run(work)
    assert not bench.loaded


def test_contacts_that_cannot_be_read_are_a_warning(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.contacts.mkdir()
    assert bench.kept() == []
    assert "Contacts cannot be read: starting without" in [record.message for record in caplog.records]


def test_rare_events_are_logged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bench.balancer.table, "events", lambda: ("add  alias = pbx.example.com",))

    async def work(chores: Chores) -> None:
        chores.once()

    bench.run(work)
    assert [record.message for record in caplog.records] == ["add  alias = pbx.example.com"]


def test_a_bug_of_the_forwarder_is_logged_when_it_happened_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    state = bench.balancer.table.state

    async def work(chores: Chores) -> None:
        chores.once()
        state.internal_errors, state.last_error = 5, "Traceback ..."
        chores.once()
        chores.once()

    bench.run(work)
    fields = [record.__dict__["fields"] for record in caplog.records]
    assert fields == [{"count": 5, "last": "Traceback ..."}]


def test_rates_come_from_its_snapshots(bench: Bench) -> None:
    async def work(chores: Chores) -> None:
        chores.once()
        assert len(chores.rates._seen) == 1

    bench.run(work)


@pytest.mark.parametrize("autoreload", [True, False])
def test_autoreload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autoreload: bool) -> None:
    bench = Bench(tmp_path, monkeypatch, autoreload)

    async def look(chores: Chores) -> None:
        chores.once()
        if chores._looking is not None:
            await chores._looking

    async def work(chores: Chores) -> None:
        await look(chores)
        assert bench.wishes == []
        bench.file.write_text("changed")
        await look(chores)
        await look(chores)

    bench.run(work)
    assert len(bench.wishes) == (1 if autoreload else 0)


def test_a_chore_that_fails_is_logged_and_done_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PERIOD", 0.0)
    again = asyncio.Event()
    calls = itertools.count()

    def once() -> None:
        if next(calls) == 0:
            raise ValueError("boom")
        again.set()

    async def work(chores: Chores) -> None:
        monkeypatch.setattr(chores, "once", once)
        chores.start()
        await asyncio.wait_for(again.wait(), 20)

    bench.run(work)
    assert [record.message for record in caplog.records] == ["a chore failed"]


def test_a_disk_that_hangs_does_not_hold_up_the_stop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LAST_WORD_SECONDS", 0.01)

    async def hang() -> None:
        await asyncio.Event().wait()

    async def work(chores: Chores) -> None:
        monkeypatch.setattr(chores, "_save", hang)

    bench.run(work)
    assert [record.message for record in caplog.records] == ["the disk is too slow: the last Contacts may be lost"]
