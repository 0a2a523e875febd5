"""The workers as processes: started, watched, replaced, stopped. What they are told and what they say is the owner's.

One process more than there are workers stands by, with everything loaded and nothing to do: it takes the place of a
worker that dies within milliseconds. Processes are started by exec. A worker's death is seen by the end of its link;
one that says nothing for `MUTE` seconds is killed. Who dies again and again is replaced later and later.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from sipbalancer.daemon import own_process
from sipbalancer.daemon.fleet_legs import ServiceLegs
from sipbalancer.daemon.link import Body, Link, new_pair
from sipbalancer.daemon.log import say

MUTE = 10.0
"""Seconds without a word (each worker reports once a second)."""
LOOK = 1.0
FREE_DEATHS = 2
"""In `MEMORY` seconds: replaced at once; the next after 1 s, 2 s, 4 s ..."""
MEMORY = 60.0
LONGEST_PAUSE = 30.0
STOP_SECONDS = 2.0
"""For all of them together."""


class Process:
    """One started process and the link to it."""

    def __init__(self, take: Callable[[Process, str, Body], None], ended: Callable[[Process], None]) -> None:
        ours, theirs = new_pair()
        with theirs:
            self.process = subprocess.Popen(
                own_process.command("sipbalancer.daemon.worker", str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env=own_process.environment(),
            )
        self.link = Link(ours, lambda kind, body, files: take(self, kind, body), lambda: ended(self))

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """At once; its link's end tells when it is done."""
        self.process.kill()

    def reason(self) -> str:
        """Why it ended. Its link has ended, so it is dead or about to be."""
        try:
            status = self.process.wait(0.2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        return f"exit status {status}"


class Post:
    """The place of one worker, whoever holds it now."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: Process | None = None
        self.ready = False
        """It forwards."""
        self.since = 0.0
        """When this process took the place."""
        self.heard = 0.0
        self.restarts = 0
        self.deaths: list[float] = []
        self.legs: dict[str, ServiceLegs] = {}
        """What its process was handed, by service."""
        self.timer: asyncio.TimerHandle | None = None


class Owner(Protocol):
    """Who the workers work for."""

    def brief(self, post: Post, link: Link) -> None:
        """Tell a process that is to be worker `post.number` what it needs to begin."""

    def take(self, post: Post, kind: str, body: Body) -> None:
        """A message of a worker."""

    def lost(self, post: Post) -> None:
        """A worker died; another takes its place."""


class Fleet:
    """Runs from `start` to `close`, in the loop's thread."""

    def __init__(self, count: int, owner: Owner, clock: Callable[[], float]) -> None:
        self.posts = tuple(Post(number) for number in range(count))
        self._owner = owner
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._spare: Process | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._looked = 0.0
        self._closing = False
        self._ending: set[Process] = set()
        self._gone = asyncio.Event()
        self.all_ready = asyncio.Event()
        """Every place has been taken once."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start all of them; they take their places as they come. The one that stands by is started a second later: it
        would take CPU time from those that phones wait for."""
        self._loop = loop
        for post in self.posts:
            self._fill(post)
        self._looked = self._clock()
        self._timer = loop.call_later(LOOK, self._look)

    async def close(self) -> None:
        """Let each say its last words, then end what is left."""
        self._closing = True
        timers = [self._timer, *(post.timer for post in self.posts)]
        for timer in timers:
            if timer is not None:
                timer.cancel()
        held = [*(post.process for post in self.posts), self._spare]
        processes = [each for each in held if each is not None]
        for each in processes:
            each.link.send("stop")
        self._ending = set(processes)
        if processes:
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._gone.wait()
        for each in processes:
            each.kill()
            each.process.wait()
            each.link.close()

    def send(self, kind: str, body: Body = None, *, but: Post | None = None) -> None:
        """To all workers that have begun, but one."""
        for post in self.posts:
            if post.process is not None and post is not but:
                post.process.link.send(kind, body)

    # Processes.

    def _start(self) -> Process:
        assert self._loop is not None, "started"
        process = Process(self._take, self._ended)
        process.link.start(self._loop)
        return process

    def _keep_spare(self) -> None:
        if self._spare is None and not self._closing:
            self._spare = self._start()

    def _fill(self, post: Post) -> None:
        if self._closing:
            return
        post.timer = None
        process, self._spare = self._spare or self._start(), None
        post.process, post.ready = process, False
        post.since = post.heard = self._clock()
        self._owner.brief(post, process.link)

    def _take(self, process: Process, kind: str, body: Body) -> None:
        post = self._post_of(process)
        if post is None:
            return
        post.heard = self._clock()
        if kind == "ready" and not post.ready:
            post.ready = True
            if all(each.ready for each in self.posts):
                self.all_ready.set()
            say(logging.INFO, "worker ready", worker=post.number, pid=process.pid)
        self._owner.take(post, kind, body)

    def _post_of(self, process: Process) -> Post | None:
        return next((post for post in self.posts if post.process is process), None)

    def _ended(self, process: Process) -> None:
        """The link is over, and so is the process."""
        if self._closing:
            self._ending.discard(process)
            if not self._ending:
                self._gone.set()
            return
        reason, post = process.reason(), self._post_of(process)
        if post is None:
            self._spare = None
            say(logging.WARNING, "spare worker ended", pid=process.pid, reason=reason)
            return  # `_look` starts another
        now = self._clock()
        post.process, post.ready = None, False
        post.restarts += 1
        post.deaths = [*(at for at in post.deaths if now - at < MEMORY), now]
        pause = pause_after(len(post.deaths))
        self._owner.lost(post)
        seconds = f"{now - post.since:.1f}"
        event = "worker ended: it is replaced"
        say(logging.ERROR, event, worker=post.number, pid=process.pid, reason=reason, after=seconds, pause=pause)
        assert self._loop is not None, "started"
        if pause:
            post.timer = self._loop.call_later(pause, self._fill, post)
        else:
            self._fill(post)

    def _look(self) -> None:
        """Once a second: a spare is there, and everybody has said something."""
        assert self._loop is not None, "started"
        self._timer = self._loop.call_later(LOOK, self._look)
        self._keep_spare()
        now = self._clock()
        stood = max(0.0, now - self._looked - LOOK)
        self._looked = now
        for post in self.posts:
            post.heard += stood  # what stops this process (a paused container) stops them too, and is no silence
            if post.process is not None and now - post.heard > MUTE:
                say(logging.ERROR, "worker says nothing: it is killed", worker=post.number, pid=post.process.pid)
                post.heard = now
                post.process.kill()


def pause_after(deaths: int) -> float:
    """Seconds before the next process takes the place of one that died so often within a minute."""
    return 0.0 if deaths <= FREE_DEATHS else min(2.0 ** (deaths - FREE_DEATHS - 1), LONGEST_PAUSE)
