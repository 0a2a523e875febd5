"""The sockets of all workers: made, kept and closed by the control process, so that a worker's end closes none.

What is queued in them waits for the next process, and the order among those that share an address stays, and with it
which client goes to which worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sipbalancer.config.model import VirtualServiceConfig
from sipbalancer.daemon.leg import Leg, open_leg


class ServiceLegs(NamedTuple):
    """Of one virtual service, by worker."""

    clients: tuple[Leg, ...]
    """All at the virtual address: the kernel gives each client to one of them."""
    servers: tuple[Leg, ...]

    def close(self) -> None:
        for leg in (*self.clients, *self.servers):
            leg.sock.close()

    def files(self, worker: int) -> tuple[int, int]:
        """What a worker is handed."""
        return self.clients[worker].sock.fileno(), self.servers[worker].sock.fileno()


class FleetLegs:
    """By service key. `open` and then `keep` at each new configuration."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self.held: dict[str, ServiceLegs] = {}

    def open(self, services: Iterable[VirtualServiceConfig]) -> dict[str, ServiceLegs]:
        """The legs of those not held yet: all, or none and EnvironmentFault."""
        fresh: dict[str, ServiceLegs] = {}
        try:
            for service in services:
                if service.key not in self.held:
                    fresh[service.key] = self._open(service)
        except BaseException:
            for legs in fresh.values():
                legs.close()
            raise
        return fresh

    def keep(self, fresh: dict[str, ServiceLegs], keys: Iterable[str]) -> None:
        """Hold the new ones, and close those of services that are gone."""
        wanted = set(keys)
        for key in [key for key in self.held if key not in wanted]:
            self.held.pop(key).close()
        self.held.update(fresh)

    def close(self) -> None:
        for legs in self.held.values():
            legs.close()
        self.held = {}

    def clients(self, keys: Iterable[str]) -> Iterator[tuple[str, int, Leg]]:
        """(service, worker, leg) of each leg at a virtual address."""
        for key in keys:
            legs: Sequence[Leg] = self.held[key].clients if key in self.held else ()
            yield from ((key, worker, leg) for worker, leg in enumerate(legs))

    def _open(self, service: VirtualServiceConfig) -> ServiceLegs:
        # With SO_REUSEPORT the kernel would let us join another program of this user: ask first, alone.
        open_leg(service.host, service.port).sock.close()
        places = [(service.port, True)] * self._workers
        places += [(port, False) for port in service.leg_ports(self._workers)]
        opened: list[Leg] = []
        try:
            for port, shared in places:
                opened.append(open_leg(service.host, port, shared=shared))  # closed below
        except BaseException:
            for leg in opened:
                leg.sock.close()
            raise
        return ServiceLegs(tuple(opened[: self._workers]), tuple(opened[self._workers :]))
