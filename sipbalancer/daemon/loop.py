"""Which event loop our processes run on, and how little the garbage collector has to do in them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

YOUNG = 10_000
"""Objects made and not freed at which the collector looks at the young ones; Python's own 700 are so few that it mostly
looks at flows and names that are kept for a while: 1 % of a core at full load. Traffic makes no cycles."""


def settle() -> None:
    """Now that all is made that stays: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed; None: asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
