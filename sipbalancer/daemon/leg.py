"""A leg: one UDP socket of ours, opened (or taken over) and tuned for a balancer.

What lives here: everything that is decided once per socket, and what the kernel lets us ask of one. No datagram
passes through this module.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

from sipbalancer.daemon.local_address import is_local
from sipbalancer.daemon.socket_queue import ON_LINUX, queue_of
from sipbalancer.errors import EnvironmentFault
from sipbalancer.sip.flow import address_text, pack_address

BUFFER_BYTES = 8 << 20
"""Asked for in each direction: 8 MiB hold some 60 ms of traffic at full speed, with the kernel's own overhead."""

# Linux numbers that the socket module does not name in 3.11 (asm-generic/socket.h, linux/in.h, linux/in6.h).
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_IP_MTU_DISCOVER, _IP_RECVERR, _IP_FREEBIND = 10, 11, 15
_IPV6_MTU_DISCOVER, _IPV6_RECVERR, _IPV6_FREEBIND = 23, 25, 78
_PMTUDISC_DONT = 0


@dataclass(frozen=True, slots=True)
class Leg:
    """One bound socket and what was found while tuning it."""

    sock: socket.socket
    """Non-blocking, bound, not connected."""
    packed: bytes
    """Its own address as bound, packed as in `sip.flow`."""
    present: bool
    """The address was on this host when the leg was made; else nothing arrives here until it is."""
    receive_buffer: int
    """Bytes the kernel gave, without its doubling."""
    send_buffer: int
    notes: tuple[str, ...]
    """For the operator: what is less than wanted, and how to get it."""

    @property
    def name(self) -> str:
        """`192.0.2.1:5060`, `[2001:db8::1]:5060`."""
        return address_text(self.packed)


def open_leg(host: str, port: int, *, buffer_bytes: int = BUFFER_BYTES, shared: bool = False) -> Leg:
    """Bind UDP `host` (an address literal, else ValueError) and `port` (0: any), also while the address is elsewhere.

    `shared`: others of this user may bind it too (SO_REUSEPORT), and each remote address is given to one of them.

    EnvironmentFault names the address and what to do.
    """
    own = pack_address(host, port)
    family = socket.AF_INET if len(own) == 6 else socket.AF_INET6
    try:
        # No SO_REUSEADDR: for UDP it would let a second program take our datagrams without an error on either side.
        sock = socket.socket(family, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0))
    except OSError as error:
        raise EnvironmentFault(_advice(address_text(own), error)) from error
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _bind(sock, host.strip("[]"), port)
        return adopt_leg(sock, buffer_bytes=buffer_bytes)
    except OSError as error:
        sock.close()
        raise EnvironmentFault(_advice(address_text(own), error)) from error


def adopt_leg(sock: socket.socket, *, buffer_bytes: int = BUFFER_BYTES) -> Leg:
    """A leg of a ready-made UDP socket, already bound (handed over, or passed by a service manager)."""
    sock.setblocking(False)
    host, port = sock.getsockname()[:2]
    if ON_LINUX:
        _tune(sock)
    received = _buffer(sock, socket.SO_RCVBUF, _SO_RCVBUFFORCE, buffer_bytes)
    sent = _buffer(sock, socket.SO_SNDBUF, _SO_SNDBUFFORCE, buffer_bytes)
    packed = pack_address(host, port)
    present = not any(packed[2:]) or is_local(host)
    notes = _notes(address_text(packed), present, received, sent, buffer_bytes)
    return Leg(sock, packed, present, received, sent, notes)


def kernel_drops(sock: socket.socket) -> int:
    """Datagrams dropped at this socket since it was made (full buffer, filter, bad checksum); 0 where unknown.

    The same number as the `drops` column of /proc/net/udp, asked of the one socket instead of read from the table of
    all; needs Linux 4.12.
    """
    return queue_of(sock).drops


def _bind(sock: socket.socket, host: str, port: int) -> None:
    """Bind, and where the address is not on this host (a keepalived standby), bind all the same."""
    try:
        sock.bind((host, port))
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL or not ON_LINUX:
            raise
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        sock.bind((host, port))


def _tune(sock: socket.socket) -> None:
    """Hear ICMP errors (IP_RECVERR), and let the kernel fragment what is larger than the path's MTU.

    With path MTU discovery a SIP message above 1,500 bytes would be refused with EMSGSIZE instead of sent.
    """
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)


def _buffer(sock: socket.socket, option: int, forced: int, wanted: int) -> int:
    """Enlarge one buffer as far as we are allowed (never shrink it); the bytes the kernel gave."""
    if _given(sock, option) < wanted:
        for attempt in (forced, option) if ON_LINUX else (option,):
            try:
                sock.setsockopt(socket.SOL_SOCKET, attempt, wanted)
                break
            except OSError:  # the forced one needs CAP_NET_ADMIN; BSD refuses what Linux would cut down
                continue
    return _given(sock, option)


def _given(sock: socket.socket, option: int) -> int:
    size = sock.getsockopt(socket.SOL_SOCKET, option)
    return size // 2 if ON_LINUX else size


def _notes(name: str, present: bool, received: int, sent: int, wanted: int) -> tuple[str, ...]:
    notes = []
    if not present:
        notes.append(f"{name} is not an address of this host now: nothing can arrive until it is added to an interface")
    for what, size, limit in (("receive", received, "rmem_max"), ("send", sent, "wmem_max")):
        if size < wanted:
            advice = f"sysctl -w net.core.{limit}={wanted}" if ON_LINUX else "raise the system's limit for UDP buffers"
            notes.append(f"{name}: {what} buffer of {size} bytes instead of {wanted}; for bursts: {advice}")
    return tuple(notes)


def _advice(name: str, error: OSError) -> str:
    """What the operator reads when a leg cannot be opened."""
    port = name.rpartition(":")[2]
    wisdom = {
        errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE: run as root, or grant it (systemd: "
        "AmbientCapabilities=CAP_NET_BIND_SERVICE)",
        errno.EADDRINUSE: f"another program has it; find it with: ss -lunp 'sport = :{port}'",
        errno.EADDRNOTAVAIL: "it is not an address of this host; add it to an interface, or correct virtual=",
        errno.EAFNOSUPPORT: "this host has no IPv6; switch it on, or use an IPv4 address",
        errno.EMFILE: "too many open files; raise the limit (systemd: LimitNOFILE=65536)",
    }
    reason = (error.strerror or str(error)).lower()
    advice = wisdom.get(error.errno or 0)
    return f"cannot open udp {name}: {reason}" + (f": {advice}" if advice else "")
