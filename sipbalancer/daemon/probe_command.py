"""`checktype = external`: the operator's own program says whether a server works, as under ldirectord."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Callable

from sipbalancer.director.verdict import ProbeOutcome, ProbeResult

AT_ONCE = 16
"""Commands running at the same time; the others wait their turn."""


class Commands:
    """Runs check commands, at most `at_once` together, each in a process group of its own."""

    def __init__(self, clock: Callable[[], float], at_once: int = AT_ONCE) -> None:
        self._clock = clock
        self._turn = asyncio.Semaphore(at_once)

    async def ask(self, argv: tuple[str, ...], limit: float) -> ProbeOutcome:
        """Exit status 0 is up. After `limit` seconds of running, the command and its children are killed."""
        async with self._turn:
            begun = self._clock()
            try:
                status = await run(argv, limit)
            except TimeoutError:
                return ProbeOutcome(ProbeResult.TIMEOUT, f"{argv[0]} still ran after {limit:g} s")
            except OSError as error:
                return ProbeOutcome(ProbeResult.ERROR, f"checkcommand {argv[0]} cannot be run: {error.strerror}")
            return _outcome(argv[0], status, self._clock() - begun)


def _outcome(command: str, status: int, latency: float) -> ProbeOutcome:
    if status == 0:
        return ProbeOutcome(ProbeResult.OK, f"{command} exited 0", latency)
    if status < 0:
        return ProbeOutcome(ProbeResult.BAD, f"{command} died of signal {-status}", latency)
    return ProbeOutcome(ProbeResult.BAD, f"{command} exited {status}", latency)


async def run(argv: tuple[str, ...], limit: float, given: bytes = b"") -> int:
    """The exit status (negative: the signal). Raises TimeoutError after `limit` seconds, OSError when not started.

    `given` is what the command reads; nothing else of it is connected.
    Whatever ends the wait, nothing of the process group is left running.
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE if given else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(limit):
            if given:
                await process.communicate(given)
            return await process.wait()
    finally:
        if process.returncode is None:
            _kill_group(process.pid)
            await process.wait()


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def command_words(command: str, perl: bool) -> tuple[str, ...]:
    """`checkcommand` as argv: a path as it stands (blanks and all) when there is such a file, else words.

    `external-perl` is Perl text that ldirectord runs inside itself; here it is run by perl.
    """
    words = (command,) if os.path.exists(command) else _split(command)
    return ("perl", *words) if perl else words


def _split(command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command)) or (command,)
    except ValueError:
        return (command,)
