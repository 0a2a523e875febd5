"""The SIP probe on real loopback sockets, on asyncio's loop and on uvloop's; timers are short, nothing sleeps."""

from __future__ import annotations

import asyncio
import errno
import itertools
import re
import secrets
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
import uvloop

from sipbalancer.daemon.probe_sip import Question, Timers, ask, unreachable
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult
from tests.daemon.answerer import Answerer, answer, header, serve

T = TypeVar("T")
Run = Callable[[Callable[[], Awaitable[T]]], T]
LONG = 30.0
"""Seconds no test takes: what ends such a wait is what the test is about."""
SHORT = 0.05


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run[T]:
    def runs(scenario: Callable[[], Awaitable[T]]) -> T:
        async def coroutine() -> T:
            return await scenario()

        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(coroutine())

    return runs


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def question(server: Answerer, timeout: float = LONG) -> Question:
    return Question(("127.0.0.1", server.port), "", timeout)


async def probe(asked: Question, timers: Timers = Timers(LONG, LONG)) -> ProbeOutcome:  # noqa: B008
    ticks = itertools.count(0.0, 0.125)
    return await ask(asked, secrets.token_bytes, lambda: next(ticks), timers)


@pytest.mark.parametrize(
    ("status", "extra", "result", "text"),
    [
        ("200 OK", "", ProbeResult.OK, "200 OK"),
        ("401 Unauthorized", "", ProbeResult.OK, "401 Unauthorized"),
        ("500 Oops", "", ProbeResult.BAD, "500 Oops"),
        ("503 Gone", "Retry-After: 300\r\n", ProbeResult.UNAVAILABLE, "503 Gone, Retry-After 300"),
    ],
)
def test_an_answer_is_judged(run: Run[None], status: str, extra: str, result: ProbeResult, text: str) -> None:
    async def scenario() -> None:
        server = await serve(lambda data, _: [answer(data, status, extra)])
        assert await probe(question(server)) == ProbeOutcome(result, text, 0.125)
        assert len(server.got) == 1
        server.close()

    run(scenario)


def test_connect_takes_any_final_answer(run: Run[None]) -> None:
    async def scenario() -> None:
        server = await serve(lambda data, _: [answer(data, "503 Gone")])
        outcome = await probe(question(server)._replace(judged=False))
        assert outcome[:2] == (ProbeResult.OK, "503 Gone")
        server.close()

    run(scenario)


def test_receive_looks_at_the_whole_answer(run: Run[None]) -> None:
    async def scenario() -> None:
        server = await serve(lambda data, _: [answer(data, "200 OK", "Server: pbx-7\r\n")])
        asked = question(server)
        assert (await probe(asked._replace(receive=re.compile(b"pbx-\\d")))).result is ProbeResult.OK
        assert (await probe(asked._replace(receive=re.compile(b"pbx-x")))).result is ProbeResult.BAD
        server.close()

    run(scenario)


def mangled(request: bytes, name: str, value: bytes) -> bytes:
    old = header(request, name).encode()
    assert value != old
    return answer(request.replace(old, value), "500 Not Yours")


@pytest.mark.parametrize(
    "stray",
    [
        lambda data: mangled(data, "Via", b"SIP/2.0/UDP 127.0.0.1:1;branch=z9hG4bKold"),
        lambda data: mangled(data, "Call-ID", b"another"),
        lambda data: mangled(data, "CSeq", b"1 OPTIONS"),
        lambda data: mangled(data, "CSeq", header(data, "CSeq").replace("OPTIONS", "INVITE").encode()),
        lambda data: answer(data, "100 Trying"),
        lambda data: answer(data, "183 Working"),
        lambda data: b"",
        lambda data: b"\x00\xff" * 700,
        lambda data: data,
    ],
    ids=["branch", "call-id", "cseq", "method", "100", "183", "empty", "junk", "echo"],
)
def test_what_does_not_answer_this_probe_is_ignored(run: Run[None], stray: Callable[[bytes], bytes]) -> None:
    async def scenario() -> None:
        server = await serve(lambda data, _: [stray(data), answer(data)])
        assert (await probe(question(server)))[:2] == (ProbeResult.OK, "200 OK")
        server.close()

    run(scenario)


def test_only_strays_are_silence(run: Run[None]) -> None:
    async def scenario() -> None:
        server = await serve(lambda data, _: [mangled(data, "Call-ID", b"another")])
        outcome = await probe(question(server, SHORT))
        assert outcome == ProbeOutcome(ProbeResult.TIMEOUT, "no answer within 0.05 s")
        server.close()

    run(scenario)


def test_a_lost_copy_is_sent_again_byte_for_byte_from_the_same_port(run: Run[None]) -> None:
    async def scenario() -> None:
        server = await serve(lambda data, number: [answer(data)] if number == 3 else [])
        outcome = await probe(question(server), Timers(0.01, 0.02))
        assert outcome.result is ProbeResult.OK
        assert len(server.got) == 4
        assert len(set(server.got)) == 1
        server.close()

    run(scenario)


def test_pauses_double_up_to_t2() -> None:
    assert list(itertools.islice(Timers().pauses(), 6)) == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


def test_a_refusal_ends_the_probe_at_once(run: Run[None]) -> None:
    async def scenario() -> None:
        outcome = await probe(Question(("127.0.0.1", free_port()), "", LONG))
        assert outcome == ProbeOutcome(ProbeResult.REFUSED, "port refused")

    run(scenario)


def test_a_refusal_of_a_later_copy_ends_it_too(run: Run[None]) -> None:
    async def scenario() -> None:
        server = await serve(lambda data, _: [])
        asking = asyncio.create_task(probe(question(server), Timers(0.05, 0.05)))
        await server.have(1)
        server.close()
        assert (await asking).result is ProbeResult.REFUSED

    run(scenario)


def test_every_probe_has_an_identity_and_a_port_of_its_own(run: Run[None]) -> None:
    async def scenario() -> None:
        server = await serve()
        for _ in range(50):
            assert (await probe(question(server))).result is ProbeResult.OK
        packets = [data for data, _ in server.got]
        for name in ("Via", "From", "Call-ID", "CSeq"):
            assert len({header(packet, name) for packet in packets}) == 50, name
        server.close()

    run(scenario)


def test_asks_from_the_virtual_address_while_it_is_here(run: Run[None]) -> None:
    async def scenario() -> None:
        server = await serve()
        await probe(question(server)._replace(source="127.0.0.9"))
        data, (host, port) = server.got[0]
        assert host == "127.0.0.9"
        assert header(data, "Via").startswith(f"SIP/2.0/UDP 127.0.0.9:{port};branch=")
        assert header(data, "Contact") == f"<sip:127.0.0.9:{port}>"
        server.close()

    run(scenario)


@pytest.mark.parametrize("source", ["192.0.2.77", "2001:db8::77", "::1"], ids=["away", "away6", "other family"])
def test_else_from_the_address_the_kernel_chooses(run: Run[None], source: str) -> None:
    async def scenario() -> None:
        server = await serve()
        assert (await probe(question(server)._replace(source=source))).result is ProbeResult.OK
        assert server.got[0][1][0] == "127.0.0.1"
        server.close()

    run(scenario)


def test_another_source_cannot_answer(run: Run[None]) -> None:
    """The socket is connected: even with the right identity, only the server itself is heard."""

    async def scenario() -> None:
        liar = await serve(host="127.0.0.2")
        server = await serve()

        def reply(data: bytes, _: int) -> list[bytes]:
            liar.send(answer(data, "500 Lie"), server.got[-1][1])
            return []

        server.reply = reply
        assert (await probe(question(server, SHORT))).result is ProbeResult.TIMEOUT
        for each in (server, liar):
            each.close()

    run(scenario)


def test_ipv6(run: Run[None]) -> None:
    async def scenario() -> None:
        server = await serve(host="::1")
        asked = Question(("::1", server.port), "::1", LONG)
        assert (await probe(asked)).result is ProbeResult.OK
        assert header(server.got[0][0], "Contact") == f"<sip:[::1]:{server.got[0][1][1]}>"
        server.close()

    run(scenario)


@pytest.mark.parametrize(
    ("number", "result", "text"),
    [
        (errno.ECONNREFUSED, ProbeResult.REFUSED, "port refused"),
        (errno.EHOSTUNREACH, ProbeResult.REFUSED, "cannot be reached: No route to host"),
        (errno.ENETUNREACH, ProbeResult.REFUSED, "cannot be reached: Network is unreachable"),
        (errno.EPERM, ProbeResult.REFUSED, "cannot be reached: Operation not permitted"),
        (errno.EMFILE, ProbeResult.ERROR, "cannot probe: Too many open files"),
    ],
)
def test_errors_of_the_network_are_the_servers_and_a_shortage_is_ours(
    number: int, result: ProbeResult, text: str
) -> None:
    assert unreachable(OSError(number, "")) == ProbeOutcome(result, text)


def test_a_socket_that_cannot_be_connected_is_an_outcome_and_no_exception(run: Run[None]) -> None:
    async def scenario() -> None:
        outcome = await probe(Question(("255.255.255.255", 5060), "", LONG))
        assert outcome.result is ProbeResult.REFUSED
        assert outcome.text.startswith("cannot be reached: ")

    run(scenario)
