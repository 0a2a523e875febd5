from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sipbalancer.daemon.contacts import ContactFile
from sipbalancer.director.bindings import BindingRow

NOW = 1_700_000_000.0


def row(contact: str, expires: float = NOW + 60, aor: str = "sip:100@pbx") -> BindingRow:
    return BindingRow("192.0.2.10:5060", aor, contact, b"\x13\xc4\xc0\x00\x02\x64", "192.0.2.1:5060", expires)


def with_file(path: Path, use: Callable[[ContactFile], Awaitable[None]]) -> None:
    async def run() -> None:
        file = ContactFile(path)
        try:
            await use(file)
        finally:
            await file.close()

    asyncio.run(run())


def load(path: Path, now: float = NOW) -> list[BindingRow]:
    rows: list[BindingRow] = []

    async def use(file: ContactFile) -> None:
        rows.extend([row async for page in file.pages(now) for row in page])

    with_file(path, use)
    return rows


def save(path: Path, *rows: BindingRow) -> None:
    with_file(path, lambda file: file.save(rows))


def test_rows_of_a_wrong_clock_are_shifted_before_what_is_over_goes(tmp_path: Path) -> None:
    save(tmp_path / "c.db", row("sip:a@192.0.2.100", 90.0), row("sip:b@192.0.2.100", 10.0))
    found: list[BindingRow] = []

    async def use(file: ContactFile) -> None:
        found.extend([row async for page in file.pages(NOW + 30, NOW) for row in page])

    with_file(tmp_path / "c.db", use)
    assert [(each.contact, each.expires) for each in found] == [("sip:a@192.0.2.100", NOW + 90)]
    assert load(tmp_path / "c.db", NOW + 30) == found


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [row("sip:a@192.0.2.100"), row("sip:b@192.0.2.100"), row("sip:a@192.0.2.100", aor="sip:\u00fc\udcff@pbx")]
    save(tmp_path / "contacts.db", *rows)
    assert sorted(load(tmp_path / "contacts.db")) == sorted(rows)
    assert (tmp_path / "contacts.db").stat().st_mode & 0o777 == 0o600


def test_pages_are_no_longer_than_asked_for_and_leave_nothing_out(tmp_path: Path) -> None:
    save(tmp_path / "c.db", *(row(f"sip:{number}@192.0.2.100", aor=f"sip:{number // 2}@pbx") for number in range(25)))
    pages: list[list[BindingRow]] = []

    async def use(file: ContactFile) -> None:
        pages.extend([page async for page in file.pages(NOW, size=10)])

    with_file(tmp_path / "c.db", use)
    assert [len(page) for page in pages] == [10, 10, 5]
    assert len({(each.aor, each.contact) for page in pages for each in page}) == 25


def test_a_change_replaces_and_zero_deletes(tmp_path: Path) -> None:
    path = tmp_path / "contacts.db"
    save(path, row("a"), row("b"), row("c"))
    save(path, row("a", NOW + 900), row("b", 0.0), row("c", 0.0), row("c", NOW + 5))
    assert load(path) == [row("a", NOW + 900), row("c", NOW + 5)]


def test_what_expired_is_not_loaded_and_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "contacts.db"
    save(path, row("a", NOW + 10), row("b", NOW + 100))
    assert load(path, NOW + 10) == [row("b", NOW + 100)]
    assert load(path, NOW) == [row("b", NOW + 100)]


def test_expire_deletes(tmp_path: Path) -> None:
    path = tmp_path / "contacts.db"
    save(path, row("a", NOW + 10), row("b", NOW + 100))
    with_file(path, lambda file: file.expire(NOW + 50))
    assert load(path, NOW) == [row("b", NOW + 100)]


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "contacts.db"
    path.write_bytes(b"this is no database, and longer than a header of one" * 50)
    assert load(path) == []
    assert (tmp_path / "contacts.db.damaged").exists()
    save(path, row("a"))
    assert load(path) == [row("a")]


def test_a_file_that_cannot_be_opened_names_itself_and_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "gone"

    async def use(file: ContactFile) -> None:
        with pytest.raises(OSError, match="gone"):
            await file.save([row("a")])
        folder.mkdir()
        await file.save([row("a")])

    with_file(folder / "contacts.db", use)
    assert load(folder / "contacts.db") == [row("a")]
