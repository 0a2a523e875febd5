"""A channel: how the datagrams of one socket are read and written, and what becomes of a send that fails.

What lives here: the counters of the edge, the flows met so far, the rules for the kernel's errors, and the plain
channel (one system call per datagram, any platform). The batched one is `mmsg`. No event loop here.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sipbalancer.daemon.leg import Leg
from sipbalancer.daemon.socket_queue import ON_LINUX
from sipbalancer.director.small_cache import SmallCache
from sipbalancer.sip.flow import Datagram, Flow, flow_of, unpack_address

BATCH = 64
"""Datagrams per wake-up and socket. Sixteen times as many, and other timers wait 21 ms for no more throughput."""

MESSAGE_BYTES = 65_536
"""One more than the largest UDP length, so nothing UDP carries is cut."""

FLOWS = 2048
"""Flows remembered per leg and generation; one more costs 0.4 us to make again."""

FULL = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.ENOMEM})
"""The kernel has no room now: the rest of the batch is dropped, never queued (SIP repeats what matters)."""

WAITING = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})
"""Nothing to read."""

PENDING = frozenset(
    getattr(errno, name)
    for name in (
        *("ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EHOSTDOWN", "ENONET", "ENOPROTOOPT", "EPROTO", "EACCES"),
        *("EOPNOTSUPP", "EINTR"),
    )
    if hasattr(errno, name)
)
"""May be an ICMP error that waited at the socket and concerns another destination: worth one more try.

The kernel hands such an error to whichever call comes next and forgets it (IP_RECVERR); what fails twice in the same
place failed by itself. Anything else (EINVAL, EMSGSIZE, EPERM ...) is this datagram's own and drops only that one.
"""


@dataclass(slots=True)
class EdgeCounters:
    """What passed through the edge, as plain integers, in datagrams unless said otherwise."""

    received: int = 0
    """Handed to the core."""
    sent: int = 0
    """Taken by the kernel."""
    truncated: int = 0
    """Longer than the buffer: dropped."""
    empty: int = 0
    """Without payload: dropped."""
    dropped_full: int = 0
    """Not sent because the kernel had no room (EAGAIN, ENOBUFS); also in `send_errors`."""
    refused: int = 0
    """ICMP: nobody listens at the port of a destination of ours."""
    core_errors: int = 0
    """Exceptions out of the core: each one is a bug."""
    send_errors: dict[str, int] = field(default_factory=dict)
    """Not sent, by errno name."""
    receive_errors: dict[str, int] = field(default_factory=dict)
    """Failed reads, by errno name."""
    icmp_errors: dict[str, int] = field(default_factory=dict)
    """Any other ICMP error about a datagram of ours, by errno name."""

    def fits(self, length: int, size: int) -> bool:
        """Whether a datagram of `length` read into `size` bytes can be used; counted when not."""
        self.empty += length == 0
        self.truncated += length > size
        return 0 < length <= size

    def unread(self, error: int) -> None:
        """A read failed; that nothing was waiting is no failure, and an ICMP error is told where its queue is read."""
        if error not in WAITING and error not in PENDING:
            add(self.receive_errors, error)

    def lost(self, error: int, count: int = 1) -> None:
        """`count` datagrams were not sent."""
        if error in FULL:
            self.dropped_full += count
        add(self.send_errors, error, count)


def add(counts: dict[str, int], error: int, count: int = 1) -> None:
    """Count an errno under its name."""
    name = errno.errorcode.get(error, str(error))
    counts[name] = counts.get(name, 0) + count


class Flows(SmallCache[bytes, Flow]):
    """Packed remote address -> flow, for one leg; makes what it lacks, and forgets who has not been heard for long."""

    def __init__(self, leg: int, limit: int = FLOWS) -> None:
        super().__init__(limit)
        self.leg = leg

    def __missing__(self, packed: bytes) -> Flow:
        flow = self.again(packed)
        if flow is None:
            flow = flow_of(self.leg, packed)
            self.keep(packed, flow)
        return flow


class Channel(Protocol):
    """One socket as the edge sees it."""

    interrupted: bool
    """An ICMP error came instead of what was asked: the error queue is to be read, whatever else there is to do."""

    @property
    def leg(self) -> Leg: ...

    @property
    def flows(self) -> Flows: ...

    def receive(self) -> list[Datagram]:
        """At most `BATCH` datagrams that wait now; never blocks, never raises on what the network did."""

    def send(self, datagrams: Sequence[Datagram]) -> None:
        """Send all, or drop and count."""


class PlainChannel:
    """One system call per datagram, through the socket module."""

    def __init__(self, leg: Leg, flows: Flows, counters: EdgeCounters, size: int = MESSAGE_BYTES) -> None:
        self.leg = leg
        self.flows = flows
        self.interrupted = False
        self._counters = counters
        self._view = memoryview(bytearray(size))
        # On Linux MSG_TRUNC makes the length that of the datagram, not that of what fitted.
        self._flags = socket.MSG_TRUNC if ON_LINUX else 0

    def receive(self) -> list[Datagram]:
        datagrams: list[Datagram] = []
        for _ in range(BATCH):
            try:
                length, address = self.leg.sock.recvfrom_into(self._view, 0, self._flags)
            except OSError as error:
                self._counters.unread(error.errno or 0)
                self.interrupted |= error.errno in PENDING
                break
            if self._counters.fits(length, len(self._view)):
                packed = address[1].to_bytes(2, "big") + self._address(address[0])
                datagrams.append((bytes(self._view[:length]), self.flows[packed]))
        self._counters.received += len(datagrams)
        return datagrams

    def send(self, datagrams: Sequence[Datagram]) -> None:
        for at, (message, flow) in enumerate(datagrams):
            error = self._send_one(message, flow[1])
            if error in PENDING:
                self.interrupted = True
                error = self._send_one(message, flow[1])
            if error in FULL:
                self._counters.lost(error, len(datagrams) - at)
                return
            if error:
                self._counters.lost(error)

    def _address(self, host: str) -> bytes:
        return socket.inet_pton(self.leg.sock.family, host.partition("%")[0])

    def _send_one(self, message: bytes, packed: bytes) -> int:
        """0, or the errno."""
        if len(packed) != len(self.leg.packed):
            return errno.EAFNOSUPPORT
        try:
            self.leg.sock.sendto(message, unpack_address(packed))
        except OSError as error:
            return error.errno or errno.EIO
        self._counters.sent += 1
        return 0
