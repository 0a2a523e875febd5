from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sipbalancer.daemon.hooks import Hooks, argv_of


def script(folder: Path, text: str, name: str = "hook") -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() and time.monotonic() < deadline:
        threading.Event().wait(0.01)


def after(work: Callable[[Hooks], None], limit: float = 20.0) -> None:
    """Do it and wait for all commands."""

    async def whole() -> None:
        hooks = Hooks(limit)
        work(hooks)
        while hooks._running:
            await asyncio.gather(*hooks._running.values())
        await hooks.close()

    asyncio.run(whole())


def test_a_command_with_its_arguments(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    command = script(tmp_path, f'echo "$# $@" > {tmp_path}/out', "with blank")
    with caplog.at_level(logging.INFO, "sipbalancer"):
        after(lambda hooks: hooks.run("f", "fallbackcommand", command, "start", "192.0.2.1:5060", "udp"))
    assert (tmp_path / "out").read_text() == "3 start 192.0.2.1:5060 udp\n"
    assert [record.message for record in caplog.records] == ["fallbackcommand exited 0"]


def test_one_at_a_time_for_a_purpose_and_only_the_last_wish_after_it(tmp_path: Path) -> None:
    command = script(tmp_path, f"mkdir {tmp_path}/alone || exit 1; echo $1 >> {tmp_path}/out; rmdir {tmp_path}/alone")

    async def whole() -> None:
        hooks = Hooks()
        hooks.run("f", "fallbackcommand", command, "start")
        await asyncio.sleep(0)
        for word in ("stop", "start", "stop"):
            hooks.run("f", "fallbackcommand", command, word)
        await asyncio.gather(*hooks._running.values())

    asyncio.run(whole())
    assert (tmp_path / "out").read_text() == "start\nstop\n"


def test_purposes_do_not_wait_for_each_other(tmp_path: Path) -> None:
    waits = script(tmp_path, f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done", "waits")
    goes = script(tmp_path, f"touch {tmp_path}/go", "goes")

    def work(hooks: Hooks) -> None:
        hooks.run("one", "fallbackcommand", waits)
        hooks.run("two", "fallbackcommand", goes)

    after(work)
    assert (tmp_path / "go").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exit 3", "callback exited 3"),
        ("kill -9 $$", "callback died of signal 9"),
        ("sleep 60", "callback still ran after 0.3 s and was killed"),
    ],
)
def test_failures_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, said: str) -> None:
    command = script(tmp_path, text)
    after(lambda hooks: hooks.run("c", "callback", command, "/a.cf"), 0.3 if "sleep" in text else 20.0)
    assert [(record.message, record.levelno) for record in caplog.records] == [(said, logging.WARNING)]


def test_a_command_that_cannot_be_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "no-program"
    path.write_text("x")
    after(lambda hooks: hooks.run("c", "callback", str(path)))
    assert [record.message for record in caplog.records] == ["callback cannot be run"]


def test_a_stop_ends_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipbalancer.daemon.hooks.LAST_WORD_SECONDS", 0.05)
    command = script(tmp_path, f"touch {tmp_path}/begun; sleep 60; touch {tmp_path}/ended")

    async def whole() -> None:
        hooks = Hooks()
        hooks.run("c", "callback", command)
        await asyncio.to_thread(wait_for, tmp_path / "begun")
        hooks.run("c", "callback", command)
        await hooks.close()
        assert hooks._running == {}

    asyncio.run(whole())
    assert not (tmp_path / "ended").exists()


def test_words_are_a_shell_s_with_the_arguments_at_their_end(tmp_path: Path) -> None:
    after(
        lambda hooks: hooks.run(
            "f", "fallbackcommand", f"echo a b > {tmp_path}/out; printf '[%s]' >> {tmp_path}/out", "x y", "z"
        )
    )
    assert (tmp_path / "out").read_text() == "a b\n[x y][z]"
    assert argv_of("/bin/sh", ("x",)) == ("/bin/sh", "x")
