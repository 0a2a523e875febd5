"""What one process has counted, as plain values that can be sent, and added up.

The names are the state's own. A worker gives its numbers whole, not what changed: nothing is lost when one report is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sipbalancer.director.real_server import RealServer
from sipbalancer.director.service import VirtualService
from sipbalancer.director.state import State

Numbers = Mapping[str, "int | list[int] | Numbers"]
"""Counts by name; what is counted by name below is a mapping again."""


def numbers_of(state: State) -> Numbers:
    """Everything that is counted by traffic, and nothing that another process knows as well."""
    return {
        "internal_errors": state.internal_errors,
        "services": {service.key: _of_service(service) for service in state.services.values()},
    }


def _of_service(service: VirtualService) -> Numbers:
    return {
        "chosen": dict(service.chosen),
        "dropped": dict(service.dropped),
        "servers": {server.key: _of_server(server) for server in service.by_packed.values()},
    }


def _of_server(server: RealServer) -> Numbers:
    return {
        "requests": {method.decode(): count for method, count in server.requests.items()},
        "sent": {method.decode(): count for method, count in server.sent.items()},
        "responses": list(server.responses),
        "refusals": server.refusals,
    }


def add_up(all_numbers: Iterable[Numbers]) -> Numbers:
    """The sum, name by name."""
    total: dict[str, int | list[int] | Numbers] = {}
    for numbers in all_numbers:
        for name, value in numbers.items():
            total[name] = _sum(total[name], value) if name in total else value
    return total


def _sum(one: int | list[int] | Numbers, two: int | list[int] | Numbers) -> int | list[int] | Numbers:
    if isinstance(one, int) and isinstance(two, int):
        return one + two
    if isinstance(one, list) and isinstance(two, list):
        return [a + b for a, b in zip(one, two, strict=True)]
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        return add_up((one, two))
    raise ValueError(f"{one!r} and {two!r} are not of one kind")


def set_numbers(state: State, numbers: Numbers) -> None:
    """Make these the state's own: what it shows is what all workers have counted."""
    state.internal_errors = _int(numbers.get("internal_errors"))
    services = _map(numbers.get("services"))
    for service in state.services.values():
        counted = _map(services.get(service.key))
        service.chosen.update(_ints(counted.get("chosen")))
        service.dropped = defaultdict(int, _ints(counted.get("dropped")))
        servers = _map(counted.get("servers"))
        for server in service.by_packed.values():
            _set_server(server, _map(servers.get(server.key)))


def _set_server(server: RealServer, counted: Numbers) -> None:
    for name, held in (("requests", server.requests), ("sent", server.sent)):
        held.update({method.encode(): count for method, count in _ints(counted.get(name)).items()})
    responses = counted.get("responses")
    if isinstance(responses, list):
        server.responses = responses
    server.refusals = _int(counted.get("refusals"))


def _map(value: int | list[int] | Numbers | None) -> Numbers:
    return value if isinstance(value, Mapping) else {}


def _ints(value: int | list[int] | Numbers | None) -> dict[str, int]:
    return {name: count for name, count in _map(value).items() if isinstance(count, int)}


def _int(value: int | list[int] | Numbers | None) -> int:
    return value if isinstance(value, int) else 0
