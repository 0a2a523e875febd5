"""What the kernel says of a socket's receive queue: how full it is, and what was dropped there.

Linux only; elsewhere nothing is known. Read from time to time, never per datagram. Nothing is changed here.
"""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path
from typing import NamedTuple

ON_LINUX = sys.platform == "linux"

# asm-generic/socket.h and linux/sock_diag.h, in numbers that the socket module does not name in 3.11.
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("=9I")
_RMEM_ALLOC, _RCVBUF, _DROPS = 0, 1, 8

_COUNTERS = {socket.AF_INET: Path("/proc/net/snmp"), socket.AF_INET6: Path("/proc/net/snmp6")}


class Queue(NamedTuple):
    """One receive queue at one moment."""

    used: int
    """Bytes, the kernel's own overhead with them."""
    size: int
    """Bytes at which the kernel drops what comes."""
    drops: int
    """Datagrams dropped at this socket since it was made: full queue, filter, bad checksum."""

    @property
    def fill(self) -> float:
        """0.0 to a little over 1.0."""
        return self.used / self.size if self.size else 0.0


UNKNOWN = Queue(0, 0, 0)


def queue_of(sock: socket.socket) -> Queue:
    """`UNKNOWN` where the system cannot say (Linux 4.12 can)."""
    if not ON_LINUX:
        return UNKNOWN
    try:
        said = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
    except OSError:
        return UNKNOWN
    if len(said) != _MEMINFO.size:
        return UNKNOWN
    counts = _MEMINFO.unpack(said)
    return Queue(counts[_RMEM_ALLOC], counts[_RCVBUF], counts[_DROPS])


def full_queue_drops(family: int) -> int | None:
    """Datagrams dropped at the full queues of all UDP sockets of this host (network namespace); None: not known.

    What one socket dropped because it was full is known no better: its own count has the filter's in it.
    """
    try:
        return udp_buffer_errors(_COUNTERS[socket.AddressFamily(family)].read_text())
    except (OSError, ValueError, KeyError):
        return None


def udp_buffer_errors(text: str) -> int:
    """RcvbufErrors and MemErrors out of /proc/net/snmp (names in one line, values in the next) or snmp6 (pairs)."""
    lines = [line.split() for line in text.splitlines()]
    pairs = {words[0]: words[1] for words in lines if len(words) == 2}
    udp = [words[1:] for words in lines if words and words[0] == "Udp:"]
    if len(udp) == 2:
        pairs |= {f"Udp6{name}": value for name, value in zip(*udp, strict=True)}
    return sum(int(pairs.get(name, "0")) for name in ("Udp6RcvbufErrors", "Udp6MemErrors"))
