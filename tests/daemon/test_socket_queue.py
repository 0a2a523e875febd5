from __future__ import annotations

import socket
import sys
from contextlib import closing

import pytest

from sipbalancer.daemon import socket_queue
from sipbalancer.daemon.socket_queue import UNKNOWN, Queue, full_queue_drops, queue_of, udp_buffer_errors

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="SO_MEMINFO is Linux's")

SNMP = """Ip: Forwarding DefaultTTL
Ip: 2 64
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
Udp: 1804188 19517 1023 1832446 1000 7 0 0 23
UdpLite: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
UdpLite: 0 0 0 0 5 0 0 0 0
"""
SNMP6 = "Udp6InDatagrams 4\nUdp6RcvbufErrors \t30\nUdp6SndbufErrors 9\nUdp6MemErrors\t2\nUdpLite6RcvbufErrors 5\n"


def test_full_queues_of_both_families() -> None:
    assert udp_buffer_errors(SNMP) == 1023
    assert udp_buffer_errors(SNMP6) == 32


def test_an_older_kernel_knows_fewer_names() -> None:
    assert udp_buffer_errors("Udp: InDatagrams RcvbufErrors\nUdp: 9 4\n") == 4
    assert udp_buffer_errors("") == 0


def test_fill_is_a_share_of_the_size() -> None:
    assert Queue(50, 200, 0).fill == 0.25
    assert UNKNOWN.fill == 0.0


@LINUX
def test_a_queue_fills_overflows_and_empties() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        sock.bind(("127.0.0.1", 0))
        assert queue_of(sock).fill == 0.0
        before = full_queue_drops(socket.AF_INET)
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
            for _ in range(200):
                other.sendto(b"x" * 1000, sock.getsockname())
        full = queue_of(sock)
        assert full.fill > 0.5 and full.drops > 0
        after = full_queue_drops(socket.AF_INET)
        assert before is not None and after is not None and after - before >= full.drops
        for _ in range(200 - full.drops):
            sock.recv(2000)
        assert queue_of(sock).fill == 0.0


def test_elsewhere_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_queue, "ON_LINUX", False)
    monkeypatch.setattr(socket_queue, "_COUNTERS", {})
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        assert queue_of(sock) == UNKNOWN
    assert full_queue_drops(socket.AF_INET) is None
