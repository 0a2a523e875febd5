"""A burst on real loopback sockets: on asyncio's loop and on uvloop's, and where time matters in virtual time."""

from __future__ import annotations

import asyncio
import errno
import random
import re
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from sipbalancer.daemon.probe_sip import Probe, Question, unreachable
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult
from tests.daemon import virtual_time
from tests.daemon.answerer import Answerer, answer, header, serve
from tests.daemon.loops import LOOPS, runner

T = TypeVar("T")
Run = Callable[[Callable[[], Awaitable[T]]], T]
LONG = 30.0
"""Seconds no test takes: what ends such a wait is what the test is about."""
SHORT = 0.05


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run[T]:
    def runs(scenario: Callable[[], Awaitable[T]]) -> T:
        async def coroutine() -> T:
            return await scenario()

        with runner(LOOPS[request.param]) as running:
            return running.run(coroutine())

    return runs


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def question(server: Answerer, timeout: float = LONG) -> Question:
    return Question(("127.0.0.1", server.port), "", timeout)


def patient(server: Answerer) -> Question:
    """No second probe for an answer that comes late because the machine is slow."""
    return question(server)._replace(wait=LONG)


def probing(asked: Question) -> Probe:
    loop = asyncio.get_running_loop()
    clock = loop.time if isinstance(loop, virtual_time.VirtualLoop) else time.perf_counter
    return Probe(asked, secrets.token_bytes, clock)


async def probe(asked: Question) -> ProbeOutcome:
    made = probing(asked)
    try:
        return await made.ask()
    finally:
        made.close()


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
        outcome = await probe(patient(server))
        assert outcome[:2] == (result, text)
        assert outcome.probes == len(server.got) == 1
        assert 0 < outcome.latency <= outcome.duration
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


def test_an_answer_that_lies_in_the_socket_is_no_silence(run: Run[None]) -> None:
    """The loop stood still: its timers are late, and come before what it has not read meanwhile."""

    async def scenario() -> None:
        now, told = [100.0], list[float]()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            asked = Question(server.getsockname(), "", LONG)
            probe = Probe(asked, secrets.token_bytes, lambda: now[0], told.append)
            assert await probe._step() is None
            data, source = server.recvfrom(2000)
            server.sendto(answer(data), source)
            now[0] += asked.wait + 1
            outcome = await probe.ask()
            assert outcome[:2] == (ProbeResult.OK, "200 OK")
            assert outcome.probes == 1 and told == []
            probe.close()

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
        assert outcome[:3] == (ProbeResult.TIMEOUT, "no answer within 0.05 s", 0.0)
        server.close()

    run(scenario)


def test_a_refusal_is_confirmed_at_once(run: Run[None]) -> None:
    async def scenario() -> None:
        outcome = await probe(Question(("127.0.0.1", free_port()), "", LONG, wait=LONG))
        assert outcome[:3] == (ProbeResult.REFUSED, "port refused", 0.0)
        assert outcome.probes == 2

    run(scenario)


def test_a_refusal_after_silence_counts_too(run: Run[None]) -> None:
    async def scenario() -> None:
        server = await serve(lambda data, _: [])
        asking = asyncio.create_task(probe(question(server)))
        await server.have(2)
        server.close()
        outcome = await asking
        assert outcome.result is ProbeResult.REFUSED
        assert outcome.probes >= 4

    run(scenario)


def test_a_server_that_comes_back_between_two_refusals_is_there(run: Run[None]) -> None:
    async def scenario() -> None:
        port = free_port()
        asking = asyncio.create_task(probe(Question(("127.0.0.1", port), "", LONG)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        server = await serve(port=port)
        outcome = await asking
        assert outcome.result is ProbeResult.OK
        server.close()

    run(scenario)


def test_every_probe_has_an_identity_and_a_port_of_its_own(run: Run[None]) -> None:
    async def scenario() -> None:
        server = await serve()
        for _ in range(50):
            assert (await probe(patient(server))).result is ProbeResult.OK
        assert len({address for _, address in server.got}) > 40
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
        (errno.EHOSTUNREACH, ProbeResult.TIMEOUT, "cannot be reached: No route to host"),
        (errno.ENETUNREACH, ProbeResult.TIMEOUT, "cannot be reached: Network is unreachable"),
        (errno.EPERM, ProbeResult.TIMEOUT, "cannot be reached: Operation not permitted"),
        (errno.EMFILE, ProbeResult.ERROR, "cannot probe: Too many open files"),
    ],
)
def test_only_a_refusal_proves_that_nobody_is_there_and_a_shortage_is_ours(
    number: int, result: ProbeResult, text: str
) -> None:
    assert unreachable(OSError(number, "")) == ProbeOutcome(result, text)


def test_a_socket_that_cannot_be_connected_is_an_outcome_and_no_exception(run: Run[None]) -> None:
    async def scenario() -> None:
        outcome = await probe(Question(("255.255.255.255", 5060), "", SHORT))
        assert outcome.result is ProbeResult.TIMEOUT
        assert outcome.text.startswith("cannot be reached: ")

    run(scenario)


def test_a_shortage_of_ours_ends_it_at_once(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(server: object, source: object) -> socket.socket:
        raise OSError(errno.EMFILE, "")

    async def scenario() -> None:
        monkeypatch.setattr("sipbalancer.daemon.probe_sip._connected", none_left)
        outcome = await probe(Question(("127.0.0.1", 5060), "", LONG))
        assert outcome[:2] == (ProbeResult.ERROR, "cannot probe: Too many open files")
        assert outcome.probes == 1

    run(scenario)


# Bursts, in virtual time.


def timed(server: Answerer) -> list[float]:
    """Have the moments kept at which datagrams come, from the first on."""
    moments: list[float] = []
    reply = server.reply

    def note(data: bytes, number: int) -> list[bytes]:
        moments.append(virtual_time.now())
        return reply(data, number)

    server.reply = note
    return moments


def test_silence_is_twenty_fresh_probes_in_a_second() -> None:
    async def scenario() -> None:
        server = await serve(lambda data, _: [])
        moments = timed(server)
        told: list[float] = []
        made = Probe(question(server), secrets.token_bytes, virtual_time.now, told.append)
        outcome = await made.ask()
        made.close()
        assert outcome[:3] == (ProbeResult.TIMEOUT, "20 probes unanswered in 1.1 s", 0.0)
        assert (outcome.probes, len(server.got)) == (20, 20)
        assert [at - moments[0] for at in moments] == pytest.approx([0.0, *(0.1 + 0.05 * n for n in range(19))])
        assert told == [moments[0]]
        assert len({address for _, address in server.got}) == 1, "one socket"
        for name in ("Via", "From", "Call-ID", "CSeq"):
            assert len({header(data, name) for data, _ in server.got}) == 20, name
        server.close()

    virtual_time.run(scenario())


def test_wait_is_the_servers_own() -> None:
    async def scenario() -> None:
        server = await serve(lambda data, _: [])
        moments = timed(server)
        assert (await probe(question(server)._replace(wait=0.6))).duration == pytest.approx(2.1)
        assert moments[1] - moments[0] == pytest.approx(0.6)
        server.close()

    virtual_time.run(scenario())


def test_the_late_answer_to_the_first_ends_it_with_its_own_latency() -> None:
    async def scenario() -> None:
        server = await serve(lambda data, _: [])
        asyncio.get_running_loop().call_later(0.83, lambda: server.send(answer(server.got[0][0]), server.got[0][1]))
        outcome = await probe(question(server))
        assert outcome.result is ProbeResult.OK
        assert outcome.latency == pytest.approx(0.83)
        assert outcome.probes == len(server.got) == 16
        server.close()

    virtual_time.run(scenario())


@pytest.mark.parametrize(("after", "heard"), [(1.0, True), (4.9, True), (5.1, False)])
def test_answers_after_silence_are_life_for_five_seconds(after: float, heard: bool) -> None:
    async def scenario() -> None:
        server = await serve(lambda data, _: [])
        made = probing(question(server))
        assert (await made.ask()).result is ProbeResult.TIMEOUT
        data, address = server.got[7]
        loop = asyncio.get_running_loop()
        loop.call_later(after / 2, lambda: server.send(b"SIP/2.0 100 Trying\r\n\r\n", address))
        loop.call_later(after, lambda: server.send(answer(data), address))
        begun = loop.time()
        late = await made.late()
        made.close()
        if heard:
            assert late is not None and late[:2] == (ProbeResult.OK, "200 OK")
            assert late.probes == 1
            assert late.latency == pytest.approx(after + 1.1 - 0.4)
        else:
            assert late is None
            assert loop.time() - begun == pytest.approx(5.0)
        server.close()

    virtual_time.run(scenario())


def test_refusals_after_silence_are_no_life() -> None:
    async def scenario() -> None:
        server = await serve(lambda data, _: [])
        made = probing(question(server))
        await made.ask()
        server.close()
        assert await made.late() is None
        made.close()

    virtual_time.run(scenario())


def test_a_route_that_comes_back_in_time_is_no_death(monkeypatch: pytest.MonkeyPatch) -> None:
    """The virtual address moves, an interface is set up anew: for a moment nothing can be sent anywhere."""
    from sipbalancer.daemon import probe_sip

    connected = probe_sip._connected
    tries = iter(range(100))

    def sometimes(server: tuple[str, int], source: str) -> socket.socket:
        if next(tries) < 5:
            raise OSError(errno.ENETUNREACH, "")
        return connected(server, source)

    async def scenario() -> None:
        monkeypatch.setattr(probe_sip, "_connected", sometimes)
        server = await serve()
        outcome = await probe(question(server))
        assert (outcome.result, outcome.probes, len(server.got)) == (ProbeResult.OK, 6, 1)
        monkeypatch.setattr(probe_sip, "_connected", lambda server, source: sometimes(("255.255.255.255", 1), source))
        outcome = await probe(question(server))
        assert (outcome.result, outcome.probes) == (ProbeResult.TIMEOUT, 20)
        assert outcome.note.startswith("cannot be reached: ")
        server.close()

    virtual_time.run(scenario())


def test_a_lossy_path_is_never_a_dead_server() -> None:
    """30 % lost each way, on real sockets: 0.51**20 is 1.4e-6 per burst."""
    chance = random.Random(3261)

    def reply(data: bytes, _: int) -> list[bytes]:
        return [answer(data)] if chance.random() >= 0.3 and chance.random() >= 0.3 else []

    async def scenario() -> None:
        server = await serve(reply)
        outcomes = [await probe(question(server)) for _ in range(500)]
        assert {outcome.result for outcome in outcomes} == {ProbeResult.OK}
        assert len(server.got) == sum(outcome.probes for outcome in outcomes) > 800
        server.close()

    virtual_time.run(scenario())
