from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from sipbalancer.daemon.metrics import Page
from sipbalancer.daemon.web import CONNECTIONS, WebServer, healthz, readyz, split_address
from sipbalancer.director.snapshot import ServerSnapshot, ServiceSnapshot, Snapshot
from sipbalancer.director.verdict import Verdict
from sipbalancer.errors import EnvironmentFault

VIRTUAL = "192.0.2.10:5060"


def server(key: str, verdict: Verdict, fallback: bool = False) -> ServerSnapshot:
    return ServerSnapshot(key, key, verdict, "", 0.0, 0.0, 1, fallback, False, 0, 0, 0, {}, {}, {}, (0,) * 13, 0.0)


def snapshot(*verdicts: Verdict) -> Snapshot:
    servers = tuple(server(f"192.0.2.{number}:5060", verdict) for number, verdict in enumerate(verdicts))
    service = ServiceSnapshot(VIRTUAL, "rr", servers, {}, {}, {}, ())
    return Snapshot(1.0, 0.0, (service,), {"ok": 0, "failed": 0})


def test_healthz_counts_the_servers() -> None:
    assert healthz(snapshot(Verdict.UP, Verdict.DOWN, Verdict.UP), ()) == (
        200,
        f"ok\n{VIRTUAL}: 2 of 3 servers up",
    )


def test_a_dead_pool_is_no_fault_of_the_balancer_but_it_is_not_ready() -> None:
    dead = snapshot(Verdict.DOWN, Verdict.DRAINING, Verdict.STARTING, Verdict.OVERLOADED)
    assert healthz(dead, ()).status == 200
    assert readyz(dead, ()) == (503, f"not ready\n{VIRTUAL}: 0 of 4 servers up")
    assert readyz(snapshot(Verdict.DOWN, Verdict.UP), ()).status == 200


def test_an_address_without_socket_fails_both() -> None:
    for answer in (healthz(snapshot(Verdict.UP), (VIRTUAL,)), readyz(snapshot(Verdict.UP), (VIRTUAL,))):
        assert answer.status == 503
        assert f"{VIRTUAL}: no socket is open on it" in answer.text


@pytest.mark.parametrize(
    ("text", "address"), [("127.0.0.1:9436", ("127.0.0.1", 9436)), ("[::1]:80", ("::1", 80)), ("pbx:1", ("pbx", 1))]
)
def test_split_address(text: str, address: tuple[str, int]) -> None:
    assert split_address(text) == address


@pytest.mark.parametrize("text", ["", "9436", "host", "host:", "host:x", "host:70000", "::1:80:", "host:1/x", "a@b:1"])
def test_split_address_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        split_address(text)


def free_address() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


def served(use: Callable[[aiohttp.ClientSession, WebServer], Awaitable[None]], address: str) -> None:
    page = Page(snapshot(Verdict.UP), {"received": 1}, {}, 0.0, 0)

    async def run() -> None:
        web = WebServer(lambda: page, lambda: ())
        await web.open(address)
        try:
            async with aiohttp.ClientSession(f"http://{address}") as session:
                await use(session, web)
        finally:
            await web.close()

    asyncio.run(run())


def test_the_three_pages() -> None:
    async def use(session: aiohttp.ClientSession, web: WebServer) -> None:
        async with session.get("/metrics") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
            assert "sipbalancer_real_up{" in await answer.text()
        async with session.get("/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, f"ok\n{VIRTUAL}: 1 of 1 servers up\n")
        async with session.get("/readyz") as answer:
            assert answer.status == 200
        async with session.get("/") as answer:
            assert answer.status == 404

    served(use, free_address())


def test_an_address_in_use_names_itself() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        address = f"127.0.0.1:{sock.getsockname()[1]}"

        async def use(session: aiohttp.ClientSession, web: WebServer) -> None:
            raise AssertionError("it must not open")

        with pytest.raises(EnvironmentFault, match=f"metrics = {address}: .*in use"):
            served(use, address)


def test_it_can_move_to_another_address() -> None:
    other = free_address()

    async def use(session: aiohttp.ClientSession, web: WebServer) -> None:
        await web.close()
        await web.open(other)
        async with aiohttp.ClientSession() as fresh, fresh.get(f"http://{other}/healthz") as answer:
            assert answer.status == 200

    served(use, free_address())


def test_clients_that_say_nothing_do_not_keep_others_out() -> None:
    """Nor do they take our descriptors: the oldest goes when a new one comes."""
    address = free_address()
    host, _, port = address.partition(":")

    async def use(session: aiohttp.ClientSession, web: WebServer) -> None:
        crowd = [asyncio.open_connection(host, int(port)) for _ in range(3 * CONNECTIONS)]
        mute = await asyncio.gather(*crowd)
        try:
            for _ in range(2):
                async with session.get("/healthz", headers={"Connection": "close"}) as answer:
                    assert answer.status == 200
            assert web._runner is not None and web._runner.server is not None
            assert len(web._runner.server.connections) <= CONNECTIONS
        finally:
            for _, writer in mute:
                writer.transport.abort()

    served(use, address)
