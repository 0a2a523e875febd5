"""The core as the edge gets it: the forwarder, with an eye on the servers it finds suspect (design 5.2).

Only the slow verbs are wrapped. After `due` and after a refusal the daemon may probe at once, without a timer of its
own that would come 50 ms late; the hot verb is the forwarder's itself.
"""

from __future__ import annotations

from collections.abc import Callable

from sipbalancer.director.forwarder import Forwarder
from sipbalancer.sip.flow import Datagram, Flow


class SuspectingCore:
    """`look` is called after each `due` and each refusal."""

    def __init__(self, forwarder: Forwarder, look: Callable[[], None]) -> None:
        self.outbox = forwarder.outbox
        self.datagram_received = forwarder.datagram_received
        self._forwarder = forwarder
        self._look = look

    def refused(self, flow_out: Flow, now: float) -> None:
        self._forwarder.refused(flow_out, now)
        self._look()

    def due(self, now: float) -> list[Datagram]:
        out = self._forwarder.due(now)
        self._look()
        return out
