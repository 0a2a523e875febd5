"""`drain --wait`: ask what is left on a server until nothing is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sipbalancer.cli.ask import ask
from sipbalancer.cli.show import left_text

ASK_SECONDS = 0.5
TELL_SECONDS = 10.0
"""What is left is said when it changed, not oftener than this."""


def wait(
    path: Path,
    server: str,
    timeout: float | None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Return True when it is safe to stop; False at the timeout, or when somebody gives the server work again.

    EnvironmentFault when the balancer goes away: the drain ends with it.
    """
    begun, told_at, told = clock(), float("-inf"), ""
    while True:
        left = ask(path, command="left", server=server)
        now = clock()
        text = _text(left)
        if left["safe"]:
            _say(text)
            return True
        if not left["leaving"]:
            _say(f"{text}: it is not drained any more")
            return False
        if timeout is not None and now - begun >= timeout:
            _say(f"{text}: not safe to stop after {timeout:g} s")
            return False
        if text != told and now - told_at >= TELL_SECONDS:
            _say(text)
            told, told_at = text, now
        rest = ASK_SECONDS if timeout is None else min(ASK_SECONDS, begun + timeout - now)
        sleep(max(rest, 0.01))


def _text(left: Mapping[str, Any]) -> str:
    return f"{', '.join(left['servers'])}: {left_text(left, time.time())}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
