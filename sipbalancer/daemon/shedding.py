"""Overload: new work is shed in the kernel while a receive queue is more than half full. One `Shedding` per process.

Full is what the kernel can hold, or what we cannot read within `PATIENCE`, whichever is less: on a slow or shared CPU
8 MiB are a second of work, and an answer that comes after the client's own repeat (RFC 3261 T1, 500 ms) is work done
twice.

What lives here: when to shed and how much of it, and the story of each overload for the log, `status` and the metrics.
The filter itself is `socket_filter`, the queue's numbers are `socket_queue`'s.

Why: at three times what we can do, the kernel drops two of three datagrams at the full queue, whatever they are. An
answer, an ACK or a BYE dropped is work done in vain; a REGISTER dropped before it was read costs nothing and comes
again (RFC 3261 17.1.2.2). So the share dropped follows the queue by steps, always of the same four methods.

The share depends on the fill alone and not on how long it lasts: the queue sums up what comes in excess, and a share
that sums up the queue would swing between too little and too much.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from fractions import Fraction
from typing import NamedTuple, Protocol

from sipbalancer.daemon import socket_filter
from sipbalancer.daemon.leg import Leg
from sipbalancer.daemon.log import LOGGER, say
from sipbalancer.daemon.socket_queue import Queue, full_queue_drops, queue_of

LADDER = (
    (0.50, 1 / 8),
    (0.55, 2 / 8),
    (0.60, 3 / 8),
    (0.65, 4 / 8),
    (0.70, 5 / 8),
    (0.75, 6 / 8),
    (0.80, 7 / 8),
    (0.90, 31 / 32),
)
"""From this fill of the queue on, this share of the new work is dropped."""
SLACK = 0.04
"""So far below its fill a step is still kept: a filter is not changed for a few datagrams more or less."""
EMPTIED = 0.25
"""Below this the filter goes; the first step is kept until then."""
LOOK = 0.05
LOOK_CLOSELY = 0.01
"""Seconds between two looks: while all queues are below `CLOSE`, and while one is not. 8 MiB fill in 70 ms."""
CLOSE = 0.125
PATIENCE = 0.1
"""Seconds a datagram may wait in a queue that is not called full; a transaction waits there twice."""
DATAGRAM = 2304
"""Bytes of the queue one SIP message takes, as Linux counts (measured on loopback: 300 to 1,500 octets)."""
BACKLOG = 512 * DATAGRAM
"""A queue of less says nothing of our speed, and is never called full: it may be one burst."""
MOST_BEHIND = 2.0
"""Seconds: a guess of more is no guess."""
MEMORY = 1.0
"""Seconds in which we forget how quick we were: another process that has the CPU for a moment makes us no slower."""
CALM = 5.0
"""Seconds without a drop after which an overload is over."""

SHED, FULL = "shed", "queue full"
METHODS = "REGISTER, OPTIONS, SUBSCRIBE and MESSAGE"


def step_of(fill: float, step: int) -> int:
    """The step to take at this fill, coming from `step`; 0 = no filter, n = row n of `LADDER`, counted from 1."""
    up = sum(fill >= at for at, _ in LADDER)
    kept = sum(fill + SLACK >= at for at, _ in LADDER)
    least = 1 if fill >= EMPTIED else 0
    return max(up, min(step, max(kept, least)))


class Kernel(Protocol):
    """What is asked of the kernel; tests ask something else."""

    def queue(self, leg: Leg) -> Queue: ...

    def full_queue_drops(self, leg: Leg) -> int | None: ...

    def shed(self, leg: Leg, rate: float, exempt: Iterable[bytes]) -> None:
        """0.0 takes the filter away. OSError where that cannot be."""


class Linux:
    """The kernel, where it can; elsewhere all queues look empty and each filter is refused."""

    def queue(self, leg: Leg) -> Queue:
        return queue_of(leg.sock)

    def full_queue_drops(self, leg: Leg) -> int | None:
        return full_queue_drops(leg.sock.family)

    def shed(self, leg: Leg, rate: float, exempt: Iterable[bytes]) -> None:
        if rate:
            socket_filter.attach(leg.sock, socket_filter.shedding_program(rate, leg.sock.family, exempt))
        else:
            socket_filter.detach(leg.sock)


class Watched(NamedTuple):
    """One leg that clients send to."""

    key: str
    """The virtual service, `address:port`."""
    leg: Leg


class _Speed:
    """How many datagrams a second we read when there are enough."""

    def __init__(self) -> None:
        self._known = 0.0
        self._at = self._read = 0.0
        self._backlog = False

    def look(self, queue: Queue, read: int, now: float) -> None:
        """`read`: datagrams read so far by the whole process."""
        backlog = queue.used >= BACKLOG
        if backlog and self._backlog and now > self._at:
            found = (read - self._read) / (now - self._at)
            share = min(1.0, (now - self._at) / MEMORY)
            self._known = max(found, (1 - share) * self._known + share * found)
        self._backlog, self._at, self._read = backlog, now, read

    def delay(self, queue: Queue) -> float:
        """Seconds, roughly, that the newest datagram of this queue will have waited."""
        return queue.used / DATAGRAM / self._known if self._known and queue.used >= BACKLOG else 0.0

    def fill(self, queue: Queue) -> float:
        """0.0 to 1.0 and more."""
        if not self._known:
            return queue.fill
        room = min(queue.size, max(BACKLOG, int(self._known * PATIENCE * DATAGRAM)))
        return queue.used / room if room else 0.0


class _Story:
    """One leg, and the overload it is in."""

    def __init__(self, leg: Leg, drops: int, errors: int | None) -> None:
        self.leg = leg
        self.counts = {SHED: 0, FULL: 0}
        self.step = 0
        self.unable = ""
        self.speed = _Speed()
        self.drops = drops
        """Of the socket, at the last look."""
        self.errors = errors
        """Of the full queues of this host, when they were last asked for."""
        self.began: float | None = None
        self.last = 0.0
        """When something was dropped, or a filter on, for the last time."""
        self.highest = 0
        self.before = (0, 0)

    @property
    def so_far(self) -> str:
        """What this overload has cost."""
        shed, full = self.counts[SHED] - self.before[0], self.counts[FULL] - self.before[1]
        return f"{shed} shed, {full} of any kind dropped by the kernel"

    @property
    def share(self) -> str:
        """Of the new work, at its highest."""
        return str(Fraction(LADDER[self.highest - 1][1])) if self.highest else "none"


class Shedding:
    """Looks from `start` to `close`."""

    def __init__(
        self,
        watched: Callable[[], Iterable[Watched]],
        exempt: Callable[[str], Iterable[bytes]],
        read: Callable[[], int],
        clock: Callable[[], float],
        behind: Callable[[float], None],
        kernel: Kernel | None = None,
    ) -> None:
        """`watched`: the legs to look at now.

        `exempt`: the servers of a virtual service (4 or 16 octets each), whose own requests (qualify OPTIONS) are never
        shed. `read`: datagrams this process has read so far. `behind` is told how many seconds what comes now will have
        waited in the slowest queue, at each look.
        """
        self._watched = watched
        self._exempt = exempt
        self._read = read
        self._behind = behind
        self._clock = clock
        self._kernel: Kernel = kernel or Linux()
        self._stories: dict[str, _Story] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look now, and again and again. A bug of ours must not leave a filter on a socket, nor end the looking."""
        pause = CALM
        try:
            pause = self.look()
        except Exception:
            LOGGER.exception("shedding failed: all pass for now")
            self._pass_all()
        self._timer = loop.call_later(pause, self.start, loop)

    def _pass_all(self) -> None:
        self._behind(0.0)
        for story in self._stories.values():
            story.step = 0
            with suppress(OSError):
                self._kernel.shed(story.leg, 0.0, ())

    def close(self) -> None:
        """Stop looking; the sockets, and with them the filters, are somebody else's to close."""
        if self._timer is not None:
            self._timer.cancel()

    # What is shown.

    def dropped(self, key: str) -> dict[str, int]:
        """Reason -> datagrams, for a virtual service."""
        story = self._stories.get(key)
        return dict(story.counts) if story else {SHED: 0, FULL: 0}

    def note(self, key: str) -> str:
        """What the operator must know of this leg now; "" when all is well."""
        story = self._stories.get(key)
        if story is None or (story.began is None and not story.unable):
            return ""
        cannot = f"new work cannot be shed here ({story.unable}): a full queue drops whatever comes"
        if story.began is None:
            return f"{key}: {cannot}"
        doing = cannot if story.unable else f"shedding {story.share} of new {METHODS}"
        return f"{key}: OVERLOAD for {self._clock() - story.began:.0f} s: receive queue full: {doing}; {story.so_far}"

    # What is done.

    def look(self) -> float:
        """See how full the queues are, and do what that asks for; seconds until the next look."""
        watched = tuple(self._watched())
        looks = [self._look(each) for each in watched]
        self._behind(min(MOST_BEHIND, max((delay for _, delay in looks), default=0.0)))
        for gone in self._stories.keys() - {each.key for each in watched}:
            del self._stories[gone]
        closely = max((fill for fill, _ in looks), default=0.0) >= CLOSE or any(
            story.step for story in self._stories.values()
        )
        return LOOK_CLOSELY if closely else LOOK

    def _look(self, watched: Watched) -> tuple[float, float]:
        """One leg; how full it is, and how far behind we are with it."""
        queue = self._kernel.queue(watched.leg)
        story = self._story(watched, queue)
        dropped = self._count(story, queue.drops)
        story.speed.look(queue, self._read(), self._clock())
        fill = story.speed.fill(queue)
        step = 0 if story.unable else step_of(fill, story.step)
        if step != story.step:
            self._take(story, watched, step)
        self._tell(story, watched.key, dropped)
        return fill, story.speed.delay(queue)

    def _story(self, watched: Watched, queue: Queue) -> _Story:
        story = self._stories.get(watched.key)
        if story is None or story.leg is not watched.leg:
            story = _Story(watched.leg, queue.drops, self._kernel.full_queue_drops(watched.leg))
            self._stories[watched.key] = story
            # Whether it can be done is found out now, and not in the middle of it.
            self._take(story, watched, 1)
            self._take(story, watched, 0)
        return story

    def _take(self, story: _Story, watched: Watched, step: int) -> None:
        rate = LADDER[step - 1][1] if step else 0.0
        try:
            self._kernel.shed(watched.leg, rate, self._exempt(watched.key) if rate else ())
        except OSError as error:
            story.unable = story.unable or (error.strerror or str(error)).lower()
            step = 0
        story.step = step

    def _count(self, story: _Story, drops: int) -> bool:
        """Whether something was dropped for overload since the last look.

        The socket has one count for all its drops. Of those the full queue's are no more than all queues of this host
        had in the same time; the rest is the filter's while there is one, and else bad checksums.
        """
        new, story.drops = drops - story.drops & 0xFFFFFFFF, drops
        if not new:
            return False
        before, story.errors = story.errors, self._kernel.full_queue_drops(story.leg)
        full = 0 if story.step else new
        if before is not None and story.errors is not None:
            full = max(0, min(new, story.errors - before))
        shed = new - full if story.step else 0
        if story.began is None:
            story.before = story.counts[SHED], story.counts[FULL]
        story.counts[FULL] += full
        story.counts[SHED] += shed
        return full + shed > 0

    def _tell(self, story: _Story, key: str, dropped: bool) -> None:
        """One line when it begins, one when it is over."""
        now = self._clock()
        if dropped or story.step:
            story.last = now
            if story.began is None:
                story.began, story.highest = now, 0
                say(logging.WARNING, "overload: the receive queue is full", virtual=key, shedding=not story.unable)
            story.highest = max(story.highest, story.step)
        elif story.began is not None and now - story.last >= CALM:
            seconds = f"{story.last - story.began:.1f}"
            say(logging.WARNING, "overload is over", virtual=key, seconds=seconds, lost=story.so_far, most=story.share)
            story.began = None
