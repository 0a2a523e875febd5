"""The loop around sendmmsg, against a kernel that fails as told. Real sockets: test_channel, test_udp."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from sipbalancer.daemon.channel import BATCH, EdgeCounters, Flows
from sipbalancer.daemon.leg import Leg, open_leg
from sipbalancer.daemon.mmsg import AVAILABLE, Area, MmsgChannel, MmsgChannelV6, ffi
from sipbalancer.sip.flow import Datagram, flow_of, pack_address

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="recvmmsg and sendmmsg are used on 64-bit Linux only")


class Kernel:
    """A sendmmsg that takes messages one by one and fails where the script says: {message: errnos, in turn}."""

    def __init__(self, **script: list[int]) -> None:
        self.script = {message.encode(): errors for message, errors in script.items()}
        self.taken: list[tuple[bytes, bytes]] = []
        self.calls = 0

    def sendmmsg(self, fd: int, headers: Any, count: int, flags: int) -> int:
        assert 1 <= count <= BATCH
        assert flags & socket.MSG_DONTWAIT
        self.calls += 1
        for i in range(count):
            header = headers[i].msg_hdr
            message = bytes(ffi.buffer(header.msg_iov.iov_base, header.msg_iov.iov_len))
            if self.script.get(message):
                return i or self._fail(self.script[message].pop(0))
            self.taken.append((message, bytes(ffi.buffer(header.msg_name, header.msg_namelen))))
        return count

    def _fail(self, number: int) -> int:
        ffi.errno = number
        return -1

    @property
    def messages(self) -> list[str]:
        return [message.decode() for message, _ in self.taken]


Sending = Callable[[Kernel], tuple[MmsgChannel, EdgeCounters]]


@pytest.fixture
def leg() -> Iterator[Leg]:
    leg = open_leg("127.0.0.1", 0)
    with closing(leg.sock):
        yield leg


@pytest.fixture
def sending(leg: Leg) -> Sending:
    def make(kernel: Kernel) -> tuple[MmsgChannel, EdgeCounters]:
        counters = EdgeCounters()
        return MmsgChannel(leg, Flows(0), counters, Area(), kernel.sendmmsg), counters

    return make


def datagrams(*words: str) -> list[Datagram]:
    return [(word.encode(), flow_of(0, pack_address("192.0.2.1", 5060))) for word in words]


def test_a_batch_is_one_call(sending: Sending) -> None:
    kernel = Kernel()
    channel, counters = sending(kernel)
    channel.send(datagrams("a", "b", "c"))
    assert (kernel.calls, kernel.messages, counters) == (1, ["a", "b", "c"], EdgeCounters(sent=3))


def test_the_name_is_a_sockaddr_in(sending: Sending) -> None:
    kernel = Kernel()
    sending(kernel)[0].send(datagrams("a", "b"))
    name = b"\x02\x00\x13\xc4\xc0\x00\x02\x01" + bytes(8)
    assert [at for _, at in kernel.taken] == [name, name]


def test_the_name_is_a_sockaddr_in6() -> None:
    leg, kernel = open_leg("::1", 0), Kernel()
    with closing(leg.sock):
        channel = MmsgChannelV6(leg, Flows(0), EdgeCounters(), Area(), kernel.sendmmsg)
        channel.send([(word, flow_of(0, pack_address("2001:db8::1", 5060))) for word in (b"a", b"b")])
    address = bytes.fromhex("20010db8000000000000000000000001")
    name = b"\x0a\x00\x13\xc4" + bytes(4) + address + bytes(4)
    assert kernel.taken == [(b"a", name), (b"b", name)]


@pytest.mark.parametrize("name", ["EINVAL", "EMSGSIZE", "EPERM"])
@pytest.mark.parametrize("bad", ["a", "b", "c"])
def test_its_own_error_drops_one_and_goes_on(sending: Sending, name: str, bad: str) -> None:
    kernel = Kernel(**{bad: [getattr(errno, name)]})
    channel, counters = sending(kernel)
    channel.send(datagrams("a", "b", "c"))
    assert kernel.messages == [word for word in "abc" if word != bad]
    assert counters == EdgeCounters(sent=2, send_errors={name: 1})


@pytest.mark.parametrize("name", ["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EACCES"])
def test_the_icmp_error_of_another_is_tried_again_once(sending: Sending, name: str) -> None:
    kernel = Kernel(b=[getattr(errno, name)])
    channel, counters = sending(kernel)
    channel.send(datagrams("a", "b", "c"))
    assert (kernel.messages, counters) == (["a", "b", "c"], EdgeCounters(sent=3))


@pytest.mark.parametrize("name", ["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EACCES"])
def test_what_fails_twice_in_one_place_is_dropped(sending: Sending, name: str) -> None:
    number = getattr(errno, name)
    kernel = Kernel(a=[number, number], c=[number])
    channel, counters = sending(kernel)
    channel.send(datagrams("a", "b", "c"))
    assert (kernel.messages, counters) == (["b", "c"], EdgeCounters(sent=2, send_errors={name: 1}))


@pytest.mark.parametrize("name", ["EAGAIN", "ENOBUFS"])
def test_a_full_socket_drops_the_rest_of_the_batch(sending: Sending, name: str) -> None:
    kernel = Kernel(b=[getattr(errno, name)])
    channel, counters = sending(kernel)
    channel.send(datagrams("a", "b", "c", "d"))
    assert kernel.messages == ["a"]
    assert kernel.calls == 2, "one that stopped early, one that told why"
    assert counters == EdgeCounters(sent=1, dropped_full=3, send_errors={name: 3})


def test_an_unheard_of_error_ends(sending: Sending) -> None:
    kernel = Kernel(a=[9999] * 3)
    channel, counters = sending(kernel)
    channel.send(datagrams("a", "b"))
    assert (kernel.messages, counters) == (["b"], EdgeCounters(sent=1, send_errors={"9999": 1}))


def test_a_read_that_fails_is_counted(leg: Leg) -> None:
    counters = EdgeCounters()
    channel = MmsgChannel(leg, Flows(0), counters, Area())
    leg.sock.close()
    assert channel.receive() == []
    assert counters == EdgeCounters(receive_errors={"EBADF": 1})
