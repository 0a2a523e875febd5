"""`fallbackcommand` and `callback`: the operator's programs, outside the loop and one at a time for each purpose."""

from __future__ import annotations

import asyncio
import logging
import os

from sipbalancer.daemon.log import say
from sipbalancer.daemon.probe_command import run

LIMIT = 60.0
"""Seconds a command may run; then it and its children are killed."""
LAST_WORD_SECONDS = 3.0
"""How long a stop waits for a command that runs."""


class Hooks:
    """At most one command per purpose runs; of those wished meanwhile only the last is run after it."""

    def __init__(self, limit: float = LIMIT) -> None:
        self._limit = limit
        self._wished: dict[str, tuple[str, str, tuple[str, ...]]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    def run(self, purpose: str, word: str, command: str, *arguments: str) -> None:
        """Start `command arguments...` soon. `word` is the directive, for the log."""
        self._wished[purpose] = (word, command, arguments)
        if purpose not in self._running:
            self._running[purpose] = asyncio.create_task(self._work(purpose), name=word)

    async def close(self) -> None:
        """Give what runs a moment, then end it."""
        self._wished.clear()
        tasks = list(self._running.values())
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_WORD_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, purpose: str) -> None:
        try:
            while (wish := self._wished.pop(purpose, None)) is not None:
                await self._run(*wish)
        finally:
            del self._running[purpose]

    async def _run(self, word: str, command: str, arguments: tuple[str, ...]) -> None:
        shown = " ".join((command, *arguments))
        try:
            status = await run(argv_of(command, arguments), self._limit)
        except TimeoutError:
            say(logging.WARNING, f"{word} still ran after {self._limit:g} s and was killed", command=shown)
        except OSError as error:
            say(logging.WARNING, f"{word} cannot be run", command=shown, error=error.strerror or str(error))
        else:
            level = logging.WARNING if status else logging.INFO
            say(level, f"{word} {_ended(status)}", command=shown)


def _ended(status: int) -> str:
    return f"died of signal {-status}" if status < 0 else f"exited {status}"


def argv_of(command: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
    """A path as it stands (blanks and all) when there is such a file; anything else is a shell's, as under ldirectord,
    with the arguments at its end."""
    if os.path.exists(command):
        return (command, *arguments)
    return ("/bin/sh", "-c", f'{command} "$@"', "sh", *arguments)
