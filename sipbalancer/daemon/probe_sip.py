"""One OPTIONS probe from first copy to verdict-worthy outcome: a UDP client transaction (RFC 3261 17.1.2).

A socket per probe, not one per server. Each probe then has a port of its own as it has a branch of its own, so
nothing of an older probe can be taken for its answer and no late ICMP error is blamed on it; the source address is
chosen anew each time (the virtual address may have moved here since); and any number of probes to one server may
overlap without knowing of each other. It costs about 0.1 ms. The socket is connected: only that server's packets
come in, and ICMP refusals come to us. (A server bound to 0.0.0.0 that answers from another of its addresses is
therefore not heard; phones behind NAT would not hear it either.)
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from asyncio_dgram.aio import DatagramClient, Protocol

from sipbalancer.daemon.local_address import is_local
from sipbalancer.director.health import judge
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult
from sipbalancer.sip.probe import IDENTITY_BYTES, ProbeIdentity, compose_options, identity_of, read_answer

OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""Errors that say nothing of the server: we are short of something."""


class Timers(NamedTuple):
    """RFC 3261 17.1.2.1: seconds between copies, from `t1` doubling to `t2`."""

    t1: float = 0.5
    t2: float = 4.0

    def pauses(self) -> Iterator[float]:
        pause = self.t1
        while True:
            yield pause
            pause = min(pause * 2, self.t2)


class _Waking(Protocol):
    """asyncio-dgram's protocol, but an ICMP error takes its turn among the datagrams and so wakes the reader."""

    def __init__(self, received: asyncio.Queue[Any], errors: asyncio.Queue[Any], drained: asyncio.Event) -> None:
        super().__init__(received, errors, drained)
        self._received = received

    def error_received(self, exc: Exception) -> None:
        self._received.put_nowait((exc, None))


class ProbeSocket(DatagramClient):
    """asyncio-dgram's connected socket; `recv` also raises the OSError that an ICMP message brought."""

    async def recv(self) -> tuple[bytes, Any]:
        data, address = await super().recv()
        if isinstance(data, Exception):
            raise data
        return data, address


async def connect(server: tuple[str, int], source: str) -> ProbeSocket:
    """A connected socket on a free port: of `source` while that is on this host, else of the kernel's choice.

    Raises OSError. asyncio-dgram's own `connect` cannot choose the source address; and the socket is connected before
    the loop gets it, because uvloop forgets its transport unclosed when a `connect` of its own fails.
    """
    received: asyncio.Queue[Any] = asyncio.Queue()
    errors: asyncio.Queue[Any] = asyncio.Queue()
    drained = asyncio.Event()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Waking(received, errors, drained), sock=_connected(server, source)
    )
    return ProbeSocket(transport, received, errors, drained)  # type: ignore[arg-type]  # the stub says protocol


def _connected(server: tuple[str, int], source: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        if source and (":" in source) == (":" in server[0]) and is_local(source):
            sock.bind((source, 0))
        sock.connect(server)
    except BaseException:
        sock.close()
        raise
    return sock


class Question(NamedTuple):
    """What one OPTIONS probe needs to know."""

    server: tuple[str, int]
    source: str
    timeout: float
    """Seconds, all copies together."""
    login: str = ""
    receive: re.Pattern[bytes] | None = None
    judged: bool = True
    """False (`checktype = connect`): any final answer is good."""


async def ask(
    question: Question,
    randomness: Callable[[int], bytes],
    clock: Callable[[], float],
    timers: Timers = Timers(),  # noqa: B008
) -> ProbeOutcome:
    """Ask and wait; always an outcome, within `question.timeout` seconds."""
    try:
        sock = await connect(question.server, question.source)
    except OSError as error:
        return unreachable(error)
    try:
        async with asyncio.timeout(question.timeout):
            return await _transaction(sock, question, identity_of(randomness(IDENTITY_BYTES)), clock, timers)
    except TimeoutError:
        return ProbeOutcome(ProbeResult.TIMEOUT, f"no answer within {question.timeout:g} s")
    except OSError as error:
        return unreachable(error)
    finally:
        sock.close()


async def _transaction(
    sock: ProbeSocket, question: Question, identity: ProbeIdentity, clock: Callable[[], float], timers: Timers
) -> ProbeOutcome:
    """Send, and send the same bytes again, until a final answer to this identity came."""
    packet = compose_options(question.server, sock.sockname[:2], identity, question.login)
    begun = clock()
    for pause in timers.pauses():
        await sock.send(packet)
        try:
            async with asyncio.timeout(pause):
                result, text = await _final(sock, question, identity)
        except TimeoutError:
            continue
        return ProbeOutcome(result, text, clock() - begun)
    raise AssertionError("timers never end")


async def _final(sock: ProbeSocket, question: Question, identity: ProbeIdentity) -> tuple[ProbeResult, str]:
    """The first final answer to this identity; whatever else arrives is not ours to judge."""
    while True:
        data, _ = await sock.recv()
        answer = read_answer(data)
        if answer is None or not answer.answers(identity):
            continue
        verdict = judge(answer.status, answer.reason, answer.retry_after, data, question.receive)
        if verdict is not None:
            return verdict if question.judged else (ProbeResult.OK, verdict[1])


def unreachable(error: OSError) -> ProbeOutcome:
    """What an error of the network, or of ours, means."""
    if error.errno == errno.ECONNREFUSED:
        return ProbeOutcome(ProbeResult.REFUSED, "port refused")
    words = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in OURS:
        return ProbeOutcome(ProbeResult.ERROR, f"cannot probe: {words}")
    return ProbeOutcome(ProbeResult.REFUSED, f"cannot be reached: {words}")
