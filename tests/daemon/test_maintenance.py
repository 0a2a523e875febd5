from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from sipbalancer.config.model import RealServerConfig
from sipbalancer.daemon import maintenance as module
from sipbalancer.daemon.maintenance import Maintenance, names_of

ONE = RealServerConfig(host="192.0.2.1", port=5062)
TWO = RealServerConfig(host="192.0.2.2", port=5060, name="pbx2.example.net")
SIX = RealServerConfig(host="2001:db8::1", family=6)
HOSTS = {"192.0.2.1": ("PBX1.example.com", "alias.example.com")}


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Names:
    """Reverse lookups, counted."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, host: str) -> tuple[str, ...]:
        self.asked.append(host)
        if host not in HOSTS:
            raise OSError("no name")
        return HOSTS[host]


def drained(folder: Path, *files: str) -> dict[str, str]:
    """What these files drain, once the names are known."""
    for file in files:
        (folder / file).touch()

    async def work() -> dict[str, str]:
        maintenance = Maintenance(Time(), Names())
        await maintenance.look(str(folder))
        maintenance.drained((ONE, TWO, SIX))
        await maintenance.names_known()
        found = maintenance.drained((ONE, TWO, SIX))
        await maintenance.close()
        return found

    return asyncio.run(work())


@pytest.mark.parametrize(
    ("file", "server"),
    [
        ("192.0.2.1:5062", ONE),
        ("192.0.2.1", ONE),
        ("pbx1.example.com:5062", ONE),
        ("pbx1.example.com", ONE),
        ("PBX1:5062", ONE),
        ("pbx1", ONE),
        ("alias", ONE),
        ("pbx2.example.net", TWO),
        ("pbx2:5060", TWO),
        ("[2001:db8::1]:5060", SIX),
        ("2001:db8::1", SIX),
    ],
)
def test_every_name_of_a_server(tmp_path: Path, file: str, server: RealServerConfig) -> None:
    assert drained(tmp_path, file) == {server.key: file}


@pytest.mark.parametrize("file", ["192.0.2.1:5060", "192.0.2", "pbx1:5060", "example.com", "192", ".hidden"])
def test_other_files_are_nobody_s(tmp_path: Path, file: str) -> None:
    assert drained(tmp_path, file) == {}


def test_an_address_is_not_cut_at_its_dots() -> None:
    assert "192" not in names_of(ONE, ("192.0.2.1",))


def test_names_are_asked_in_the_background_and_believed_for_ten_minutes(tmp_path: Path) -> None:
    (tmp_path / "pbx1").touch()
    time, names = Time(), Names()

    async def work() -> None:
        maintenance = Maintenance(time, names)
        await maintenance.look(str(tmp_path))
        assert maintenance.drained((ONE,)) == {}, "not known yet, and nobody waits for it"
        assert maintenance._asking is not None
        await maintenance._asking
        assert maintenance.drained((ONE,)) == {ONE.key: "pbx1"}
        time.now = 599.0
        maintenance.drained((ONE,))
        assert names.asked == ["192.0.2.1"]
        time.now = 600.0
        maintenance.drained((ONE,))
        await maintenance._asking
        assert names.asked == ["192.0.2.1"] * 2
        await maintenance.close()

    asyncio.run(work())


def test_without_files_no_name_is_asked_and_without_a_folder_nothing_is_read(tmp_path: Path) -> None:
    names = Names()

    async def work() -> None:
        maintenance = Maintenance(Time(), names)
        for folder in (str(tmp_path), ""):
            await maintenance.look(folder)
            assert maintenance.drained((ONE,)) == {}

    asyncio.run(work())
    assert names.asked == []


def test_a_missing_folder_is_empty_and_one_that_cannot_be_read_keeps_its_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "192.0.2.1").touch()

    async def work() -> None:
        maintenance = Maintenance(Time(), Names())
        await maintenance.look(str(folder))
        with monkeypatch.context() as patched:
            patched.setattr(os, "listdir", lambda path: (_ for _ in ()).throw(PermissionError(13, "denied")))
            for _ in range(2):
                await maintenance.look(str(folder))
        assert maintenance.drained((ONE,)) == {ONE.key: "192.0.2.1"}
        (folder / "192.0.2.1").unlink()
        folder.rmdir()
        await maintenance.look(str(folder))
        assert maintenance.drained((ONE,)) == {}
        await maintenance.close()

    asyncio.run(work())
    assert [record.message for record in caplog.records] == ["maintenancedir"] * 2


def test_a_folder_that_does_not_answer_holds_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    answer, looks = threading.Event(), list[str]()

    def listdir(path: str) -> list[str]:
        looks.append(path)
        answer.wait(20)
        return ["192.0.2.1"]

    async def work() -> None:
        maintenance = Maintenance(Time(), Names())
        with monkeypatch.context() as patched:
            patched.setattr(os, "listdir", listdir)
            for _ in range(3):
                await maintenance.look("/dead")
            assert maintenance.drained((ONE,)) == {}
            answer.set()
            monkeypatch.setattr(module, "LOOK_SECONDS", 20.0)
            await maintenance.look("/dead")
        assert maintenance.drained((ONE,)) == {ONE.key: "192.0.2.1"}
        await maintenance.close()

    asyncio.run(work())
    assert looks == ["/dead"]
