"""What the admin socket can be asked: a table of commands over the running balancer.

Each takes the request's object and gives plain JSON values; AdminError is the operator's answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from difflib import get_close_matches
from typing import Protocol

from sipbalancer.daemon.admin import Request
from sipbalancer.daemon.explained import read_datagram
from sipbalancer.daemon.status import Document, left_document, where_document
from sipbalancer.director.snapshot import Snapshot, WhereSnapshot
from sipbalancer.director.verdict import Transition
from sipbalancer.errors import AdminError, SipBalancerError


class Commanded(Protocol):
    """What the commands need of the running balancer."""

    def document(self) -> Document: ...

    def snapshot(self) -> Snapshot: ...

    def where(self, aor: str) -> tuple[WhereSnapshot, ...]: ...

    def drain(self, server: str) -> tuple[Transition, ...]: ...

    def vouch(self) -> None: ...

    def enable(self, server: str) -> tuple[Transition, ...]: ...

    def named(self, server: str) -> tuple[str, ...]: ...

    def explain(self, data: bytes, source: str, virtual: str) -> Document: ...

    async def reload(self) -> tuple[str, ...]: ...


class Commands:
    """`obey` is what the admin server calls."""

    def __init__(self, balancer: Commanded) -> None:
        self._balancer = balancer
        self._table: dict[str, Callable[[Request], Awaitable[object]]] = {
            "status": self._status,
            "where": self._where,
            "drain": self._drain,
            "enable": self._enable,
            "left": self._left,
            "explain": self._explain,
            "reload": self._reload,
        }

    async def obey(self, request: Request) -> object:
        command = request.get("command")
        if not isinstance(command, str) or command not in self._table:
            raise AdminError(self._unknown(command))
        return await self._table[command](request)

    def _unknown(self, command: object) -> str:
        words = ", ".join(self._table)
        near = get_close_matches(str(command)[:40], self._table, 1)
        return f"unknown command: {'did you mean ' + near[0] if near else 'use one of ' + words}"

    async def _status(self, request: Request) -> object:
        return self._balancer.document()

    async def _where(self, request: Request) -> object:
        return where_document(self._balancer.where(_text(request, "aor", "sip:100@pbx.example.com")))

    async def _explain(self, request: Request) -> object:
        data = read_datagram(_text(request, "datagram", "the base64 of its bytes") if request.get("datagram") else "")
        return self._balancer.explain(data, _optional(request, "from"), _optional(request, "virtual"))

    async def _drain(self, request: Request) -> object:
        transitions = self._balancer.drain(_text(request, "server", "192.0.2.1:5060"))
        if request.get("vouch") is True:
            self._balancer.vouch()
        return self._changed(transitions)

    async def _enable(self, request: Request) -> object:
        return self._changed(self._balancer.enable(_text(request, "server", "192.0.2.1:5060")))

    async def _left(self, request: Request) -> object:
        """What `drain --wait` waits for."""
        keys = self._balancer.named(_text(request, "server", "192.0.2.1:5060"))
        return left_document(self._balancer.snapshot(), keys)

    async def _reload(self, request: Request) -> object:
        try:
            return {"changes": list(await self._balancer.reload())}
        except SipBalancerError as error:
            raise AdminError(str(error)) from error

    def _changed(self, transitions: Iterable[Transition]) -> Document:
        return {"transitions": [each._asdict() for each in transitions], "drained": list(self._drained())}

    def _drained(self) -> Iterator[Document]:
        """The servers the operator drains now, and what is still on each, over all services."""
        services = self._balancer.snapshot().services
        servers = [server for service in services for server in service.servers]
        for key in sorted({server.key for server in servers if server.drained}):
            yield {
                "server": key,
                "calls": sum(server.calls for server in servers if server.key == key),
                "registrations": sum(server.registrations for server in servers if server.key == key),
            }


def _text(request: Request, field: str, example: str) -> str:
    value = request.get(field)
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise AdminError(f"{field} is missing: give it as text, such as {example}")
    return value.strip()


def _optional(request: Request, field: str) -> str:
    value = request.get(field, "")
    if not isinstance(value, str) or not value.isprintable():
        raise AdminError(f"{field} is no text")
    return value.strip()
