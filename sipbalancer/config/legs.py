"""`workers` and `legport`: whether the ports that workers ask servers from are free of each other, as far as the file
tells. With `workers = auto` that is known at start only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sipbalancer.config.model import Config, VirtualServiceConfig


class Clash(NamedTuple):
    """Why a service's legs cannot be opened, and the line to look at."""

    line: int
    advice: str


def leg_clashes(config: Config, workers: int) -> Iterator[Clash]:
    """Everything that stands in the way of so many workers; nothing for one."""
    taken = {(service.host, service.port): f"virtual {service.key} itself" for service in config.virtual}
    for service in config.virtual:
        for server in (*service.real, *([service.fallback] if service.fallback else [])):
            taken.setdefault((server.host, server.port), f"real server {server.key}")
    for service in config.virtual:
        ports = service.leg_ports(workers)
        found = _clash(service, ports, taken)
        if found:
            line = service.lines.get("legport") or service.lines.get("host", 0)
            yield Clash(line, f"virtual {service.key} asks servers from {_span(ports)}, {found}")
        for port in ports:
            taken.setdefault((service.host, port), f"virtual {service.key} asks servers from it")


def _span(ports: range) -> str:
    return f"ports {ports[0]}-{ports[-1]}"


def _clash(service: VirtualServiceConfig, ports: range, taken: dict[tuple[str, int], str]) -> str:
    if ports and ports[-1] > 65535:
        return f"beyond 65535; write legport = {65536 - 2 * len(ports)}"
    for port in ports:
        if (service.host, port) in taken:
            return f"but {port} is taken ({taken[service.host, port]}); write legport = {_free(service, ports, taken)}"
    return ""


def _free(service: VirtualServiceConfig, ports: range, taken: dict[tuple[str, int], str]) -> int:
    """The next port above from which as many are free."""
    highest = max(port for host, port in taken if host == service.host)
    first = max(highest, ports[-1]) + 1
    return first if first + len(ports) <= 32768 else min(port for _, port in taken) - 2 * len(ports)
