from __future__ import annotations

import asyncio
import itertools
import os
from pathlib import Path

import pytest

from sipbalancer.daemon.probe_command import Commands, command_words, run
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult

LONG = 30.0


def ask(*argv: str, limit: float = LONG) -> ProbeOutcome:
    ticks = itertools.count(0.0, 0.5)

    async def asking() -> ProbeOutcome:
        return await Commands(lambda: next(ticks)).ask(argv, limit)

    return asyncio.run(asking())


@pytest.mark.parametrize(
    ("script", "result", "text"),
    [
        ("exit 0", ProbeResult.OK, "sh exited 0"),
        ("exit 3", ProbeResult.BAD, "sh exited 3"),
        ("kill -9 $$", ProbeResult.BAD, "sh died of signal 9"),
    ],
)
def test_exit_status(script: str, result: ProbeResult, text: str) -> None:
    assert ask("sh", "-c", script) == ProbeOutcome(result, text, 0.5)


def test_what_cannot_be_run_says_so_and_nothing_of_the_server() -> None:
    outcome = ask("/no/such/check")
    assert outcome == ProbeOutcome(
        ProbeResult.ERROR, "checkcommand /no/such/check cannot be run: No such file or directory"
    )


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    """The grandchild holds the writing end of a pipe: its end of file is the grandchild's death."""
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    outcome = ask("sh", "-c", f"(echo held; sleep 1000) >{fifo} & wait", limit=0.5)
    assert outcome == ProbeOutcome(ProbeResult.TIMEOUT, "sh still ran after 0.5 s")
    assert os.read(reader, 100) == b"held\n"
    assert os.read(reader, 100) == b""
    os.close(reader)


def test_a_cancelled_wait_leaves_nothing_running() -> None:
    async def scenario() -> int:
        waiting = asyncio.create_task(run(("sleep", "1000"), LONG))
        while not waiting.done():
            waiting.get_loop().call_later(0.2, waiting.cancel)
            await asyncio.wait({waiting})
        return len(asyncio.all_tasks())

    assert asyncio.run(scenario()) == 1


def test_at_most_so_many_at_once(tmp_path: Path) -> None:
    """Each command makes a folder nobody else may have at that time."""
    only = tmp_path / "only"

    async def scenario() -> list[ProbeOutcome]:
        commands = Commands(lambda: 0.0, at_once=1)
        argv = ("sh", "-c", f"mkdir {only} && rmdir {only}")
        return await asyncio.gather(*(commands.ask(argv, LONG) for _ in range(8)))

    assert {outcome.result for outcome in asyncio.run(scenario())} == {ProbeResult.OK}


def test_words_of_a_command(tmp_path: Path) -> None:
    spaced = tmp_path / "my check"
    spaced.write_text("")
    assert command_words(str(spaced), perl=False) == (str(spaced),)
    assert command_words("/bin/check --fast 'a b'", perl=False) == ("/bin/check", "--fast", "a b")
    assert command_words("/etc/ha.d/check.pl", perl=True) == ("perl", "/etc/ha.d/check.pl")
    assert command_words("/bin/it's", perl=False) == ("/bin/it's",)
