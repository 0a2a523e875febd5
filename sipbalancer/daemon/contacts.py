"""Contacts on disk: which phone lives where, kept over a restart.

A small SQLite file, written in batches by a thread of its own; the loop hands rows over and never waits for a disk.
What a crash can lose is the last second, and the next REGISTER of that phone brings it back: hence no fsync. A file
that cannot be read is put aside and begun anew.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from sipbalancer.director.bindings import BindingRow

T = TypeVar("T")

SCHEMA = """
CREATE TABLE IF NOT EXISTS contact (
    virtual BLOB NOT NULL, aor BLOB NOT NULL, contact BLOB NOT NULL, client BLOB NOT NULL, server BLOB NOT NULL,
    expires REAL NOT NULL, PRIMARY KEY (virtual, aor, contact)
) WITHOUT ROWID
"""
SELECT = "SELECT virtual, aor, contact, client, server, expires FROM contact"
PAGE = SELECT + " WHERE (virtual, aor, contact) > (?, ?, ?) ORDER BY virtual, aor, contact LIMIT ?"
REPLACE = "REPLACE INTO contact (virtual, aor, contact, client, server, expires) VALUES (?, ?, ?, ?, ?, ?)"
DELETE = "DELETE FROM contact WHERE virtual = ? AND aor = ? AND contact = ?"
EXPIRE = "DELETE FROM contact WHERE expires <= ?"


class ContactFile:
    """contacts.db. All methods but `close` may raise OSError, which names the file; the next call tries again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, "contacts")
        self._database: sqlite3.Connection | None = None

    async def pages(self, now: float, shift: float = 0.0, size: int = 250) -> AsyncIterator[list[BindingRow]]:
        """The rows that have not expired, `size` at a time; the others are deleted. A damaged file is moved to
        contacts.db.damaged.

        `shift`: seconds that are added to every expiry before.
        """
        await self._run(lambda database: _prepare(database, now, shift))
        after = (b"", b"", b"")
        while page := await self._run(partial(_page, after=after, size=size)):
            yield page
            after = _name(page[-1])

    async def save(self, rows: Iterable[BindingRow]) -> None:
        """Write these changes in one transaction; a row with expires 0.0 is deleted."""
        await self._run(lambda database: _save(database, rows))

    async def expire(self, now: float) -> None:
        """Delete what has expired (no change tells us of those)."""
        await self._run(lambda database: _expire(database, now))

    async def close(self) -> None:
        """Wait for what is being written and close the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._do, work)

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._database is None:
                self._database = self._open()
            with self._database:
                return work(self._database)
        except sqlite3.Error as error:
            self._close()
            raise OSError(f"{self._path}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        try:
            return _connect(self._path)
        except sqlite3.OperationalError:
            raise  # a full disk, a permission: the file itself may be good
        except sqlite3.DatabaseError:
            self._path.replace(self._path.with_suffix(".db.damaged"))
            return _connect(self._path)

    def _close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()


def _connect(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = OFF")
        database.execute(SCHEMA)
        database.execute(SELECT + " LIMIT 1").fetchall()
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, now: float, shift: float) -> None:
    if shift:
        database.execute("UPDATE contact SET expires = expires + ?", (shift,))
    _expire(database, now)


def _page(database: sqlite3.Connection, after: tuple[bytes, bytes, bytes], size: int) -> list[BindingRow]:
    return [
        BindingRow(_text(virtual), _text(aor), _text(contact), client, _text(server), expires)
        for virtual, aor, contact, client, server, expires in database.execute(PAGE, (*after, size))
    ]


def _save(database: sqlite3.Connection, rows: Iterable[BindingRow]) -> None:
    # In their order: the last change of a Contact wins.
    for row in rows:
        if row.expires > 0.0:
            database.execute(REPLACE, (*_name(row), row.client, _bytes(row.server), row.expires))
        else:
            database.execute(DELETE, _name(row))


def _expire(database: sqlite3.Connection, now: float) -> None:
    database.execute(EXPIRE, (now,))


def _name(row: BindingRow) -> tuple[bytes, bytes, bytes]:
    return _bytes(row.virtual), _bytes(row.aor), _bytes(row.contact)


def _bytes(text: str) -> bytes:
    # Contacts come from the network, bad UTF-8 and all: SQLite's TEXT would refuse what this carries.
    return text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
