"""Which names the file uses, what they mean now, and when to ask again. Never in the datagram path.

`resolve` turns a Config with names into one with addresses; `watch` keeps it true: each name is asked again when its
TTL ends. A failure changes nothing (the last good answer stays) and is tried again ever more slowly. A name without
any answer yet is a server that is not there yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeAlias

from sipbalancer.config.model import Config, RealServerConfig, VirtualServiceConfig
from sipbalancer.daemon.local_address import is_local
from sipbalancer.daemon.log import LOGGER, say
from sipbalancer.daemon.resolver import SHORTEST_TTL, Answer, Place, Resolver, is_literal, placed
from sipbalancer.errors import EnvironmentFault, Unresolved

Name: TypeAlias = tuple[str, int]
"""A host name and the family (4 or 6) it is asked for."""
Answers: TypeAlias = dict[Name, Answer]

LONGEST_RETRY = 60.0
"""Seconds: failures are tried again after SHORTEST_TTL, then twice as long each time, up to this."""


class Names:
    """Lives in the event loop's thread; `changed` is called there with the newly resolved Config."""

    def __init__(
        self,
        resolver: Resolver,
        changed: Callable[[Config], None],
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._resolver = resolver
        self._changed = changed
        self._wait = wait
        self._config = Config()
        self._answers: Answers = {}
        self._watching: dict[Name, asyncio.Task[None]] = {}

    async def resolve(self, config: Config) -> Config:
        """`config` with addresses for names. Changes nothing of what is watched: a reload may still be given up.

        A server whose name has no answer is left out, with a warning. Raises EnvironmentFault when the name of a
        `virtual` itself has none: there is no address to listen on.
        """
        known = self._answers.keys() & self._watching.keys()
        await asyncio.gather(*(self._learn(name) for name in names_of(config) if name not in known))
        missing = [service for service in config.virtual if _own_name(service, self._answers) is None]
        if missing:
            raise EnvironmentFault("\n".join(_nowhere_to_listen(config, service) for service in missing))
        return resolved(config, self._answers)

    def watch(self, config: Config) -> None:
        """From now on keep the names of `config` (as in the file) true; forget those of the one before.

        What a `virtual` itself is called is not asked again: its sockets are bound.
        """
        self._config = config
        wanted = {name for service in config.virtual for name in _server_names(service)}
        for name in [name for name in self._watching if name not in wanted]:
            self._watching.pop(name).cancel()
        for name in wanted - self._watching.keys():
            self._watching[name] = asyncio.create_task(self._keep(name), name=f"resolve {name[0]}")
        kept = set(names_of(config))
        self._answers = {name: answer for name, answer in self._answers.items() if name in kept}

    def unresolved(self) -> tuple[str, ...]:
        """Names watched now that have had no answer yet: their servers are not there."""
        return tuple(name[0] for name in names_of(self._config) if name not in self._answers)

    async def close(self) -> None:
        tasks = list(self._watching.values())
        self._watching.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _learn(self, name: Name) -> None:
        try:
            self._answers[name] = await self._resolver.look_up(*name)
        except Unresolved as error:
            if name not in self._answers:
                say(logging.WARNING, "name cannot be resolved: its servers are left out until it can", error=str(error))

    async def _keep(self, name: Name) -> None:
        """Only cancelling ends this: no fault in here may leave a name at its old answer for ever."""
        known = self._answers.get(name)
        failures = 0 if known else 1
        pause = known.ttl if known else SHORTEST_TTL
        while True:
            await self._wait(pause)
            try:
                pause = await self._again(name, failures)
                failures = 0
            except Exception as error:
                self._tell(name, failures, error)
                failures += 1
                pause = min(SHORTEST_TTL * 2 ** min(failures - 1, 10), LONGEST_RETRY)

    async def _again(self, name: Name, failures: int) -> float:
        """Ask, publish what changed; the seconds until the next time."""
        answer = await self._resolver.look_up(*name)
        before = self._answers.get(name)
        self._answers[name] = answer
        if before is None or before.places != answer.places:
            say(logging.INFO, "name has new addresses", name=name[0], addresses=_listed(answer.places))
            self._changed(resolved(self._config, self._answers))
        elif failures:
            say(logging.INFO, "name can be resolved again", name=name[0])
        return answer.ttl

    def _tell(self, name: Name, failures: int, error: Exception) -> None:
        """The first failure of a row is told; a fault of ours each time."""
        if not isinstance(error, Unresolved):
            LOGGER.exception("resolving failed inside sipbalancer", extra={"fields": {"name": name[0]}})
        elif failures == 0:
            say(logging.WARNING, "name cannot be resolved: its last answer is kept", error=str(error))


def names_of(config: Config) -> tuple[Name, ...]:
    """Every name in the file once, those of the virtual services included."""
    own = ((service.host, service.family) for service in config.virtual if not is_literal(service.host))
    servers = (name for service in config.virtual for name in _server_names(service))
    return tuple(dict.fromkeys((*own, *servers)))


def _server_names(service: VirtualServiceConfig) -> Iterator[Name]:
    for real in (*service.real, *filter(None, [service.fallback])):
        if not is_literal(real.host):
            yield real.host, real.family


def resolved(config: Config, answers: Answers) -> Config:
    """`config` with addresses alone; a server without an answer is left out, of twins the first stays."""
    return config.model_copy(update={"virtual": tuple(_service(service, answers) for service in config.virtual)})


def _service(service: VirtualServiceConfig, answers: Answers) -> VirtualServiceConfig:
    fallbacks = _servers(filter(None, [service.fallback]), answers)
    update = {
        "host": _own_name(service, answers) or service.host,
        "real": _servers(service.real, answers),
        "fallback": fallbacks[0] if fallbacks else None,
    }
    return service.model_copy(update=update)


def _servers(reals: Iterable[RealServerConfig], answers: Answers) -> tuple[RealServerConfig, ...]:
    found: dict[str, RealServerConfig] = {}
    for real in reals:
        answer = answers.get((real.host, real.family))
        for server in (real,) if is_literal(real.host) else placed(real, answer.places) if answer else ():
            found.setdefault(server.key, server)
    return tuple(found.values())


def _own_name(service: VirtualServiceConfig, answers: Answers) -> str | None:
    """The address to listen on: of several behind one name, the first that is on this host."""
    if is_literal(service.host):
        return service.host
    answer = answers.get((service.host, service.family))
    if answer is None:
        return None
    addresses = [place.address for place in answer.places]
    return next(filter(is_local, addresses), addresses[0])


def _nowhere_to_listen(config: Config, service: VirtualServiceConfig) -> str:
    place = f"{config.path}:{service.lines.get('host', 0)}"
    return f"{place}: virtual: {service.host} cannot be resolved; write its address and {service.host} as alias"


def _listed(places: tuple[Place, ...]) -> str:
    return ",".join(f"{place.address}:{place.port}" if place.port else place.address for place in places)
