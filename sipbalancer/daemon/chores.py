"""What is done once a second, off the datagram path: Contacts to disk, rare events to the log, rates, autoreload."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from sipbalancer.daemon.balancer import Balancer
from sipbalancer.daemon.clock import Clock
from sipbalancer.daemon.contacts import ContactFile
from sipbalancer.daemon.file import FileWatch
from sipbalancer.daemon.log import LOGGER, say
from sipbalancer.daemon.rates import Rates
from sipbalancer.director.bindings import BindingRow

PERIOD = 1.0
EXPIRE_PERIODS = 3600
UNSAVED_AT_MOST = 65_536
"""Rows kept while the disk does not take them; the oldest go first."""
ROWS_AT_ONCE = 1000
"""Taken from the table in one turn of the loop: 2 ms. After a storm of registrations all at once would be 150."""
TURNS = UNSAVED_AT_MOST // ROWS_AT_ONCE + 1
LAST_WORD_SECONDS = 3.0
"""How long a stop waits for the disk."""
LOADING_SECONDS = 2.0
"""How long a start waits for the Contacts: a million take 15 s, and no phone waits that long for an answer."""
BREATH = 0.005
"""Seconds between two pages of them beside the traffic; a page takes the loop about as long."""


class Chores:
    """Runs from `start` to `close`. A chore that fails is logged, and done again a second later."""

    def __init__(
        self,
        balancer: Balancer,
        contacts: Path | None,
        clock: Clock,
        watch: FileWatch,
        wish_reload: Callable[[], None],
        file_changed: Callable[[], None] = lambda: None,
        mark: Callable[[], None] = lambda: None,
    ) -> None:
        """`contacts` None: Contacts live in memory alone. `file_changed` is called when the file is seen to be another,
        then `wish_reload`, when that is wanted by autoreload; `mark` every second."""
        self.rates = Rates()
        self._balancer = balancer
        self._clock = clock
        self._watch = watch
        self._wish_reload = wish_reload
        self._file_changed = file_changed
        self._mark = mark
        self._file = ContactFile(contacts) if contacts is not None else None
        self._unsaved: list[BindingRow] = []
        self._failing = False
        self._loading: asyncio.Task[None] | None = None
        self._breath = 0.0
        self._saving: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._periods = 0
        self._internal_errors = 0

    async def load(self, shift: float = 0.0, seconds: float | None = LOADING_SECONDS) -> None:
        """Give the table the Contacts that were kept, their expiries `shift` seconds later; a file that cannot be read
        is a warning. What is not there after `seconds` (None: however long it takes) comes while calls are carried.
        """
        if self._file is None:
            return
        self._loading = asyncio.create_task(self._load(self._file, shift), name="loading")
        await asyncio.wait((self._loading,), timeout=seconds)
        if not self._loading.done():
            self._breath = BREATH
            say(logging.INFO, "Contacts are still being loaded: calls without a Path may find no phone until then")

    async def _load(self, file: ContactFile, shift: float) -> None:
        count = 0
        try:
            async for rows in file.pages(self._clock(), shift):
                self._balancer.table.restore_bindings(rows, self._clock())
                count += len(rows)
                await asyncio.sleep(self._breath)
        except OSError as error:
            say(logging.WARNING, "Contacts cannot be read: starting without", error=error)
            return
        say(logging.INFO, "Contacts loaded", count=count)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="chores")

    async def close(self) -> None:
        """Stop, write what is not yet written (three seconds at most) and close the file."""
        tasks = [task for task in (self._task, self._looking, self._loading) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._file is None:
            return
        try:
            async with asyncio.timeout(LAST_WORD_SECONDS):
                if self._saving is not None:
                    await self._saving
                await self._save()
                await self._file.close()
        except TimeoutError:
            say(logging.WARNING, "the disk is too slow: the last Contacts may be lost", rows=len(self._unsaved))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            try:
                self.once()
            except Exception:
                LOGGER.exception("a chore failed")

    def once(self) -> None:
        """All chores, one time. Nothing here waits: the disk's answers are awaited by tasks of their own."""
        self._periods += 1
        self._mark()
        self._tell()
        self.rates.observe(self._clock(), self._balancer.table.requests())
        if self._saving is None or self._saving.done():
            self._saving = asyncio.create_task(self._save(), name="contacts")
        config = self._balancer.config
        if (config.autoreload or config.callback) and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look(), name="autoreload")

    def _tell(self) -> None:
        for event in self._balancer.table.events():
            say(logging.WARNING, event)
        state = self._balancer.table.state
        if state.internal_errors > self._internal_errors:
            new = state.internal_errors - self._internal_errors
            self._internal_errors = state.internal_errors
            say(logging.ERROR, "bug: the forwarder lost datagrams", count=new, last=state.last_error)

    async def _collect(self) -> None:
        """All changes, some in each turn of the loop, but not for ever: under traffic each turn brings more. Where no
        file keeps them they are told to nobody."""
        for _ in range(TURNS):
            rows = self._balancer.table.binding_changes(ROWS_AT_ONCE)
            if not rows:
                break
            if self._file is not None:
                self._unsaved += rows
                del self._unsaved[:-UNSAVED_AT_MOST]
            await asyncio.sleep(0)

    async def _save(self) -> None:
        """Write the rows; keep them when that fails. Says so at the first failure and at the first success after."""
        await self._collect()
        if self._file is None:
            return
        rows, self._unsaved = self._unsaved, []
        try:
            if rows:
                await self._file.save(rows)
            if self._periods % EXPIRE_PERIODS == 0:
                await self._file.expire(self._clock())
        except OSError as error:
            self._unsaved = [*rows, *self._unsaved][-UNSAVED_AT_MOST:]
            if not self._failing:
                say(logging.WARNING, "Contacts cannot be saved: a restart forgets the new ones", error=error)
            self._failing = True
            return
        if self._failing and rows:
            self._failing = False
            say(logging.INFO, "Contacts are saved again", rows=len(rows))

    async def _look(self) -> None:
        if not await asyncio.to_thread(self._watch.changed):
            return
        self._file_changed()
        if self._balancer.config.autoreload:
            say(logging.INFO, "the file changed: reloading")
            self._wish_reload()
        else:
            say(logging.INFO, "the file changed: not loaded, as autoreload = no")
