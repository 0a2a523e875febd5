"""The UDP edge of the data path: sockets on one side, the core's four verbs on the other.

What lives here: who is woken by what, in which order the core is asked, and what happens when the core fails. How
one socket is read and written is `channel` and `mmsg`; what a message means is the core's.

The order of one wake-up: ICMP errors of a socket first, then one batch of it, then the core's outbox, then all that
results is sent. One batch per socket and wake-up, and one more behind a small one: draining until nothing waits starves
every other timer for seconds. In a small batch each answer leaves before the next datagram is looked at: there is time,
and nobody need wait for the others (`python -m bench.run` at half load: added latency at p50 a fifth less).
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Protocol

from sipbalancer.daemon import mmsg
from sipbalancer.daemon.channel import Channel, EdgeCounters, Flows, PlainChannel, add
from sipbalancer.daemon.leg import Leg, adopt_leg, kernel_drops, open_leg
from sipbalancer.sip.flow import Datagram, Flow

__all__ = ["Core", "Edge", "EdgeCounters", "Leg", "adopt_leg", "kernel_drops", "open_leg"]

TICK = 0.05
"""Seconds between two calls of the core's `due`."""

SMALL = 8
"""Datagrams of a batch that were all that waited: more of them are cheaper sent together."""

# struct sock_extended_err (linux/errqueue.h), as it stands in an IP_RECVERR message: errno, origin, type, code.
_EXTENDED_ERROR = struct.Struct("=IBBBxII")
_FROM_ICMP = (2, 3)
_IS_EXTENDED_ERROR = ((socket.IPPROTO_IP, 11), (socket.IPPROTO_IPV6, 25))
_ERRORS_PER_WAKE_UP = 64
_MSG_ERRQUEUE = getattr(socket, "MSG_ERRQUEUE", 0)


class Core(Protocol):
    """What the edge drives. Nothing here should raise; what does is counted, reported once, and costs one datagram."""

    outbox: list[Datagram]

    def datagram_received(self, data: bytes, flow_in: Flow, now: float) -> Datagram | None: ...

    def refused(self, flow_out: Flow, now: float) -> None: ...

    def due(self, now: float) -> list[Datagram]: ...


class Edge:
    """All legs of one process, one core and a clock (seconds, read once per batch).

    Leg i is the i-th given or added; an index is never used again, so an old flow cannot leave through a new leg.
    `start` and everything after it belong to the loop's thread. `batched=False` takes the
    plain channel also where the batched one could be had.
    """

    def __init__(
        self, legs: Sequence[Leg], core: Core, clock: Callable[[], float], *, batched: bool | None = None
    ) -> None:
        self.counters = EdgeCounters()
        self._core = core
        self._answer = core.datagram_received
        self._clock = clock
        self._area = mmsg.Area() if mmsg.AVAILABLE and batched is not False else None
        self._channels: list[Channel | None] = []
        self._watch = _Watch(self._ready)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reported = False
        for leg in legs:
            self.add_leg(leg)

    @property
    def batched(self) -> bool:
        return self._area is not None

    @property
    def legs(self) -> tuple[Leg | None, ...]:
        """By index; None where a leg was removed."""
        return tuple(None if channel is None else channel.leg for channel in self._channels)

    def add_leg(self, leg: Leg) -> int:
        """Own this leg from now on; its index."""
        index = len(self._channels)
        channel = self._channel(leg, Flows(index))
        self._channels.append(channel)
        self._watch.add(channel)
        return index

    def remove_leg(self, index: int) -> None:
        """Close a leg; what the core still sends through it is dropped and counted as ENODEV."""
        channel = self._channels[index]
        if channel is not None:
            self._channels[index] = None
            self._watch.remove(channel)
            channel.leg.sock.close()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watch.start(loop)
        self._timer = loop.call_later(TICK, self._tick)

    def close(self) -> None:
        """Stop and close all sockets; may be called twice."""
        if self._timer is not None:
            self._timer.cancel()
        self._watch.close()
        for index in range(len(self._channels)):
            self.remove_leg(index)
        self._loop = None

    def send(self, datagrams: Sequence[Datagram]) -> None:
        """Send now, each through its flow's leg; what the kernel does not take is dropped and counted."""
        channels = self._channels
        if len(channels) == 1 and channels[0] is not None:
            channels[0].send(datagrams)
            return
        if not datagrams:
            return
        first = datagrams[0][1][0]
        if all([datagram[1][0] == first for datagram in datagrams]):  # a worker's batch: all to servers, or to clients
            self._send_by(first, datagrams)
            return
        groups: dict[int, list[Datagram]] = {}
        for datagram in datagrams:
            groups.setdefault(datagram[1][0], []).append(datagram)
        for index, group in groups.items():
            self._send_by(index, group)

    def _send_by(self, index: int, datagrams: Sequence[Datagram]) -> None:
        channel = self._channels[index] if 0 <= index < len(self._channels) else None
        if channel is None:
            self.counters.lost(errno.ENODEV, len(datagrams))
        else:
            channel.send(datagrams)

    def _channel(self, leg: Leg, flows: Flows) -> Channel:
        if self._area is None:
            return PlainChannel(leg, flows, self.counters)
        kind = mmsg.MmsgChannelV6 if leg.sock.family == socket.AF_INET6 else mmsg.MmsgChannel
        return kind(leg, flows, self.counters, self._area)

    def _ready(self, channel: Channel, failed: bool) -> bool:
        """A socket has datagrams, or ICMP errors, or both. Whether datagrams came."""
        if failed:
            self._hear_errors(channel)
        datagrams = channel.receive()
        if not datagrams:
            return False
        self._take(datagrams)
        if len(datagrams) <= SMALL and (meanwhile := channel.receive()):
            self._take(meanwhile)
        return True

    def _take(self, datagrams: Sequence[Datagram]) -> None:
        now = self._clock()
        answer, core, replies = self._answer, self._core, []
        at_once = len(datagrams) <= SMALL
        for data, flow in datagrams:
            try:
                reply = answer(data, flow, now)
            except Exception as error:
                self._core_failed(error)
                continue
            if reply is None:
                continue
            if at_once:
                self.send((reply,))
            else:
                replies.append(reply)
        if core.outbox:
            replies += self._due(now)
        if replies:
            self.send(replies)

    def _tick(self) -> None:
        if self._loop is not None:
            self._timer = self._loop.call_later(TICK, self._tick)
            self.send(self._due(self._clock()))

    def _due(self, now: float) -> list[Datagram]:
        try:
            return self._core.due(now)
        except Exception as error:
            self._core_failed(error)
            return []

    def _hear_errors(self, channel: Channel) -> None:
        """Empty the socket's error queue, and with it the error that the next send would trip over."""
        now = self._clock()
        for _ in range(_ERRORS_PER_WAKE_UP):
            try:
                _, ancillary, _, address = channel.leg.sock.recvmsg(1, 512, _MSG_ERRQUEUE)
            except OSError:
                # Nothing queued (any more): when memory was short the error stands at the socket alone.
                channel.leg.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                return
            for level, kind, body in ancillary:
                if (level, kind) in _IS_EXTENDED_ERROR:
                    self._icmp(channel, body, address, now)

    def _icmp(self, channel: Channel, body: bytes, address: tuple[str, int] | None, now: float) -> None:
        """One sock_extended_err about a datagram we sent to `address`."""
        number, origin = _EXTENDED_ERROR.unpack_from(body)[:2]
        if number != errno.ECONNREFUSED or origin not in _FROM_ICMP or not address:
            add(self.counters.icmp_errors, number)
            return
        self.counters.refused += 1
        packed = address[1].to_bytes(2, "big") + socket.inet_pton(channel.leg.sock.family, address[0].partition("%")[0])
        try:
            self._core.refused(channel.flows[packed], now)
        except Exception as error:
            self._core_failed(error)

    def _core_failed(self, error: Exception) -> None:
        """Count every one, report the first: a thousand equal tracebacks a second help nobody."""
        self.counters.core_errors += 1
        if not self._reported and self._loop is not None:
            self._reported = True
            message = "the forwarder raised: one datagram is lost; this is a bug, and it is reported only once"
            self._loop.call_exception_handler({"message": message, "exception": error})


class _Watch:
    """Tells the edge which sockets are ready.

    On Linux the sockets sit in an epoll of their own and the loop watches only that: given the sockets themselves,
    uvloop stops watching for good at the first ICMP error, and asyncio spins. Elsewhere no such errors exist (they
    need IP_RECVERR), and the loop watches the sockets.
    """

    def __init__(self, ready: Callable[[Channel, bool], bool]) -> None:
        self._ready = ready
        self._channels: dict[int, Channel] = {}
        self._only: Channel | None = None
        """The one channel, where there is no other: it need not be asked for."""
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        if self._epoll is not None:
            loop.add_reader(self._epoll.fileno(), self._poll)
            return
        for fd, channel in self._channels.items():
            loop.add_reader(fd, self._ready, channel, False)

    def add(self, channel: Channel) -> None:
        fd = channel.leg.sock.fileno()
        self._channels[fd] = channel
        self._only = channel if len(self._channels) == 1 else None
        if self._epoll is not None:
            self._epoll.register(fd, select.EPOLLIN)
        elif self._loop is not None:
            self._loop.add_reader(fd, self._ready, channel, False)

    def remove(self, channel: Channel) -> None:
        fd = channel.leg.sock.fileno()
        del self._channels[fd]
        self._only = next(iter(self._channels.values())) if len(self._channels) == 1 else None
        if self._epoll is not None:
            if not self._epoll.closed:
                self._epoll.unregister(fd)
        elif self._loop is not None:
            self._loop.remove_reader(fd)

    def close(self) -> None:
        if self._epoll is not None and not self._epoll.closed:
            if self._loop is not None:
                self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _poll(self) -> None:
        """A lone socket is read at once; what else may have woken us is asked only where that brings nothing."""
        assert self._epoll is not None
        only = self._only
        if only is not None:
            if not only.interrupted and self._ready(only, False):
                return
            only.interrupted = False
        for fd, events in self._epoll.poll(0):
            channel = self._channels.get(fd)
            if channel is not None:
                self._ready(channel, events != select.EPOLLIN)
