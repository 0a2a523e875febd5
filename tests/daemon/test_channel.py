"""Both channels against one set of expectations; what only the batched one does is in test_mmsg."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from sipbalancer.daemon.channel import BATCH, Channel, EdgeCounters, Flows, PlainChannel
from sipbalancer.daemon.leg import Leg, open_leg
from sipbalancer.daemon.mmsg import Area, MmsgChannel, MmsgChannelV6
from sipbalancer.sip.flow import Datagram, flow_of, pack_address

Make = Callable[[Leg, EdgeCounters, int], Channel]


def plain(leg: Leg, counters: EdgeCounters, size: int) -> Channel:
    return PlainChannel(leg, Flows(7), counters, size)


def batched(leg: Leg, counters: EdgeCounters, size: int) -> Channel:
    kind = MmsgChannelV6 if leg.sock.family == socket.AF_INET6 else MmsgChannel
    return kind(leg, Flows(7), counters, Area(size))


class Pair(NamedTuple):
    """A channel, its counters, and a client that only the test touches."""

    channel: Channel
    counters: EdgeCounters
    client: socket.socket

    def arrive(self, *messages: bytes) -> None:
        for message in messages:
            self.client.sendto(message, self.channel.leg.sock.getsockname())

    def to_client(self, message: bytes) -> Datagram:
        return message, flow_of(7, pack_address(*self.client.getsockname()[:2]))

    def arrived(self) -> list[bytes]:
        """What waits at the client; loopback delivers before a send returns."""
        messages = []
        try:
            while True:
                messages.append(self.client.recv(65_536))
        except BlockingIOError:
            return messages


def pair(make: Make, host: str = "127.0.0.1", size: int = 65_536) -> Iterator[Pair]:
    leg = open_leg(host, 0)
    client = socket.socket(leg.sock.family, socket.SOCK_DGRAM)
    client.setblocking(False)
    client.bind((host, 0))
    counters = EdgeCounters()
    with closing(leg.sock), closing(client):
        yield Pair(make(leg, counters, size), counters, client)


both = pytest.mark.parametrize("make", [plain, batched])


@pytest.fixture(params=["127.0.0.1", "::1"])
def wire(request: pytest.FixtureRequest, make: Make) -> Iterator[Pair]:
    yield from pair(make, request.param)


@pytest.fixture
def narrow(make: Make) -> Iterator[Pair]:
    yield from pair(make, size=100)


@both
def test_what_arrives_carries_its_flow(wire: Pair) -> None:
    wire.arrive(b"one", b"two")
    flow = wire.to_client(b"")[1]
    assert wire.channel.receive() == [(b"one", flow), (b"two", flow)]
    assert wire.counters == EdgeCounters(received=2)


@both
def test_nothing_waiting_is_no_error(wire: Pair) -> None:
    assert wire.channel.receive() == []
    assert wire.counters == EdgeCounters()


@both
def test_a_call_reads_one_batch_and_no_more(wire: Pair) -> None:
    messages = [b"%d" % i for i in range(BATCH + 3)]
    wire.arrive(*messages)
    first, second = wire.channel.receive(), wire.channel.receive()
    assert [data for data, _ in first] == messages[:BATCH]
    assert [data for data, _ in second] == messages[BATCH:]


@both
def test_a_buffer_used_again_shows_nothing_of_the_message_before(wire: Pair) -> None:
    wire.arrive(b"a long message")
    wire.channel.receive()
    wire.arrive(b"short")
    assert [data for data, _ in wire.channel.receive()] == [b"short"]


@both
def test_the_largest_datagram_passes_both_ways(make: Make) -> None:
    for wire in pair(make):
        largest = b"x" * 65_507
        wire.arrive(largest)
        assert wire.channel.receive()[0][0] == largest
        wire.channel.send([wire.to_client(largest)])
        assert wire.arrived() == [largest]


@both
def test_empty_and_cut_datagrams_are_counted_and_dropped(narrow: Pair) -> None:
    narrow.arrive(b"first", b"", b"x" * 101, b"y" * 100, b"last")
    assert [data for data, _ in narrow.channel.receive()] == [b"first", b"y" * 100, b"last"]
    assert narrow.counters == EdgeCounters(received=3, empty=1, truncated=1)


@both
def test_many_more_than_a_batch_are_sent_in_order(wire: Pair) -> None:
    messages = [b"%d" % i * (i % 7 + 1) for i in range(3 * BATCH + 1)]
    wire.channel.send([wire.to_client(message) for message in messages])
    assert wire.arrived() == messages
    assert wire.counters == EdgeCounters(sent=len(messages))


@both
def test_sending_nothing_is_nothing(wire: Pair) -> None:
    wire.channel.send([])
    assert wire.counters == EdgeCounters()


@both
def test_bad_destinations_lose_only_themselves(wire: Pair) -> None:
    host = wire.client.getsockname()[0]
    nowhere = b"to port 0", flow_of(7, pack_address(host, 0))
    too_long = wire.to_client(b"x" * 70_000)
    good = [wire.to_client(b"%d" % i) for i in range(4)]
    wire.channel.send([nowhere, good[0], too_long, too_long, good[1], good[2], nowhere, good[3], nowhere])
    assert wire.arrived() == [b"0", b"1", b"2", b"3"]
    assert wire.counters == EdgeCounters(sent=4, send_errors={"EINVAL": 3, "EMSGSIZE": 2})


@both
def test_an_address_of_the_other_family_loses_only_itself(wire: Pair) -> None:
    other = "::1" if len(wire.channel.leg.packed) == 6 else "127.0.0.1"
    stray = b"stray", flow_of(7, pack_address(other, 5060))
    wire.channel.send([stray, wire.to_client(b"good"), stray])
    wire.channel.send([stray])
    assert wire.arrived() == [b"good"]
    assert wire.counters == EdgeCounters(sent=1, send_errors={"EAFNOSUPPORT": 3})


@both
def test_a_refusal_by_one_destination_costs_the_others_nothing(wire: Pair) -> None:
    """The ICMP error of each dead datagram waits at the socket and fails the next send, whoever that is for."""
    with closing(socket.socket(wire.client.family, socket.SOCK_DGRAM)) as gone:
        gone.bind(wire.client.getsockname()[:1] + (0,))
        nobody = gone.getsockname()[:2]
    dead = b"dead", flow_of(7, pack_address(*nobody))
    batch = [datagram for i in range(20) for datagram in (dead, wire.to_client(b"%d" % i))]
    wire.channel.send(batch)
    assert wire.arrived() == [b"%d" % i for i in range(20)]
    assert wire.counters == EdgeCounters(sent=40)


def test_flows_are_made_once_and_those_in_use_outlive_the_others() -> None:
    flows = Flows(3, limit=2)
    a, b, c = (pack_address("192.0.2.1", port) for port in (1, 2, 3))
    first = flows[a]
    assert first == (3, a, b"=1;received=192.0.2.1")
    assert flows[a] is first
    assert (flows[b], len(flows)) == (flow_of(3, b), 2)
    assert (flows[c], list(flows)) == (flow_of(3, c), [c])
    assert flows[a] is first
    for port in range(3, 30):
        assert flows[pack_address("192.0.2.1", port)] == flow_of(3, pack_address("192.0.2.1", port))
        assert flows[a] is first
    assert len(flows) + len(flows.older) <= 4


class FullSocket:
    """A socket whose send buffer has room for `room` datagrams."""

    family = socket.AF_INET

    def __init__(self, room: int, number: int) -> None:
        self.room = room
        self.number = number

    def sendto(self, message: bytes, address: tuple[str, int]) -> int:
        self.room -= 1
        if self.room < 0:
            raise OSError(self.number, "full")
        return len(message)


@pytest.mark.parametrize("name", ["EAGAIN", "ENOBUFS"])
def test_a_full_socket_drops_the_rest(name: str) -> None:
    counters = EdgeCounters()
    sock = FullSocket(2, getattr(errno, name))
    leg = Leg(sock, pack_address("127.0.0.1", 5060), True, 0, 0, ())  # type: ignore[arg-type]
    PlainChannel(leg, Flows(0), counters).send([(b"x", flow_of(0, pack_address("127.0.0.1", 9)))] * 5)
    assert counters == EdgeCounters(sent=2, dropped_full=3, send_errors={name: 3})
    assert sock.room == -1, "after the first refusal the kernel is not asked again"
