"""`maintenancedir`: a file named after a server drains it, its removal ends that.

ldirectord's names: `ip:port`, `ip`, `fqdn[:port]`, `short[:port]`, in any case of letters; and the name our file has
for the server. Under ldirectord such a server is down at once; here it drains, so that its calls end in peace.
A host's name is looked up backwards once, in a thread of its own, and asked again only after ten minutes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping

from sipbalancer.config.address import literal
from sipbalancer.config.model import RealServerConfig
from sipbalancer.daemon.aside import aside
from sipbalancer.daemon.log import say

NAME_SECONDS = 600.0
"""How long a name (or that there is none) is believed."""
LOOKUP_SECONDS = 30.0
LOOK_SECONDS = 1.0


def _reverse(host: str) -> tuple[str, ...]:
    name, aliases, _ = socket.gethostbyaddr(host)
    return (name, *aliases)


def names_of(server: RealServerConfig, hosts: Iterable[str]) -> list[str]:
    """All file names that mean this server, in ldirectord's order, then ours; `hosts` are its host names."""
    address = f"[{server.host}]" if ":" in server.host else server.host
    names = [server.key, address, server.host]
    for host in (*hosts, *([server.name] if server.name else [])):
        full = host.lower().rstrip(".")
        short = full.partition(".")[0] if literal(full) is None else full
        names += [f"{full}:{server.port}", full, f"{short}:{server.port}", short]
    return names


class Maintenance:
    """The folder as it was last seen, and the host names of servers."""

    def __init__(self, clock: Callable[[], float], reverse: Callable[[str], tuple[str, ...]] = _reverse) -> None:
        self._clock = clock
        self._reverse = reverse
        self._files: Mapping[str, str] = {}
        """Lower-case name -> the name as it is written."""
        self._hosts: dict[str, tuple[str, ...]] = {}
        self._asked: dict[str, float] = {}
        self._asking: asyncio.Task[None] | None = None
        self._problem = ""
        self._listing: tuple[str, asyncio.Task[list[str]]] | None = None

    async def look(self, folder: str) -> None:
        """Read the folder. One that cannot be read is a warning once, and nothing changes; a missing one is empty."""
        problem = ""
        try:
            names = await self._list(folder) if folder else []
            self._files = {name.lower(): name for name in names}
        except FileNotFoundError:
            self._files, problem = {}, "does not exist: no server can be drained by a file in it"
        except TimeoutError:
            problem = f"does not answer within {LOOK_SECONDS:g} s: what it said last still holds"
        except OSError as error:
            problem = f"cannot be read: what it said last still holds ({error})"
        if problem and problem != self._problem:
            say(logging.WARNING, "maintenancedir", folder=folder, problem=problem)
        self._problem = problem

    async def _list(self, folder: str) -> list[str]:
        """At most one look at a time: on a dead file server each would cost a thread for ever."""
        if self._listing is None or self._listing[0] != folder:
            await self._let_go()
            self._listing = folder, asyncio.create_task(aside(None, lambda: os.listdir(folder)), name="maintenancedir")
        task = self._listing[1]
        await asyncio.wait((task,), timeout=LOOK_SECONDS)
        if not task.done():
            raise TimeoutError
        self._listing = None
        return task.result()

    async def _let_go(self) -> None:
        if self._listing is not None:
            self._listing[1].cancel()
            await asyncio.gather(self._listing[1], return_exceptions=True)
            self._listing = None

    def drained(self, servers: Iterable[RealServerConfig]) -> dict[str, str]:
        """Server key -> the file that drains it."""
        if not self._files:
            return {}
        servers = tuple(servers)
        found: dict[str, str] = {}
        for server in servers:
            names = names_of(server, self._hosts.get(server.host, ()))
            name = next((self._files[name] for name in names if name in self._files), None)
            if name is not None:
                found[server.key] = name
        self._ask_names(servers)
        return found

    def _ask_names(self, servers: Iterable[RealServerConfig]) -> None:
        """Look up what is not known, or was long ago. Only while there are files: most have none."""
        if self._asking is not None and not self._asking.done():
            return
        now = self._clock()
        hosts = {server.host for server in servers if now >= self._asked.get(server.host, float("-inf")) + NAME_SECONDS}
        if hosts:
            self._asked.update(dict.fromkeys(hosts, now))
            self._asking = asyncio.create_task(self._ask(sorted(hosts)), name="maintenancedir names")

    async def _ask(self, hosts: list[str]) -> None:
        for host in hosts:
            try:
                self._hosts[host] = await aside(LOOKUP_SECONDS, lambda host=host: self._reverse(host))  # type: ignore[misc]
            except (OSError, TimeoutError):
                self._hosts.setdefault(host, ())

    async def names_known(self) -> None:
        """Wait a moment for the names that are being asked."""
        if self._asking is not None:
            await asyncio.wait((self._asking,), timeout=LOOK_SECONDS)

    async def close(self) -> None:
        await self._let_go()
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
