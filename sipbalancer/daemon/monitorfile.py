"""`monitorfile`: one line per check, in ldirectord's form:

[Sat Nov 21 03:09:03 2026] [4711] negotiate sip udp 192.168.6.2 5060 1 masq [up] 200 OK

The state is the check's own: `up` for a good answer, `draining` for a 503, `down` for the rest. Lines are gathered and
written once a second by a thread; each writing opens the file anew, so a rotated file is a new one. A file that cannot
be written is one warning, and its lines are lost.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time

from sipbalancer.config.model import CheckConfig, CheckType, RealServerConfig, VirtualServiceConfig
from sipbalancer.daemon.log import say
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult

GATHERED_AT_MOST = 10_000
"""Lines per file that wait for the disk."""
_ESCAPED = re.compile(r"[%|\r\n]")
_STATES = {ProbeResult.OK: "up", ProbeResult.UNAVAILABLE: "draining"}


def line_of(service: VirtualServiceConfig, server: RealServerConfig, outcome: ProbeOutcome, now: float) -> str:
    """The line, without its end."""
    check = service.check
    parts = (
        *(_kind(check, service.service), service.protocol, server.host, str(server.port), check.virtualhost),
        *(str(check.checkport or ""), str(server.weight), server.forwarding.value),
        *(server.request or check.request, server.receive or check.receive),
    )
    server_text = " ".join(part.replace("\\", "") for part in parts if part)
    message = _ESCAPED.sub(lambda match: f"%{ord(match[0]):02x}", outcome.text) or "-"
    state = _STATES.get(outcome.result, "down")
    return f"[{time.ctime(now)}] [{os.getpid()}] {server_text} [{state}] {message}"


def _kind(check: CheckConfig, service: str) -> str:
    if check.checktype is CheckType.MIXED:
        return f"combined {service}"
    if check.checktype is CheckType.NEGOTIATE:
        return f"negotiate {service}"
    if check.checktype in (CheckType.EXTERNAL, CheckType.EXTERNAL_PERL):
        return f"{check.checktype.value} {check.checkcommand}"
    return check.checktype.value


class MonitorFiles:
    """Lines on their way to their files."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}
        self._failing: set[str] = set()

    def note(self, path: str, line: str) -> None:
        """Gather one line; beyond the limit it is lost."""
        lines = self._lines.setdefault(path, [])
        if len(lines) < GATHERED_AT_MOST:
            lines.append(line)

    async def write(self) -> None:
        """Write what is gathered. Never raises."""
        gathered, self._lines = self._lines, {}
        for path, lines in gathered.items():
            try:
                await asyncio.to_thread(_append, path, "".join(f"{line}\n" for line in lines))
            except (OSError, ValueError) as error:
                if path not in self._failing:
                    say(logging.WARNING, "monitorfile cannot be written: its lines are lost", path=path, error=error)
                self._failing.add(path)
            else:
                self._failing.discard(path)


def _append(path: str, text: str) -> None:
    with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
