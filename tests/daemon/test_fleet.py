from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from sipbalancer.daemon.fleet import MUTE, Fleet, Post, pause_after
from sipbalancer.daemon.link import Link

LIMIT = 30.0


class Owner:
    """Tells workers nothing, so they do nothing."""

    def __init__(self) -> None:
        self.briefed: list[int] = []
        self.gone: list[int] = []
        self.change = asyncio.Event()

    def brief(self, post: Post, link: Link) -> None:
        self.briefed.append(post.number)

    def take(self, post: Post, kind: str, body: Any) -> None: ...

    def lost(self, post: Post) -> None:
        self.gone.append(post.number)
        self.change.set()

    async def until(self, count: int) -> None:
        """So many have died."""
        async with asyncio.timeout(LIMIT):
            while len(self.gone) < count:
                self.change.clear()
                await self.change.wait()


def run(work: Callable[[Fleet, Owner], Any], count: int = 2, clock: Callable[[], float] = time.monotonic) -> None:
    async def main() -> None:
        owner = Owner()
        fleet = Fleet(count, owner, clock)
        fleet.start(asyncio.get_running_loop())
        try:
            await work(fleet, owner)
        finally:
            await fleet.close()

    asyncio.run(main())


def pids(fleet: Fleet) -> list[int]:
    return [post.process.pid for post in fleet.posts if post.process is not None]


@pytest.mark.parametrize(("deaths", "pause"), [(1, 0), (2, 0), (3, 1), (4, 2), (5, 4), (7, 16), (8, 30), (50, 30)])
def test_who_dies_again_and_again_is_replaced_later_and_later(deaths: int, pause: int) -> None:
    assert pause_after(deaths) == pause


def test_the_spare_takes_a_dead_workers_place_and_a_new_one_stands_by() -> None:
    async def work(fleet: Fleet, owner: Owner) -> None:
        assert owner.briefed == [0, 1]
        assert fleet._spare is None, "those that phones wait for come first"
        fleet._look()
        spare = fleet._spare
        assert spare is not None and spare.pid not in pids(fleet)
        first, second = pids(fleet)
        assert fleet.posts[0].process is not None
        fleet.posts[0].process.kill()
        await owner.until(1)
        assert owner.gone == [0] and owner.briefed == [0, 1, 0]
        assert pids(fleet) == [spare.pid, second] and first != spare.pid
        assert fleet.posts[0].restarts == 1 and fleet.posts[1].restarts == 0
        fleet._keep_spare()
        assert fleet._spare is not None and fleet._spare.pid not in pids(fleet)

    run(work)


def test_a_crash_loop_waits_and_a_spare_that_dies_is_nobodys_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(fleet: Fleet, owner: Owner) -> None:
        (post,) = fleet.posts
        for number in range(3):
            assert post.process is not None
            post.process.kill()
            await owner.until(number + 1)
        assert post.process is None and post.timer is not None, "the third death in a minute"
        fleet._keep_spare()
        spare = fleet._spare
        assert spare is not None
        said, reason = asyncio.Event(), spare.reason

        def why() -> str:
            said.set()
            return reason()

        monkeypatch.setattr(spare, "reason", why)
        spare.kill()
        spare.process.wait()
        async with asyncio.timeout(LIMIT):
            await said.wait()
        assert fleet._spare is None
        assert len(owner.gone) == 3
        fleet._fill(post)
        assert post.process is not None

    run(work, 1)


def test_a_worker_that_says_nothing_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    now = [100.0]

    async def work(fleet: Fleet, owner: Owner) -> None:
        (before,) = pids(fleet)
        for _ in range(int(MUTE) + 1):
            now[0] += 1.0
            fleet._look()
        await owner.until(1)
        assert pids(fleet) != [before]

    run(work, 1, lambda: now[0])
    assert "worker says nothing: it is killed" in caplog.text


def test_a_pause_of_all_processes_is_no_silence_of_a_worker(caplog: pytest.LogCaptureFixture) -> None:
    """A paused container, a stopped virtual machine: workers could not speak, as nobody could."""
    now = [100.0]

    async def work(fleet: Fleet, owner: Owner) -> None:
        now[0] += 100 * MUTE
        fleet._look()

    run(work, 1, lambda: now[0])
    assert "worker says nothing" not in caplog.text


def test_close_ends_all_of_them() -> None:
    held = []

    async def work(fleet: Fleet, owner: Owner) -> None:
        fleet._look()
        held.extend([*(post.process for post in fleet.posts), fleet._spare])

    run(work)
    assert len(held) == 3
    assert all(each is not None and each.process.poll() is not None and each.link.closed for each in held)
