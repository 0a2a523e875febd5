"""The batched channel: recvmmsg and sendmmsg through cffi (ABI mode), 64 datagrams per system call.

What lives here: the kernel's structures, filled once and reused, and the loop around a send that stops early. The
layout is that of 64-bit little-endian Linux (`AVAILABLE`); elsewhere the plain channel does the same work.

Headers and names are written through memoryviews, not through cffi attributes: 64 attribute writes cost more than
the system call. Messages leave by one `join`, so 64 datagrams are one copy (0.11 us each; an `ffi.from_buffer` per
message costs 0.26).
"""

from __future__ import annotations

import errno
import socket
import sys
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

from cffi import FFI

from sipbalancer.daemon.channel import BATCH, FULL, MESSAGE_BYTES, PENDING, EdgeCounters, Flows
from sipbalancer.daemon.leg import Leg
from sipbalancer.sip.flow import Datagram, Flow

AVAILABLE = sys.platform == "linux" and sys.maxsize > 2**32 and sys.byteorder == "little"

ffi = FFI()
ffi.cdef("""
    struct iovec { void *iov_base; size_t iov_len; };
    struct msghdr {
        void *msg_name; uint32_t msg_namelen; struct iovec *msg_iov; size_t msg_iovlen;
        void *msg_control; size_t msg_controllen; int msg_flags;
    };
    struct mmsghdr { struct msghdr msg_hdr; unsigned int msg_len; };
    int recvmmsg(int fd, struct mmsghdr *headers, unsigned int count, int flags, void *timeout);
    int sendmmsg(int fd, struct mmsghdr *headers, unsigned int count, int flags);
    ssize_t sendto(int fd, char *message, size_t length, int flags, void *name, uint32_t name_length);
""")

Headers = Any
"""A cffi `struct mmsghdr *`; cffi has no types to name."""

SendMmsg = Callable[[int, Headers, int, int], int]
"""The system call's own signature: (fd, headers, count, flags) -> sent, or -1 with `ffi.errno`."""

# Steps through memoryviews of the structures above: a mmsghdr is 16 words of 4 bytes with its length in the 15th,
# an iovec is 2 words of 8 bytes.
_HEADER_WORDS = 16
_LENGTH_WORD = 14
_IOVEC_WORDS = 2


class Area:
    """The memory messages are received into: 4 MiB of address space, touched only as far as messages are long.

    One for all channels of an edge, as a batch is copied out before the next is read.
    """

    def __init__(self, size: int = MESSAGE_BYTES) -> None:
        self.size = size
        self.memory = ffi.new("char[]", BATCH * size)
        self.bytes = ffi.buffer(self.memory)
        self.starts = tuple(range(0, BATCH * size, size))


class _Headers:
    """64 mmsghdr with their names and iovecs, wired together once."""

    def __init__(self, name_bytes: int) -> None:
        self.headers = ffi.new("struct mmsghdr[]", BATCH)
        self.iovecs = ffi.new("struct iovec[]", BATCH)
        self.names = ffi.new("char[]", BATCH * name_bytes)
        for i in range(BATCH):
            header = self.headers[i].msg_hdr
            header.msg_name = self.names + i * name_bytes
            header.msg_namelen = name_bytes
            header.msg_iov = self.iovecs + i
            header.msg_iovlen = 1
        self.name_bytes = ffi.buffer(self.names)


_ZEROS_V4 = bytes(8)
_BETWEEN_V4 = _ZEROS_V4 + socket.AF_INET.to_bytes(2, "little")
_ZEROS_V6 = bytes(4)


class MmsgChannel:
    """One IPv4 socket; `MmsgChannelV6` differs in how a name is read and written.

    The kernel writes back the length of each name; as a socket knows one family only, it is the one already there.
    """

    NAME_BYTES = 16
    FAMILY = socket.AF_INET.to_bytes(2, "little")

    def __init__(
        self, leg: Leg, flows: Flows, counters: EdgeCounters, area: Area, sendmmsg: SendMmsg | None = None
    ) -> None:
        self.leg = leg
        self.flows = flows
        self.interrupted = False
        self._fd = leg.sock.fileno()
        self._counters = counters
        self._area = area
        library = ffi.dlopen(None)
        self._recvmmsg: Callable[[int, Headers, int, int, Any], int] = library.recvmmsg
        self._sendmmsg: SendMmsg = sendmmsg or library.sendmmsg
        self._sendto: Callable[[int, bytes, int, int, Any, int], int] = library.sendto
        self._prepare_receiving()
        self._prepare_sending()

    def _prepare_receiving(self) -> None:
        self._in = _Headers(self.NAME_BYTES)
        for i, start in enumerate(self._area.starts):
            self._in.iovecs[i].iov_base = self._area.memory + start
            self._in.iovecs[i].iov_len = self._area.size
        words = memoryview(ffi.buffer(self._in.headers)).cast("B").cast("I")
        self._lengths = words[_LENGTH_WORD::_HEADER_WORDS]
        self._name_starts = range(0, BATCH * self.NAME_BYTES, self.NAME_BYTES)
        self._name_slices = tuple(slice(start + 2, start + 8) for start in self._name_starts)

    def _prepare_sending(self) -> None:
        self._out = _Headers(self.NAME_BYTES)
        words = memoryview(ffi.buffer(self._out.iovecs)).cast("B").cast("Q")
        self._bases = words[0::_IOVEC_WORDS]
        self._sizes = words[1::_IOVEC_WORDS]

    def receive(self) -> list[Datagram]:
        count = self._recvmmsg(self._fd, self._in.headers, BATCH, socket.MSG_DONTWAIT | socket.MSG_TRUNC, ffi.NULL)
        if count <= 0:
            error = ffi.errno
            self._counters.unread(error)
            self.interrupted |= error in PENDING
            return []
        # MSG_TRUNC makes each length that of the datagram, not that of what fitted.
        lengths = self._lengths[:count].tolist()
        datagrams = self._copy_out(lengths)
        if min(lengths) == 0 or max(lengths) > self._area.size:
            fits, size = self._counters.fits, self._area.size
            datagrams = [datagram for datagram, length in zip(datagrams, lengths, strict=True) if fits(length, size)]
        self._counters.received += len(datagrams)
        return datagrams

    def _copy_out(self, lengths: list[int]) -> list[Datagram]:
        messages, names, flows = self._area.bytes, self._in.name_bytes, self.flows
        return [
            (messages[start : start + length], flows[names[name]])
            for length, start, name in zip(lengths, self._area.starts, self._name_slices, strict=False)
        ]

    def send(self, datagrams: Sequence[Datagram]) -> None:
        if len(datagrams) == 1:
            error = self._send_one(*datagrams[0])
            if error not in PENDING:
                if error:
                    self._counters.lost(error)
                return
            self.interrupted = True
        for at in range(0, len(datagrams), BATCH):
            self._send_batch(datagrams[at : at + BATCH])

    def _send_one(self, message: bytes, flow: Flow) -> int:
        """One datagram, 1.6 us cheaper than a batch of one; 0, or the errno."""
        name = self._names_of(((message, flow),))
        if len(name) != self.NAME_BYTES:
            return errno.EAFNOSUPPORT
        if self._sendto(self._fd, message, len(message), socket.MSG_DONTWAIT, name, len(name)) < 0:
            return int(ffi.errno)
        self._counters.sent += 1
        return 0

    def _send_batch(self, batch: Sequence[Datagram]) -> None:
        names = self._names_of(batch)
        if len(names) != len(batch) * self.NAME_BYTES:
            batch = self._of_our_family(batch)
            names = self._names_of(batch)
        if not batch:
            return
        self._out.name_bytes[: len(names)] = names
        sizes = array("Q", [len(message) for message, _ in batch])
        text = ffi.from_buffer(b"".join([message for message, _ in batch]))
        bases = array("Q", accumulate(sizes[:-1], initial=int(ffi.cast("uintptr_t", text))))
        count = len(batch)
        self._sizes[:count] = memoryview(sizes)
        self._bases[:count] = memoryview(bases)
        self._push(count)

    def _names_of(self, batch: Sequence[Datagram]) -> bytes:
        """One sockaddr_in per datagram: family, port and address, zeros."""
        return self.FAMILY + _BETWEEN_V4.join([flow[1] for _, flow in batch]) + _ZEROS_V4

    def _of_our_family(self, batch: Sequence[Datagram]) -> list[Datagram]:
        width = len(self.leg.packed)
        kept = [datagram for datagram in batch if len(datagram[1][1]) == width]
        self._counters.lost(errno.EAFNOSUPPORT, len(batch) - len(kept))
        return kept

    def _push(self, count: int) -> None:
        """Hand `count` prepared headers to the kernel, past those it will not take.

        sendmmsg stops at the first it cannot send and tells why only when asked again from there.
        """
        at, tried_again = 0, -1
        while at < count:
            sent = self._sendmmsg(self._fd, self._out.headers + at, count - at, socket.MSG_DONTWAIT)
            if sent > 0:
                self._counters.sent += sent
                at += sent
                continue
            error = ffi.errno
            if error in FULL:
                self._counters.lost(error, count - at)
                return
            if error in PENDING and tried_again != at:
                self.interrupted = True
                tried_again = at
                continue
            self._counters.lost(error)
            at += 1


class MmsgChannelV6(MmsgChannel):
    """One IPv6 socket. A sockaddr_in6 keeps flow information between port and address, and a scope id behind."""

    NAME_BYTES = 28
    FAMILY = socket.AF_INET6.to_bytes(2, "little")

    def _copy_out(self, lengths: list[int]) -> list[Datagram]:
        messages, names, flows = self._area.bytes, self._in.name_bytes, self.flows
        return [
            (messages[start : start + length], flows[names[name + 2 : name + 4] + names[name + 8 : name + 24]])
            for length, start, name in zip(lengths, self._area.starts, self._name_starts, strict=False)
        ]

    def _names_of(self, batch: Sequence[Datagram]) -> bytes:
        """One sockaddr_in6 per datagram: family, port, no flow information, address, no scope."""
        return b"".join([self.FAMILY + flow[1][:2] + _ZEROS_V6 + flow[1][2:] + _ZEROS_V6 for _, flow in batch])
