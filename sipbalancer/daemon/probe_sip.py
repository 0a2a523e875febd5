"""One burst of OPTIONS probes on the wire: a socket, and a `Burst` that says what to send when and what it means.

A socket per burst, not one per server and not one per probe. Every probe has an identity of its own (branch, Call-ID,
tag, CSeq), and by that alone its answer is known, on whatever socket it comes: Asterisk sends the answer to a fresh
branch to where that probe came from. So twenty probes may share a port; and one port for twenty is one place to listen
for what comes late. The next burst has another port: nothing of an older one can be taken for its answer, no late ICMP
error is blamed on it, no stuck conntrack entry lives on, and the source address is chosen anew (the virtual address may
have moved here since). The socket is connected: only that server's packets come in, and ICMP refusals come to us. (A
server bound to 0.0.0.0 that answers from another of its addresses is therefore not heard; phones behind NAT would not
hear it either.)
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import select
import socket
from collections.abc import Callable
from typing import Any, NamedTuple

from asyncio_dgram.aio import DatagramClient, Protocol, TransportClosed

from sipbalancer.daemon.local_address import is_local
from sipbalancer.director.burst import Burst
from sipbalancer.director.evidence import LATE, SHORTEST_WAIT
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult
from sipbalancer.sip.probe import IDENTITY_BYTES, compose_options, identity_of

OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""Errors that say nothing of the server: we are short of something."""


A_MOMENT = 0.01
"""Seconds to read what has come already; the loop needs one turn."""


class _Waking(Protocol):
    """asyncio-dgram's protocol, but an ICMP error takes its turn among the datagrams and so wakes the reader."""

    def __init__(self, received: asyncio.Queue[Any], errors: asyncio.Queue[Any], drained: asyncio.Event) -> None:
        super().__init__(received, errors, drained)
        self._received = received

    def error_received(self, exc: Exception) -> None:
        self._received.put_nowait((exc, None))


class ProbeSocket(DatagramClient):
    """asyncio-dgram's connected socket; `recv` also raises the OSError that an ICMP message brought."""

    def __init__(
        self, transport: Any, received: asyncio.Queue[Any], errors: asyncio.Queue[Any], drained: asyncio.Event
    ) -> None:
        super().__init__(transport, received, errors, drained)
        self._received = received
        self._socket = transport.get_extra_info("socket")

    async def recv(self) -> tuple[bytes, Any]:
        data, address = await super().recv()
        if isinstance(data, Exception):
            raise data
        return data, address

    @property
    def waiting(self) -> bool:
        """Something has come that `recv` was not asked for yet, or that nobody has read: timers of a loop that is late
        come before what lies in its sockets."""
        return not self._received.empty() or self._unread()

    def _unread(self) -> bool:
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))


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
    return ProbeSocket(transport, received, errors, drained)


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
    """What one burst needs to know."""

    server: tuple[str, int]
    source: str
    timeout: float
    """Seconds, an upper bound of the whole burst."""
    login: str = ""
    receive: re.Pattern[bytes] | None = None
    judged: bool = True
    """False (`checktype = connect`): any final answer is good."""
    wait: float = SHORTEST_WAIT
    """Seconds without an answer after which a probe is silent (`Evidence.wait`)."""


class Probe:
    """`ask` once, `late` when that was silence, `close` in any case."""

    def __init__(
        self,
        question: Question,
        randomness: Callable[[int], bytes],
        clock: Callable[[], float],
        silent: Callable[[float], None] = lambda sent: None,
    ) -> None:
        """`silent` is told once, with its time of sending by `clock`, that the first probe is unanswered so far."""
        self._question = question
        self._randomness = randomness
        self._clock = clock
        self._silent = silent
        self._burst = Burst(question.wait, question.timeout, question.receive, question.judged)
        self._sock: ProbeSocket | None = None

    async def ask(self) -> ProbeOutcome:
        """Always an outcome."""
        while True:
            outcome = await self._step()
            if outcome is not None:
                return outcome

    async def late(self) -> ProbeOutcome | None:
        """An answer to any of its probes in the next `LATE` seconds: life all the same."""
        end = self._clock() + LATE
        while self._sock is not None and (left := end - self._clock()) > 0:
            outcome = await self._listen(left)
            if outcome is not None and outcome.latency:
                return outcome._replace(probes=1)
        return None

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    async def _step(self) -> ProbeOutcome | None:
        burst, now = self._burst, self._clock()
        if now < burst.next_at:
            return await self._listen(burst.next_at - now)
        if self._sock is not None and self._sock.waiting:
            return await self._listen(A_MOMENT)
        sent = burst.first_silent(now)
        if sent is not None:
            self._silent(sent)
        return burst.silence(now) or await self._send()

    async def _send(self) -> ProbeOutcome | None:
        identity = identity_of(self._randomness(IDENTITY_BYTES))
        self._burst.sent(identity, self._clock())
        question = self._question
        try:
            if self._sock is None:
                self._sock = await connect(question.server, question.source)
            await self._sock.send(
                compose_options(question.server, self._sock.sockname[:2], identity, question.login),
            )
        except (OSError, TransportClosed) as error:
            return self._failed(error)
        return None

    async def _listen(self, seconds: float) -> ProbeOutcome | None:
        """What comes next, if it comes in time."""
        if self._sock is None:
            await asyncio.sleep(seconds)
            return None
        try:
            async with asyncio.timeout(seconds):
                data, _ = await self._sock.recv()
        except TimeoutError:
            return None
        except (OSError, TransportClosed) as error:
            return self._failed(error)
        return self._burst.answer(data, self._clock())

    def _failed(self, error: OSError | TransportClosed) -> ProbeOutcome | None:
        if isinstance(error, TransportClosed):  # the next probe opens another
            self.close()
            return None
        outcome = unreachable(error)
        if outcome.result is ProbeResult.REFUSED:
            return self._burst.refused(outcome.text, self._clock())
        if outcome.result is ProbeResult.ERROR:
            return outcome
        self._burst.unreachable(outcome.text)
        return None


def unreachable(error: OSError) -> ProbeOutcome:
    """What an error of the network, or of ours, means: only ECONNREFUSED says that nobody is there."""
    if error.errno == errno.ECONNREFUSED:
        return ProbeOutcome(ProbeResult.REFUSED, "port refused")
    words = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in OURS:
        return ProbeOutcome(ProbeResult.ERROR, f"cannot probe: {words}")
    return ProbeOutcome(ProbeResult.TIMEOUT, f"cannot be reached: {words}")
