"""The balancer of the demo: `python -m sipbalancer run FILE` as a child process, and its status over its own socket."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sipbalancer.daemon import own_process
from sipbalancer.errors import EnvironmentFault

from .message import Address, hostport

Document = dict[str, Any]

FILE = """# Written by the demo; three servers behind one address.
admin = "{folder}/admin.sock"
state = "{folder}/state"
metrics = no
checkinterval = 0.5
negotiatetimeout = 1
failurecount = 2
quiescent = no
virtual = {virtual}
{servers}
        service = sip
        protocol = udp
        scheduler = lc
        checktype = negotiate
"""
START_SECONDS = 15.0
STOP_SECONDS = 3.0
ANSWER_SECONDS = 2.0
PR_SET_PDEATHSIG = 1


class Balancer:
    """One child process; `stop` ends it by its pid. Dies with its parent on Linux, whatever kills that."""

    def __init__(self, folder: Path, virtual: Address, servers: Sequence[Address]) -> None:
        self.virtual = virtual
        self.file = folder / "demo.cf"
        self.log = folder / "balancer.log"
        self.admin = folder / "admin.sock"
        lines = "\n".join(f"        real = {hostport(server)} masq" for server in servers)
        self.file.write_text(FILE.format(folder=folder, virtual=hostport(virtual), servers=lines))
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it finds every server up; EnvironmentFault with its own words when it does not."""
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *own_process.command("sipbalancer", "run", str(self.file)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=own_process.environment(),
                start_new_session=True,  # Ctrl-C is for us: we end it
                preexec_fn=_die_with_parent(),
            )
        try:
            async with asyncio.timeout(START_SECONDS):
                while not self._all_up(await self.status()):
                    self.must_live()
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise EnvironmentFault(
                f"the balancer found no healthy pool in {START_SECONDS:g} s\n{self.tail()}"
            ) from None

    async def status(self) -> Document | None:
        """What `sipbalancer status --json` shows, or None while nobody answers."""
        with contextlib.suppress(OSError, ValueError, KeyError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(str(self.admin), limit=1 << 20)
                writer.write(b'{"command": "status"}\n')
                line = await reader.readline()
                writer.close()
                found = json.loads(line)["result"]
                return found if isinstance(found, dict) else None
        return None

    async def stop(self) -> None:
        """SIGTERM, then, when it is deaf, SIGKILL."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def tail(self, lines: int = 15) -> str:
        """The end of what it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def must_live(self) -> None:
        """EnvironmentFault with its last words when it has ended."""
        if not self.running:
            raise EnvironmentFault(f"the balancer ended by itself:\n{self.tail()}")

    @staticmethod
    def _all_up(status: Document | None) -> bool:
        servers = [server for service in (status or {}).get("services", ()) for server in service["servers"]]
        return bool(servers) and all(server["verdict"] == "up" for server in servers)


def _die_with_parent() -> Callable[[], None] | None:
    """What the child does before it becomes the balancer: ask Linux for SIGTERM when we die."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up here: after the fork nothing may be loaded
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
