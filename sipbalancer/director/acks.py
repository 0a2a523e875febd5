"""The ACK of a 2xx on a hop that loses datagrams: the one message of a call that nobody repeats by a timer.

A 2xx to INVITE that comes again says that its ACK did not arrive, or the 2xx itself. From then on the ACK of that
answer is kept for 32 s and leaves twice, and each further copy of the 2xx is answered by the kept one at once. The copy
goes on to the other side as ever, whose own ACK comes too (RFC 3261 13.2.2.4); one more than needed does no harm. The
same bytes, so the same branch (17.1.1.3 speaks of other ACKs). Nothing is kept of a call whose ACK arrives. At 30 %
loss each way a server that says its 2xx eleven times in 32 s hears no ACK of 0.51 ** 11 of its calls, 6 of 10,000, with
one ACK for each; with these copies of 0.51 * 0.36 * 0.31 ** 9, 5 of a million.

No clock here; bounded: what finds no room is said once, as before.
"""

from __future__ import annotations

from collections import deque

from sipbalancer.compiled import mypyc_attr
from sipbalancer.director.recent import RecentPins
from sipbalancer.director.transactions import TIMER_F
from sipbalancer.sip.flow import Datagram

APART = 0.05
"""Seconds between two copies: what loses one datagram (a full queue) often loses the next one too."""
LONGEST = 2048
"""Octets of an ACK that is kept."""
LIMIT = 8192
AT_ONCE = 512


@mypyc_attr(allow_interpreted_subclasses=True)
class Acks:
    """By key (`State.ack_key`): an answer, and who gave it."""

    def __init__(self) -> None:
        self.unheard: RecentPins[tuple[Datagram, ...]] = RecentPins(LIMIT, TIMER_F)
        """Answers that came again -> their ACK, () before it came."""
        self.until = 0.0
        """Nothing is kept from then on: what most calls need to know."""
        self._second: deque[tuple[float, Datagram]] = deque()

    def missing(self, key: int, now: float) -> Datagram | None:
        """A 2xx came again: the ACK to send at once, when it is known."""
        self.until = now + 2 * TIMER_F
        kept = self.unheard.get(key, now)
        self.unheard.put(key, kept or (), now)
        if not kept:
            return None
        self.twice(kept[0], now)
        return kept[0]

    def passed(self, key: int, ack: Datagram, now: float) -> bool:
        """An ACK leaves: whether it will leave a second time."""
        if self.unheard.get(key, now) is None:
            return False
        if len(ack[0]) <= LONGEST:
            self.unheard.put(key, (ack,), now)
        return self.twice(ack, now)

    def twice(self, datagram: Datagram, now: float) -> bool:
        """Say it once more, `APART` later; False without room."""
        if len(self._second) >= LIMIT:
            return False
        self._second.append((now + APART, datagram))
        return True

    def due(self, now: float) -> list[Datagram]:
        """What to say a second time now; beyond `AT_ONCE` the next call's."""
        again: list[Datagram] = []
        while self._second and self._second[0][0] <= now and len(again) < AT_ONCE:
            again.append(self._second.popleft()[1])
        return again
