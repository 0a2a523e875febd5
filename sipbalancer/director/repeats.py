"""What we said of our own accord and must be heard over UDP: said again until it is taken (RFC 3261 17.1.2, 17.2.1).

A CANCEL or BYE until its final response, a final to INVITE until its ACK; from 0.5 s, doubling to 4 s, for 32 s.
No clock here; bounded: without room a thing is said once and counted in `refused`.
"""

from __future__ import annotations

from collections.abc import MutableMapping

from sipbalancer.compiled import mypyc_attr
from sipbalancer.director.transactions import TIMER_F
from sipbalancer.director.wheel import Wheel
from sipbalancer.sip.flow import Datagram

FIRST = 0.5
"""T1."""
AT_ONCE = 512
"""Looked at in one call of `due`, those that were taken meanwhile among them."""
LONGEST = 4.0
"""T2."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Saying:
    """One thing being said; times are the director's `now`."""

    __slots__ = ("begun", "datagram", "interval")

    def __init__(self, datagram: Datagram, begun: float) -> None:
        self.datagram = datagram
        self.begun = begun
        self.interval = FIRST


@mypyc_attr(allow_interpreted_subclasses=True)
class Repeats:
    """By key: `request_key` of a request of ours, `final_key` of an answer of ours to an INVITE."""

    def __init__(self, now: float, limit: int = 65536) -> None:
        self.refused = 0
        self._limit = limit
        self._sayings: MutableMapping[bytes, Saying] = {}
        self._wheel = Wheel(now)

    def __len__(self) -> int:
        return len(self._sayings)

    def begin(self, key: bytes, datagram: Datagram, now: float) -> bool:
        """Say it again from now on; the caller sends the first copy. False when it is being said already."""
        if key in self._sayings:
            return False
        if len(self._sayings) >= self._limit:
            self.refused += 1
            return True
        self._sayings[key] = Saying(datagram, now)
        self._wheel.set(key, now + FIRST)
        return True

    def end(self, key: bytes) -> bool:
        """It was taken; whether anything was being said under this key."""
        return self._sayings.pop(key, None) is not None

    def due(self, now: float) -> list[Datagram]:
        """What to say again now; beyond `AT_ONCE` the next call's."""
        again: list[Datagram] = []
        for key in self._wheel.due(now, AT_ONCE):
            saying = self._sayings.get(key)
            if saying is None:
                continue
            if now - saying.begun >= TIMER_F:
                del self._sayings[key]
                continue
            again.append(saying.datagram)
            saying.interval = min(2 * saying.interval, LONGEST)
            self._wheel.set(key, now + saying.interval)
        return again


def request_key(method: bytes, branch: bytes) -> bytes:
    """Of a CANCEL or BYE of ours, and of its response (17.1.3): the branch, magic cookie included."""
    return method + b" " + branch


def final_key(transaction: bytes) -> bytes:
    """Of our final to an INVITE, and of its ACK: the transaction's key."""
    return b"ACK " + transaction
