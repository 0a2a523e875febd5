"""The HTTP side: /metrics, /healthz and /readyz on one small listener.

/healthz answers for the balancer, not for its pool: 200 while the loop runs and every virtual address is served.
A keepalived script or a Kubernetes liveness probe acts on it by moving the address or restarting the process, and
neither brings a dead pool back: the standby would see the same dead servers, and a restart would forget what is
known of them. /readyz is for who can send clients elsewhere (readiness, a balancer before two of these): 503 while
some virtual service has no server up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urlsplit

from aiohttp import web

from sipbalancer.daemon.metrics import Page, render
from sipbalancer.director.snapshot import ServiceSnapshot, Snapshot
from sipbalancer.director.verdict import Verdict
from sipbalancer.errors import EnvironmentFault

SCRAPES_AT_ONCE = 8
CONNECTIONS = 64
CLOSE_SECONDS = 0.5
TEXT = "text/plain"


class Answer(NamedTuple):
    status: int
    text: str


def healthz(snapshot: Snapshot, unserved: tuple[str, ...]) -> Answer:
    """Whether this balancer works; `unserved` names virtual addresses whose socket is not open."""
    lines = [f"{key}: no socket is open on it" for key in unserved]
    lines += [_service_line(service) for service in snapshot.services]
    return Answer(503, "failed\n" + "\n".join(lines)) if unserved else Answer(200, "ok\n" + "\n".join(lines))


def readyz(snapshot: Snapshot, unserved: tuple[str, ...]) -> Answer:
    """Whether every virtual service has a server up (its fallback counts)."""
    answer = healthz(snapshot, unserved)
    if answer.status == 200 and any(_up(service) == 0 for service in snapshot.services):
        return Answer(503, answer.text.replace("ok", "not ready", 1))
    return answer


def _service_line(service: ServiceSnapshot) -> str:
    return f"{service.key}: {_up(service)} of {len(service.servers)} servers up"


def _up(service: ServiceSnapshot) -> int:
    return sum(server.verdict is Verdict.UP for server in service.servers)


def split_address(text: str) -> tuple[str, int]:
    """`host:port`, `[address]:port` -> host, port. ValueError for anything else."""
    parts = urlsplit(f"//{text}")
    if parts.hostname is None or parts.port is None or parts.netloc != text or "@" in text:
        raise ValueError(f"{text!r} is not host:port")
    return parts.hostname, parts.port


class WebServer:
    """Listens at one address; `page` and `unserved` are asked in the loop, once per request."""

    def __init__(
        self,
        page: Callable[[], Page],
        unserved: Callable[[], tuple[str, ...]],
        gather: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`gather` is awaited before the page of a scrape is asked for."""
        self._page = page
        self._gather = gather
        self._unserved = unserved
        self._renderer = ThreadPoolExecutor(1, "metrics")
        self._scrapes = 0
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None

    async def open(self, address: str) -> None:
        """Listen at `host:port`; EnvironmentFault, naming the address, when that cannot be."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=CLOSE_SECONDS)
        await runner.setup()
        try:
            host, port = split_address(address)
            self._listener = await asyncio.get_running_loop().create_server(
                lambda: _welcome(runner), host, port, reuse_address=True
            )
        except (OSError, ValueError) as error:
            await runner.cleanup()
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise EnvironmentFault(f"metrics = {address}: {reason.lower()}") from error
        self._runner = runner

    async def close(self) -> None:
        """Stop listening; open connections get half a second. May be opened again."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        if self._scrapes >= SCRAPES_AT_ONCE:
            return web.Response(status=503, text="too many scrapes at once\n")
        self._scrapes += 1
        try:
            if self._gather is not None:
                await self._gather()
            accept = request.headers.get("Accept", "")
            body, content_type = await asyncio.get_running_loop().run_in_executor(
                self._renderer, render, self._page(), accept
            )
        finally:
            self._scrapes -= 1
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _healthz(self, request: web.Request) -> web.Response:
        return _response(healthz(self._page().snapshot, self._unserved()))

    async def _readyz(self, request: web.Request) -> web.Response:
        return _response(readyz(self._page().snapshot, self._unserved()))


def _welcome(runner: web.AppRunner) -> asyncio.Protocol:
    """For one more connection; the oldest make room. Without a bound, clients that say nothing would take the
    descriptors that probes are made with."""
    server = runner.server
    assert server is not None, "set up"
    connections = server.connections
    for oldest in connections[: max(0, len(connections) - CONNECTIONS + 1)]:
        oldest.force_close()  # gone a little later: a crowd that comes at once is seen off by the next to come
    return server()


def _response(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, text=answer.text + "\n", content_type=TEXT)
