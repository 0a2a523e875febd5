from __future__ import annotations

import asyncio
import threading

import pytest

from sipbalancer.daemon.aside import aside


def test_the_result_and_what_it_raises() -> None:
    def fail() -> None:
        raise OSError(2, "gone")

    assert asyncio.run(aside(5, lambda: threading.current_thread() is not threading.main_thread()))
    with pytest.raises(OSError, match="gone"):
        asyncio.run(aside(5, fail))


def test_a_call_that_does_not_end_is_left_to_itself() -> None:
    end = threading.Event()

    async def work() -> None:
        with pytest.raises(TimeoutError):
            await aside(0.01, lambda: end.wait(20))

    asyncio.run(work())
    end.set()


def test_an_answer_after_the_end_of_the_loop_hurts_nobody() -> None:
    end, begun = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def call() -> None:
        threads.append(threading.current_thread())
        begun.set()
        end.wait(20)

    async def work() -> None:
        task = asyncio.create_task(aside(None, call))
        await asyncio.to_thread(begun.wait, 20)
        task.cancel()

    asyncio.run(work())
    end.set()
    threads[0].join(20)
    assert not threads[0].is_alive()
