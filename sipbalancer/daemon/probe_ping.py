"""`checktype = ping`: an ICMP echo (RFC 792, RFC 4443), by the least privilege that works.

An ICMP datagram socket when the kernel allows it to our group (`ping_group_range`), else a raw one
(root, CAP_NET_RAW), else the `ping` program.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple

from sipbalancer.daemon.local_address import is_local
from sipbalancer.daemon.probe_command import run
from sipbalancer.daemon.probe_sip import unreachable
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult

_ECHO = struct.Struct("!BBHHH")
_NONCE = 16


class Ping(NamedTuple):
    """What one ping check needs to know."""

    host: str
    source: str
    timeout: float
    """Seconds, each attempt."""
    attempts: int = 1
    """`checkcount`; one answered is enough."""

    @property
    def v6(self) -> bool:
        return ":" in self.host


async def ask(ping: Ping, randomness: Callable[[int], bytes], clock: Callable[[], float]) -> ProbeOutcome:
    """Always an outcome."""
    for _ in range(ping.attempts):
        begun = clock()
        try:
            async with asyncio.timeout(ping.timeout):
                answered = await _attempt(ping, randomness)
        except TimeoutError:
            continue
        except FileNotFoundError:
            return ProbeOutcome(
                ProbeResult.ERROR, "cannot ping: needs CAP_NET_RAW, net.ipv4.ping_group_range or the program ping"
            )
        except OSError as error:
            return unreachable(error)
        if answered:
            return ProbeOutcome(ProbeResult.OK, "ping answered", clock() - begun)
    return ProbeOutcome(ProbeResult.TIMEOUT, f"no ping answer within {ping.timeout:g} s")


async def _attempt(ping: Ping, randomness: Callable[[int], bytes]) -> bool:
    """One echo; False when the program was asked and got none. Raises OSError."""
    try:
        sock = _open(ping)
    except PermissionError:
        return await _program(ping)
    with sock:
        await _echo(sock, ping, randomness(_NONCE))
    return True


def _open(ping: Ping) -> socket.socket:
    """A connected, non-blocking ICMP socket. Raises PermissionError when neither kind is allowed."""
    family = socket.AF_INET6 if ping.v6 else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if ping.v6 else socket.IPPROTO_ICMP
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM, protocol)
    except OSError:
        sock = socket.socket(family, socket.SOCK_RAW, protocol)
    try:
        sock.setblocking(False)
        if ping.source and (":" in ping.source) == ping.v6 and is_local(ping.source):
            sock.bind((ping.source, 0))
        sock.connect((ping.host, 0))
    except BaseException:
        sock.close()
        raise
    return sock


async def _echo(sock: socket.socket, ping: Ping, nonce: bytes) -> None:
    """Returns when the reply with our nonce came. A raw socket shows others' replies too: the nonce tells."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, compose_echo(nonce, ping.v6))
    while not is_reply(await loop.sock_recv(sock, 2048), nonce, ping.v6, raw=sock.type == socket.SOCK_RAW):
        pass


def compose_echo(nonce: bytes, v6: bool) -> bytes:
    """An echo request: identifier and sequence from the nonce (a datagram socket puts its own identifier)."""
    kind = 128 if v6 else 8
    identifier, sequence = struct.unpack_from("!HH", nonce)
    bare = _ECHO.pack(kind, 0, 0, identifier, sequence) + nonce
    return _ECHO.pack(kind, 0, 0 if v6 else checksum(bare), identifier, sequence) + nonce


def is_reply(packet: bytes, nonce: bytes, v6: bool, raw: bool) -> bool:
    """Whether this is the echo reply to `nonce`; a raw IPv4 socket delivers the IP header before it."""
    start = (packet[0] & 0x0F) * 4 if raw and not v6 and packet else 0
    body = packet[start:]
    return len(body) >= _ECHO.size and body[0] == (129 if v6 else 0) and body[_ECHO.size :] == nonce


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


async def _program(ping: Ping) -> bool:
    """The `ping` program is setuid or has the capability. Raises FileNotFoundError, TimeoutError."""
    source = ("-I", ping.source) if ping.source and is_local(ping.source) else ()
    argv = ("ping", "-n", "-q", "-c", "1", "-W", str(max(1, round(ping.timeout))), *source, ping.host)
    return await run(argv, ping.timeout) == 0
