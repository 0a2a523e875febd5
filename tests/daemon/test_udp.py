"""The edge with real sockets on loopback, on both loops and over both channels."""

from __future__ import annotations

import asyncio
import itertools
import select
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from sipbalancer.daemon.channel import BATCH
from sipbalancer.daemon.udp import SMALL, Edge, Leg, adopt_leg, open_leg
from sipbalancer.sip.flow import Datagram, Flow, flow_of, pack_address
from tests.daemon.loops import LOOPS, runner

WAIT = 20.0


class Echo:
    """Answers every datagram to where it came from; `dead:` goes to a port where nobody listens."""

    def __init__(self) -> None:
        self.outbox: list[Datagram] = []
        self.nobody = flow_of(0, pack_address("127.0.0.1", 9))
        self.seen: list[tuple[bytes, Flow, float]] = []
        self.refusals: list[Flow] = []
        self.due_at: list[float] = []
        self.happened = asyncio.Event()

    def datagram_received(self, data: bytes, flow_in: Flow, now: float) -> Datagram | None:
        self.seen.append((data, flow_in, now))
        self.happened.set()
        return self.answer(data, flow_in)

    def answer(self, data: bytes, flow_in: Flow) -> Datagram | None:
        return data, self.nobody if data.startswith(b"dead") else flow_in

    def refused(self, flow_out: Flow, now: float) -> None:
        self.refusals.append(flow_out)
        self.happened.set()

    def due(self, now: float) -> list[Datagram]:
        self.due_at.append(now)
        self.happened.set()
        out, self.outbox = self.outbox, []
        return out

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.happened.clear()
            await self.happened.wait()


class Client:
    """A UDP client of the running loop; `hear` waits for the next datagram."""

    def __init__(self, leg: Leg) -> None:
        self.leg = leg
        self.sock = socket.socket(leg.sock.family, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.connect(leg.sock.getsockname())

    @property
    def packed(self) -> bytes:
        return pack_address(*self.sock.getsockname()[:2])

    def say(self, *messages: bytes) -> None:
        for message in messages:
            self.sock.send(message)

    async def hear(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.sock, 65_536)

    async def ask(self, message: bytes) -> bytes:
        self.say(message)
        return await self.hear()


class Place:
    """Where a test runs: a loop, a kind of edge, and everything closed at the end."""

    def __init__(self, loop: str, batched: bool) -> None:
        self._loop = LOOPS[loop]
        self.batched = batched
        self.things = ExitStack()
        self.reports: list[dict[str, Any]] = []

    def run(self, scene: Callable[[], Awaitable[None]]) -> None:
        async def limited() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: self.reports.append(context))
            async with asyncio.timeout(WAIT):
                with self.things:
                    await scene()

        with runner(self._loop) as running:
            running.run(limited())

    def leg(self, host: str = "127.0.0.1") -> Leg:
        return open_leg(host, 0)

    def edge(self, core: Echo, *legs: Leg, clock: Callable[[], float] | None = None, start: bool = True) -> Edge:
        loop = asyncio.get_running_loop()
        edge = Edge(legs, core, clock or loop.time, batched=self.batched)
        self.things.callback(edge.close)
        if start:
            edge.start(loop)
        return edge

    def client(self, leg: Leg) -> Client:
        client = Client(leg)
        self.things.callback(client.sock.close)
        return client

    def unused_flow(self, host: str = "127.0.0.1") -> Flow:
        """A flow out of leg 0 to a port where nobody listens."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with closing(socket.socket(family, socket.SOCK_DGRAM)) as gone:
            gone.bind((host, 0))
            return flow_of(0, pack_address(*gone.getsockname()[:2]))


@pytest.fixture(
    params=itertools.product(LOOPS, (True, False)), ids=lambda p: f"{p[0]}-{'batched' if p[1] else 'plain'}"
)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    place = Place(*request.param)
    yield place
    assert place.reports == [], "nothing may reach the loop's exception handler unexpectedly"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_datagram_comes_in_with_its_flow_and_the_answer_goes_out(place: Place, host: str) -> None:
    async def scene() -> None:
        core, leg = Echo(), place.leg(host)
        edge, client = place.edge(core, leg), place.client(leg)
        assert edge.batched is place.batched
        assert await client.ask(b"hello") == b"hello"
        assert core.seen[0][:2] == (b"hello", flow_of(0, client.packed))
        assert (edge.counters.received, edge.counters.sent) == (1, 1)

    place.run(scene)


def test_each_leg_answers_from_its_own_address(place: Place) -> None:
    async def scene() -> None:
        core = Echo()
        legs = [place.leg("127.0.0.1"), place.leg("127.0.0.2"), place.leg("::1")]
        place.edge(core, *legs)
        clients = [place.client(leg) for leg in legs]
        # A connected client hears only the address it asked, so every answer proves its source.
        assert [await client.ask(b"hi") for client in clients] == [b"hi"] * 3
        assert [flow[0] for _, flow, _ in core.seen] == [0, 1, 2]

    place.run(scene)


def test_what_comes_in_on_one_leg_may_leave_through_another(place: Place) -> None:
    async def scene() -> None:
        core, first, second = Echo(), place.leg(), place.leg()
        place.edge(core, first, second)
        clients = [place.client(first), place.client(second)]
        crossed = {0: flow_of(1, clients[1].packed), 1: flow_of(0, clients[0].packed)}
        core.answer = lambda data, flow_in: (data, crossed[flow_in[0]])  # type: ignore[method-assign]
        for client in clients:
            client.say(b"from %d" % clients.index(client))
        assert [await client.hear() for client in clients] == [b"from 1", b"from 0"]

    place.run(scene)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_traffic_flows_after_a_hundred_refusals(place: Place, host: str) -> None:
    async def scene() -> None:
        core, leg = Echo(), place.leg(host)
        core.nobody = place.unused_flow(host)
        edge, client = place.edge(core, leg), place.client(leg)
        for count in range(1, 101):
            client.say(b"dead")
            await core.until(lambda: len(core.refusals) == count)  # noqa: B023
        assert core.refusals == [core.nobody] * 100
        assert edge.counters.refused == 100
        for word in (b"still", b"here"):
            assert await client.ask(word) == word
        assert edge.counters.send_errors == edge.counters.receive_errors == {}

    place.run(scene)


def test_refusals_within_a_batch_cost_the_others_nothing(place: Place) -> None:
    async def scene() -> None:
        core, leg = Echo(), place.leg()
        core.nobody = place.unused_flow()
        edge, client = place.edge(core, leg, start=False), place.client(leg)
        words = [b"%d" % i for i in range(30)]
        client.say(*(message for word in words for message in (b"dead", word)))
        edge.start(asyncio.get_running_loop())
        assert [await client.hear() for _ in words] == words
        await core.until(lambda: len(core.refusals) == 30)
        assert edge.counters.sent == 60

    place.run(scene)


def test_an_icmp_error_that_is_no_refusal_is_counted_only(place: Place) -> None:
    async def scene() -> None:
        core, leg = Echo(), place.leg()
        edge, client = place.edge(core, leg), place.client(leg)
        too_long = b"x" * 65_508  # the kernel itself reports EMSGSIZE, also to the error queue
        core.answer = lambda data, flow_in: (too_long if data == b"long" else data, flow_in)  # type: ignore[method-assign]
        client.say(b"long")
        for word in (b"short", b"again"):  # errors come first in a wake-up: at the second answer they were heard
            assert await client.ask(word) == word
        assert edge.counters.send_errors == {"EMSGSIZE": 1}
        assert edge.counters.icmp_errors == {"EMSGSIZE": 1}
        assert core.refusals == []

    place.run(scene)


def test_refusals_are_heard_while_traffic_never_pauses(place: Place) -> None:
    async def scene() -> None:
        core, leg = Echo(), place.leg()
        core.nobody = place.unused_flow()
        client = place.client(leg)

        def answer(data: bytes, flow_in: Flow) -> Datagram | None:
            if not core.refusals:
                client.say(b"more")
            return data, core.nobody if data.startswith(b"dead") else flow_in

        core.answer = answer  # type: ignore[method-assign]
        place.edge(core, leg)
        client.say(b"dead", b"more", b"more")
        await core.until(lambda: bool(core.refusals))

    place.run(scene)


@pytest.mark.parametrize(("count", "sent_before"), [(3, [0, 1, 2]), (SMALL + 1, [0] * (SMALL + 1))])
def test_the_answers_of_a_small_batch_leave_at_once_those_of_a_large_one_together(
    place: Place, count: int, sent_before: list[int]
) -> None:
    async def scene() -> None:
        core, leg, sent = Echo(), place.leg(), []
        edge, client = place.edge(core, leg, start=False), place.client(leg)
        core.answer = lambda data, flow_in: sent.append(edge.counters.sent) or (data, flow_in)  # type: ignore[method-assign, func-returns-value]
        words = [b"%d" % i for i in range(count)]
        client.say(*words)
        edge.start(asyncio.get_running_loop())
        assert [await client.hear() for _ in words] == words
        assert sent == sent_before

    place.run(scene)


def test_the_clock_is_read_once_per_batch_and_a_batch_is_64(place: Place) -> None:
    async def scene() -> None:
        core, leg, ticks = Echo(), place.leg(), itertools.count()
        edge, client = place.edge(core, leg, clock=lambda: float(next(ticks)), start=False), place.client(leg)
        client.say(*[b"x"] * (2 * BATCH + 5))
        edge.start(asyncio.get_running_loop())
        await core.until(lambda: len(core.seen) == 2 * BATCH + 5)
        batches = [len(list(group)) for _, group in itertools.groupby(now for _, _, now in core.seen)]
        assert batches == [BATCH, BATCH, 5]

    place.run(scene)


def test_the_outbox_follows_its_batch(place: Place) -> None:
    async def scene() -> None:
        core, leg, ticks = Echo(), place.leg(), itertools.count()

        def answer(data: bytes, flow_in: Flow) -> None:
            core.outbox += [(data + b" 1", flow_in), (data + b" 2", flow_in)]

        core.answer = answer  # type: ignore[method-assign]
        place.edge(core, leg, clock=lambda: float(next(ticks)))
        client = place.client(leg)
        client.say(b"more")
        assert [await client.hear(), await client.hear()] == [b"more 1", b"more 2"]
        assert core.seen[0][2] in core.due_at, "asked within the batch, at the batch's own time"

    place.run(scene)


def test_the_timer_asks_without_traffic_and_sends_what_is_due(place: Place) -> None:
    async def scene() -> None:
        core, leg = Echo(), place.leg()
        place.edge(core, leg)
        client = place.client(leg)
        await core.until(lambda: len(core.due_at) >= 2)
        core.outbox.append((b"due", flow_of(0, client.packed)))
        assert await client.hear() == b"due"
        assert core.seen == []

    place.run(scene)


class Faulty(Echo):
    """Raises wherever it can."""

    def answer(self, data: bytes, flow_in: Flow) -> Datagram | None:
        if data == b"bad":
            raise ValueError("answer")
        return super().answer(data, flow_in)

    def refused(self, flow_out: Flow, now: float) -> None:
        super().refused(flow_out, now)
        raise ValueError("refused")

    def due(self, now: float) -> list[Datagram]:
        super().due(now)
        raise ValueError("due")


def test_a_core_that_raises_costs_one_datagram_and_is_reported_once(place: Place) -> None:
    async def scene() -> None:
        core, leg = Faulty(), place.leg()
        core.nobody = place.unused_flow()
        edge, client = place.edge(core, leg, start=False), place.client(leg)
        client.say(b"bad", b"good", b"bad", b"fine", b"dead")
        edge.start(asyncio.get_running_loop())
        assert [await client.hear(), await client.hear()] == [b"good", b"fine"]
        await core.until(lambda: len(core.refusals) == 1 and len(core.due_at) >= 2)
        assert await client.ask(b"alive") == b"alive"
        assert edge.counters.core_errors == 2 + 1 + len(core.due_at)

    place.run(scene)
    report = place.reports.pop()
    assert str(report["exception"]) == "answer"
    assert "reported only once" in report["message"]


def test_a_leg_may_come_and_go_while_running(place: Place) -> None:
    async def scene() -> None:
        core, first = Echo(), place.leg()
        edge = place.edge(core, first)
        late = place.leg()
        assert edge.add_leg(late) == 1
        client, other = place.client(late), place.client(first)
        assert await client.ask(b"late") == b"late"
        edge.remove_leg(0)
        edge.send([(b"gone", flow_of(0, client.packed)), (b"no such leg", flow_of(9, client.packed))])
        assert edge.counters.send_errors == {"ENODEV": 2}
        assert await client.ask(b"still") == b"still"
        assert edge.legs == (None, late)
        assert edge.add_leg(place.leg()) == 2, "an index is never used again"
        assert other.sock.fileno() >= 0

    place.run(scene)


def test_a_ready_made_socket_serves_as_a_leg(place: Place) -> None:
    async def scene() -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        leg = adopt_leg(sock)
        place.edge(Echo(), leg)
        assert await place.client(leg).ask(b"x") == b"x"

    place.run(scene)


def test_an_absent_address_does_not_disturb_the_others(place: Place) -> None:
    async def scene() -> None:
        core, here, absent = Echo(), place.leg(), place.leg("192.0.2.77")
        edge, client = place.edge(core, here, absent), place.client(here)
        core.answer = lambda data, flow_in: (data, (1, *flow_in[1:]) if data == b"absent" else flow_in)  # type: ignore[method-assign]
        client.say(b"absent")
        assert await client.ask(b"here") == b"here"
        # Without routes the kernel refuses the absent source (ENETUNREACH, EINVAL), with some it takes it.
        assert edge.counters.sent + sum(edge.counters.send_errors.values()) == 2

    place.run(scene)


def test_closing_twice_is_closing_and_leaves_no_socket_open(place: Place) -> None:
    async def scene() -> None:
        leg = place.leg()
        edge = place.edge(Echo(), leg)
        edge.close()
        edge.close()
        assert leg.sock.fileno() == -1

    place.run(scene)


@pytest.mark.parametrize("loop", LOOPS)
def test_without_epoll_the_loop_watches_the_sockets(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS and BSD, where no ICMP error reaches an unconnected socket."""
    place = Place(loop, batched=False)

    async def scene() -> None:
        monkeypatch.delattr(select, "epoll")
        early, late = place.leg(), place.leg()
        edge = place.edge(Echo(), early)
        edge.add_leg(late)
        for leg in (early, late):
            assert await place.client(leg).ask(b"x") == b"x"
        edge.remove_leg(0)
        assert await place.client(late).ask(b"y") == b"y"
        edge.close()

    place.run(scene)
    assert place.reports == []
