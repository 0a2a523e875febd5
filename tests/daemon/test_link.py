from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest

from sipbalancer.daemon.link import PACKET, Link, as_bytes, as_text, new_pair

LIMIT = 30.0


class End:
    """One end of a link, and what came of it."""

    def __init__(self, sock: Any) -> None:
        self.taken: asyncio.Queue[tuple[str, Any, list[int]]] = asyncio.Queue()
        self.over = asyncio.Event()
        self.link = Link(sock, lambda *message: self.taken.put_nowait(message), self.over.set)
        self.link.start(asyncio.get_running_loop())

    async def next(self) -> tuple[str, Any, list[int]]:
        async with asyncio.timeout(LIMIT):
            return await self.taken.get()


def pair() -> tuple[End, End]:
    one, two = new_pair()
    return End(one), End(two)


@pytest.fixture(params=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=None if request.param == "asyncio" else uvloop.new_event_loop) as made:
        yield made


def test_messages_come_in_order_both_ways(runner: asyncio.Runner) -> None:
    async def run() -> None:
        one, two = pair()
        for number in range(500):
            one.link.send("to two", {"number": number})
            two.link.send("to one", number)
        assert [(await two.next())[1]["number"] for _ in range(500)] == list(range(500))
        assert [(await one.next())[1] for _ in range(500)] == list(range(500))
        one.link.close()
        two.link.close()

    runner.run(run())


def test_a_message_larger_than_any_packet_is_whole_and_files_come_with_theirs(runner: asyncio.Runner) -> None:
    async def run() -> None:
        one, two = pair()
        read, write = os.pipe()
        text = as_text(bytes(range(256))) * (PACKET // 16)
        one.link.send("small", None)
        one.link.send("large", text, [write])
        one.link.send("after")
        assert one.link.waiting > 0, "nobody has read yet"
        assert await two.next() == ("small", None, [])
        kind, body, files = await two.next()
        assert (kind, body) == ("large", text)
        assert await two.next() == ("after", None, [])
        os.write(files[0], b"x")
        assert os.read(read, 1) == b"x"
        for descriptor in (read, write, *files):
            os.close(descriptor)
        assert one.link.waiting == 0
        one.link.close()
        two.link.close()

    runner.run(run())


def test_the_end_of_one_is_told_to_the_other_once(runner: asyncio.Runner) -> None:
    async def run() -> None:
        one, two = pair()
        one.link.send("last words")
        one.link.close()
        one.link.close()
        assert (await two.next())[0] == "last words"
        async with asyncio.timeout(LIMIT):
            await two.over.wait()
        assert two.link.closed and not one.over.is_set()
        two.link.send("to nobody", "x" * 10 * PACKET)
        assert two.link.waiting == 0

    runner.run(run())


def test_writing_to_an_end_that_is_gone_raises_nothing(runner: asyncio.Runner) -> None:
    async def run() -> None:
        one, two = pair()
        two.link.close()
        for _ in range(5):
            one.link.send("anybody", "x" * PACKET)
        async with asyncio.timeout(LIMIT):
            await one.over.wait()

    runner.run(run())


def test_bytes_pass_as_text() -> None:
    assert as_bytes(as_text(bytes(range(256)))) == bytes(range(256))
