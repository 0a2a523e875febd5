"""The servers behind the balancer: three embedded ones, or three real Asterisks; started, killed, brought back."""

from __future__ import annotations

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from random import Random

from .asterisk import CONTACTS_TABLE, Instance, Release, User, fetch
from .message import Address
from .registrar import Contacts
from .server import EmbeddedServer
from .station import Station, bound_socket, open_station


class Pool(ABC):
    """Servers by index; `names` is what each calls itself in its Server header."""

    kind: str
    how_killed: str

    def __init__(self, addresses: Sequence[Address]) -> None:
        self.addresses = tuple(addresses)
        self.names = tuple(f"server{index + 1}" for index in range(len(addresses)))

    @abstractmethod
    async def start(self) -> None:
        """Start all; EnvironmentFault when that cannot be."""

    @abstractmethod
    async def kill(self, index: int) -> None:
        """End one as a crash does: nothing is said, its port is closed."""

    @abstractmethod
    async def bring_back(self, index: int) -> None:
        """Start a killed one again; its calls are forgotten, the shared contacts are not."""

    @abstractmethod
    async def close(self) -> None:
        """End all."""


class EmbeddedPool(Pool):
    """Three `EmbeddedServer`s in this process, with contacts in common (as Asterisks with a database have them)."""

    kind = "embedded servers"
    how_killed = "its socket closed without a word"

    def __init__(self, addresses: Sequence[Address], users: Mapping[str, str], random: Random) -> None:
        super().__init__(addresses)
        self._users, self._random = users, random
        self._contacts = Contacts()
        self._stations: dict[int, Station] = {}

    async def start(self) -> None:
        for index in range(len(self.addresses)):
            await self.bring_back(index)

    async def kill(self, index: int) -> None:
        self._stations.pop(index).close()

    async def bring_back(self, index: int) -> None:
        server = EmbeddedServer(
            self.addresses[index], self._users, "demo", self._random, name=self.names[index], contacts=self._contacts
        )
        self._stations[index] = await open_station(server, bound_socket(server.address))

    async def close(self) -> None:
        for index in list(self._stations):
            await self.kill(index)


class AsteriskPool(Pool):
    """Three real Asterisks, contacts shared in one SQLite file, started from the samples in `conf/asterisk`."""

    kind = "real Asterisks"
    how_killed = "kill -9"

    def __init__(self, addresses: Sequence[Address], users: Mapping[str, str], virtual: Address, folder: Path) -> None:
        super().__init__(addresses)
        self._users, self._virtual, self._folder = users, virtual, folder
        self._instances: list[Instance] = []

    async def start(self) -> None:
        tree = await asyncio.to_thread(fetch, Release.PJSIP)
        database = self._folder / "contacts.db"
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # three servers write
            connection.execute(CONTACTS_TABLE)
        users = [User(number, secret) for number, secret in self._users.items()]
        for name, (host, _) in zip(self.names, self.addresses, strict=True):
            instance = Instance(tree, self._folder / name, name, host, self._virtual[0], users, shared=database)
            instance.write()
            self._instances.append(instance)
            instance.start()
        for instance in self._instances:
            await asyncio.to_thread(instance.wait)

    async def kill(self, index: int) -> None:
        self._instances[index].kill()

    async def bring_back(self, index: int) -> None:
        self._instances[index].start()
        await asyncio.to_thread(self._instances[index].wait)

    async def close(self) -> None:
        for instance in self._instances:
            instance.kill()
