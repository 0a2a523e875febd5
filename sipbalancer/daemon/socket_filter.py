"""A socket filter that sheds new work in the kernel: a classic BPF program, and how a socket gets and loses it.

What lives here: the few instructions needed, the program made of them, and the two setsockopt calls. When to shed and
how much is `shedding`'s.

A program is a list of rows (code, jump if true, jump if false, operand); a jump counts the rows to pass over. The
kernel runs it once per datagram with the UDP header in front, and takes what it returns as the octets to keep: none,
and the datagram is dropped, counted at the socket, and never wakes us. A load from behind the end of a datagram drops
it too, so the length is asked first.

What cannot be told at a fixed place passes: a request behind a leading empty line, and every method but the four that
a client sends again by itself and that no call hangs on. A request inside a dialog looks like one outside it from here,
so a SUBSCRIBE or MESSAGE within one is shed as any other.
"""

from __future__ import annotations

import errno
import socket
import struct
from array import array
from collections.abc import Iterable

from sipbalancer.daemon.socket_queue import ON_LINUX

SHED_METHODS = ("REGISTER", "OPTIONS", "SUBSCRIBE", "MESSAGE")

Row = tuple[int, int, int, int]
Program = tuple[Row, ...]

# linux/bpf_common.h, by the names of its assembler.
LOAD_WORD = 0x20
LOAD_LENGTH = 0x80
JUMP_IF_EQUAL = 0x15
JUMP_IF_AT_LEAST = 0x35
RETURN = 0x06

# linux/filter.h: places in a packet that are no offset into it.
RANDOM = 0xFFFFF000 + 56
NETWORK_HEADER = 0xFFF00000
_SOURCE_END_V4, _SOURCE_END_V6 = 12, 20
"""Where the last four octets of the source address stand in the header of IP."""

UDP_HEADER = 8
_PREFIX = 8
"""Octets of the first line that are looked at: two words."""
_METHOD_TEST_ROWS = 4
EVERYTHING = 0xFFFFFFFF
NOTHING = 0
EXEMPT_AT_MOST = 512
"""Servers' addresses in one program: two rows each, and the kernel counts them against net.core.optmem_max."""

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_ROW = struct.Struct("=HBBI")
_PROGRAM = struct.Struct("@HP")

PASS: Row = (RETURN, 0, 0, EVERYTHING)
DROP: Row = (RETURN, 0, 0, NOTHING)


def shedding_program(rate: float, family: int, exempt: Iterable[bytes]) -> Program:
    """Drop this share (0.0 to 1.0) of the datagrams that begin with one of `SHED_METHODS`, and pass all others.

    `exempt`: packed addresses (4 or 16 octets) of servers, whose own requests pass. They are told by their last four
    octets: a client that shares these with a server is never shed, which costs nothing.
    """
    rows: list[Row] = [(LOAD_LENGTH, 0, 0, 0), (JUMP_IF_AT_LEAST, 1, 0, UDP_HEADER + _PREFIX), PASS]
    for number, method in enumerate(SHED_METHODS, 1):
        rows += _method_test(method, to_shedding=(len(SHED_METHODS) - number) * _METHOD_TEST_ROWS + 1)
    rows.append(PASS)
    rows += _exemption(family, exempt)
    # Of 2**32 random values so many are dropped.
    rows += [(LOAD_WORD, 0, 0, RANDOM), (JUMP_IF_AT_LEAST, 1, 0, min(int(rate * 2**32), EVERYTHING)), DROP, PASS]
    return tuple(rows)


def _method_test(method: str, to_shedding: int) -> list[Row]:
    """The first two words of the message, the blank behind a short method with them; on to the next where they differ.

    `to_shedding`: rows behind this test that are passed over when it is that method.
    """
    text = f"{method} ".encode()
    return [
        (LOAD_WORD, 0, 0, UDP_HEADER),
        (JUMP_IF_EQUAL, 0, 2, int.from_bytes(text[:4])),
        (LOAD_WORD, 0, 0, UDP_HEADER + 4),
        (JUMP_IF_EQUAL, to_shedding, 0, int.from_bytes(text[4:8])),
    ]


def _exemption(family: int, exempt: Iterable[bytes]) -> list[Row]:
    endings = sorted({int.from_bytes(address[-4:]) for address in exempt})[:EXEMPT_AT_MOST]
    if not endings:
        return []
    at = NETWORK_HEADER + (_SOURCE_END_V4 if family == socket.AF_INET else _SOURCE_END_V6)
    return [(LOAD_WORD, 0, 0, at), *(row for ending in endings for row in ((JUMP_IF_EQUAL, 0, 1, ending), PASS))]


def assembled(program: Program) -> bytes:
    """As the kernel reads it: struct sock_filter after struct sock_filter."""
    return b"".join(_ROW.pack(*row) for row in program)


def attach(sock: socket.socket, program: Program) -> None:
    """Give the socket this filter, in place of one it has. OSError where the system cannot."""
    if not ON_LINUX:
        raise OSError(errno.ENOPROTOOPT, "no socket filters on this system")
    code = array("B", assembled(program))
    address, _ = code.buffer_info()
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _PROGRAM.pack(len(program), address))


def detach(sock: socket.socket) -> None:
    """Take the filter away; no error when there is none."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EBADF):
            raise
