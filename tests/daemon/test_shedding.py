from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Iterable, Iterator
from contextlib import closing

import pytest

from sipbalancer.daemon.leg import Leg, open_leg
from sipbalancer.daemon.shedding import (
    CALM,
    DATAGRAM,
    FULL,
    LADDER,
    LOOK,
    LOOK_CLOSELY,
    MOST_BEHIND,
    SHED,
    Shedding,
    Watched,
    step_of,
)
from sipbalancer.daemon.socket_queue import Queue

KEY = "192.0.2.10:5060"
SERVERS = (b"\xc0\x00\x02\x01",)
SIZE = 16 << 20


class Lab:
    """One leg, a clock and a kernel that a test moves."""

    def __init__(self, leg: Leg) -> None:
        self.leg = leg
        self.now = 100.0
        self.fill = 0.0
        self.drops = 7
        self.errors: int | None = 3
        self.rate = 0.0
        self.rates: list[float] = []
        self.exempt: tuple[bytes, ...] = ()
        self.error: OSError | None = None
        self.watched = [Watched(KEY, leg)]
        self.read = 0
        self.behind: list[float] = []
        self.shedding = self.made()
        self.shedding.look()
        self.rates.clear()

    def made(self) -> Shedding:
        return Shedding(
            lambda: self.watched, lambda key: SERVERS, lambda: self.read, lambda: self.now, self.behind.append, self
        )

    def queue(self, leg: Leg) -> Queue:
        return Queue(int(self.fill * SIZE), SIZE, self.drops & 0xFFFFFFFF)

    def full_queue_drops(self, leg: Leg) -> int | None:
        return self.errors

    def shed(self, leg: Leg, rate: float, exempt: Iterable[bytes]) -> None:
        if self.error:
            raise self.error
        self.rate = rate
        self.rates.append(rate)
        self.exempt = tuple(exempt)

    def look(self, fill: float, drops: int = 0, errors: int = 0) -> float:
        """10 ms later; `errors` of the `drops` at a full queue."""
        self.now += 0.01
        self.fill, self.drops = fill, self.drops + drops
        if self.errors is not None:
            self.errors += errors
        return self.shedding.look()

    @property
    def counted(self) -> tuple[int, int]:
        counts = self.shedding.dropped(KEY)
        return counts[SHED], counts[FULL]


@pytest.fixture
def leg() -> Iterator[Leg]:
    leg = open_leg("127.0.0.1", 0)
    with closing(leg.sock):
        yield leg


@pytest.fixture
def lab(leg: Leg) -> Lab:
    return Lab(leg)


def test_steps_rise_from_half_full_on() -> None:
    assert [step_of(fill, 0) for fill in (0.0, 0.25, 0.49, 0.5, 0.62, 0.79, 0.95, 1.4)] == [0, 0, 0, 1, 3, 6, 8, 8]
    assert [rate for _, rate in LADDER] == sorted(rate for _, rate in LADDER)


def test_a_step_is_kept_a_little_and_the_first_until_the_queue_has_emptied() -> None:
    assert step_of(0.68, 5) == 5
    assert step_of(0.65, 5) == 4
    assert step_of(0.45, 5) == 1
    assert step_of(0.26, 1) == 1
    assert step_of(0.24, 1) == step_of(0.24, 8) == 0
    assert step_of(0.4, 0) == 0


def test_the_filter_follows_the_queue(lab: Lab) -> None:
    for fill in (0.1, 0.45, 0.58, 0.58, 0.85, 0.72, 0.3, 0.1):
        lab.look(fill)
    assert lab.rates == [2 / 8, 7 / 8, 6 / 8, 1 / 8, 0.0]


def test_the_servers_of_the_service_are_exempt(lab: Lab) -> None:
    lab.look(0.6)
    assert lab.exempt == SERVERS


def test_a_slow_process_calls_a_queue_full_that_it_cannot_read_in_time(lab: Lab) -> None:
    """10,000 a second: 1,000 of them are a tenth of a second, and 2.3 MB of the 16."""
    for _ in range(20):
        lab.read += 100
        lab.look(0.1)
    assert lab.rates[-1] == 5 / 8
    for _ in range(20):
        lab.read += 100
        lab.look(0.04)
    assert lab.rates[-1] == 1 / 8


def test_how_far_behind_we_are_is_told(lab: Lab) -> None:
    for _ in range(20):
        lab.read += 100
        lab.look(0.1)
    assert abs(lab.behind[-1] - 0.1 * SIZE / DATAGRAM / 10_000) < 1e-6
    lab.look(0.01)
    assert lab.behind[-1] == 0.0, "that little is read in no time"
    lab.now += 60
    lab.look(1.0)
    lab.look(1.0)
    assert lab.behind[-1] <= MOST_BEHIND


def test_little_traffic_says_nothing_of_our_speed(lab: Lab) -> None:
    for _ in range(20):
        lab.read += 1
        lab.look(0.06)
    assert lab.rates == []
    lab.look(0.3)
    assert lab.rates == []


def test_a_faster_process_is_believed_at_once(lab: Lab) -> None:
    for _ in range(20):
        lab.read += 50
        lab.look(0.1)
    lab.read += 1000
    lab.look(0.1)
    assert lab.rates[-1] == 0.0


def test_a_moment_without_cpu_makes_nobody_slow(lab: Lab) -> None:
    lab.look(0.1)
    lab.read += 1000
    lab.look(0.1)
    for _ in range(20):
        lab.look(0.1)
    assert lab.rates == []


def test_it_looks_closely_only_where_there_is_something_to_see(lab: Lab) -> None:
    assert lab.look(0.05) == LOOK
    assert lab.look(0.2) == LOOK_CLOSELY
    assert lab.look(0.6) == LOOK_CLOSELY
    assert lab.look(0.05) == LOOK


def test_without_a_filter_drops_are_the_full_queues(lab: Lab) -> None:
    lab.look(0.4, drops=5, errors=5)
    assert lab.counted == (0, 5)


def test_with_a_filter_what_no_full_queue_dropped_was_shed(lab: Lab) -> None:
    lab.look(0.6)
    lab.look(0.6, drops=100, errors=0)
    lab.look(0.6, drops=100, errors=30)
    lab.look(0.6, drops=10, errors=50)  # forty of another socket
    assert lab.counted == (170, 40)


def test_bad_checksums_are_no_overload(lab: Lab) -> None:
    lab.look(0.0, drops=1, errors=0)
    assert lab.counted == (0, 0)
    assert lab.shedding.note(KEY) == ""


def test_where_the_host_does_not_count_full_queues(lab: Lab) -> None:
    lab.errors = None
    lab.look(0.4, drops=5)
    lab.look(0.6)
    lab.look(0.6, drops=9)
    assert lab.counted == (9, 5)


def test_the_kernels_count_may_turn_over(leg: Leg) -> None:
    lab = Lab(leg)
    lab.look(0.0, drops=0xFFFFFFFF - 7, errors=0)
    lab.look(0.6)
    lab.look(0.6, drops=4)
    assert lab.counted == (4, 0)


def test_an_overload_is_told_once_and_its_end_once(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sipbalancer"):
        for fill in (0.6, 0.72, 0.1, 0.6, 0.55, 0.1):
            lab.look(fill, drops=10)
        assert [record.getMessage() for record in caplog.records] == ["overload: the receive queue is full"]
        lab.now += CALM
        lab.look(0.0)
        lab.look(0.0)
    assert [record.getMessage() for record in caplog.records][1:] == ["overload is over"]
    assert caplog.records[1].fields["most"] == "5/8"  # type: ignore[attr-defined]
    assert caplog.records[1].fields["lost"] == "40 shed, 0 of any kind dropped by the kernel"  # type: ignore[attr-defined]


def test_the_note_says_what_is_done_for_how_long_and_what_it_costs(lab: Lab) -> None:
    assert lab.shedding.note(KEY) == ""
    lab.look(0.62)
    lab.look(0.62, drops=12, errors=2)
    lab.now += 60
    assert lab.shedding.note(KEY) == (
        f"{KEY}: OVERLOAD for 60 s: receive queue full: shedding 3/8 of new REGISTER, OPTIONS, SUBSCRIBE and MESSAGE; "
        "10 shed, 2 of any kind dropped by the kernel"
    )
    lab.look(0.0)
    lab.now += CALM
    lab.look(0.0)
    assert lab.shedding.note(KEY) == ""
    lab.look(0.0, drops=1, errors=1)
    assert "0 shed, 1 of any kind" in lab.shedding.note(KEY), "each overload is counted by itself"


def test_where_it_cannot_be_done_that_is_known_from_the_start(leg: Leg) -> None:
    lab = Lab(leg)
    lab.error = OSError(errno.EPERM, "Operation not permitted")
    again = lab.made()
    again.look()
    assert again.note(KEY).startswith(f"{KEY}: new work cannot be shed here (operation not permitted)")
    lab.fill, lab.drops, lab.errors = 1.0, lab.drops + 9, 12
    again.look()
    assert again.dropped(KEY) == {SHED: 0, FULL: 9}
    assert "OVERLOAD for 0 s: receive queue full: new work cannot be shed here" in again.note(KEY)


def test_a_leg_that_goes_is_forgotten_and_a_new_one_begins_anew(lab: Lab) -> None:
    lab.look(0.6, drops=9, errors=9)
    lab.watched = []
    lab.look(0.6)
    assert lab.counted == (0, 0)
    assert lab.shedding.note(KEY) == ""


def test_it_looks_by_itself_until_it_is_closed(lab: Lab) -> None:
    async def run() -> None:
        loop, looked = asyncio.get_running_loop(), asyncio.Event()
        original = lab.queue

        def queue(leg: Leg) -> Queue:
            looked.set()
            return original(leg)

        lab.queue = queue  # type: ignore[method-assign]
        lab.shedding.start(loop)
        for _ in range(3):
            looked.clear()
            await asyncio.wait_for(looked.wait(), 20)
        lab.shedding.close()
        looked.clear()
        await asyncio.sleep(0)
        assert not looked.is_set()

    asyncio.run(run())


def test_a_bug_leaves_no_filter_behind_and_does_not_end_the_looking(
    lab: Lab, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.look(0.7)
    assert lab.rate > 0.0
    with monkeypatch.context() as broken:
        broken.setattr(lab, "watched", [object()])
        with closing(asyncio.new_event_loop()) as loop:
            lab.shedding.start(loop)
            lab.shedding.close()
    assert (lab.rate, lab.behind[-1]) == (0.0, 0.0)
    assert "shedding failed" in caplog.text
    lab.look(0.7)
    assert lab.rate > 0.0
