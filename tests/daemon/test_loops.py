"""A test that fails with a socket open fails: it does not hang."""

from __future__ import annotations

import pytest

from tests.daemon.answerer import serve
from tests.daemon.loops import LOOPS, runner


def test_a_failure_before_the_sockets_are_closed_is_a_failure() -> None:
    async def scenario() -> None:
        await serve()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), runner(LOOPS["uvloop"]) as running:
        running.run(scenario())


def test_what_is_left_open_is_a_failure() -> None:
    async def scenario() -> None:
        await serve()

    with pytest.raises(AssertionError, match="unclosed resource"), runner(LOOPS["uvloop"]) as running:
        running.run(scenario())
