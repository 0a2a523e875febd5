"""The event loops a test on real sockets runs on, closed so that a test that fails is seen to fail.

uvloop warns of a handle left open from within a C callback, while the loop closes. Where warnings are errors that
callback is cut short, the handle stays open, and `close` waits for it for ever, deaf to signals: one failed assertion
before the test's own `close` would hang the whole run. So the warnings of that moment are kept, and raised after it.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvloop

Factory = Callable[[], asyncio.AbstractEventLoop]
LOOPS: dict[str, Factory] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@contextmanager
def runner(factory: Factory) -> Iterator[asyncio.Runner]:
    """Raises AssertionError for what the test left open; an exception of the test itself comes first."""
    made = asyncio.Runner(loop_factory=factory)
    try:
        yield made
    finally:
        with warnings.catch_warnings(record=True) as left_open:
            warnings.simplefilter("always")
            made.close()
    assert not left_open, [str(each.message) for each in left_open]
