"""Blocking calls that may never return (a mail server, a name server): in a thread nobody waits for at the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def aside(limit: float | None, call: Callable[[], T]) -> T:
    """The call's result; what it raises; TimeoutError after `limit` seconds (None: never), the thread is then left to
    itself.

    Not `to_thread`: the loop's pool is small, and the end of the program waits for its threads.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:
            _hand(loop, done, None, error)
        else:
            _hand(loop, done, result, None)

    threading.Thread(target=run, name="aside", daemon=True).start()
    async with asyncio.timeout(limit):
        return await done


def _hand(
    loop: asyncio.AbstractEventLoop, done: asyncio.Future[T], result: T | None, error: BaseException | None
) -> None:
    def settle() -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        return  # the loop is closed: nobody wants to know
