"""The lines of REGISTERs that wait for a server with a `registerrate`. Here is who is next, not who may pass."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from sipbalancer.compiled import mypyc_attr
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.service import VirtualService
from sipbalancer.director.transactions import TIMER_F
from sipbalancer.sip.flow import Flow

PATIENCE = 8.0
"""Seconds from the first copy; a phone's fifth comes after 7.5 (RFC 3261 17.1.2.2)."""
NOBODY = b"-"
"""No transaction's key."""
LONGEST_LINE = 4096
"""Whatever the rate."""
LONGEST_HELD = 4096
"""Octets of a REGISTER that may wait in line."""


class Held(NamedTuple):
    """A REGISTER in line."""

    service: VirtualService
    data: bytes
    flow: Flow
    since: float


@mypyc_attr(allow_interpreted_subclasses=True)
class Lines:
    """Who waits for which server, by the key of the transaction."""

    def __init__(self) -> None:
        self.turn = NOBODY
        """Whose turn it is: it is asked about once more and does not go back behind the others."""
        self._lines: dict[int, OrderedDict[bytes, Held]] = {}
        """By the server's number."""

    def before(self, server: RealServer, key: bytes) -> bool:
        """Whether others wait for this server who come before `key`."""
        line = self._lines.get(server.number)
        return line is not None and len(line) > 0 and key != self.turn and key != next(iter(line))

    def holds(self, server: RealServer, key: bytes) -> bool:
        line = self._lines.get(server.number)
        return line is not None and key in line

    def join(self, server: RealServer, key: bytes, held: Held, *, first: bool = False) -> bool:
        """Wait, `first`: before the others. False when there is no place."""
        line = self._lines.setdefault(server.number, OrderedDict())
        most = min(LONGEST_LINE, max(1, int(held.service.config.registerrate * PATIENCE)))
        if len(held.data) > LONGEST_HELD or (len(line) >= most and not (first and len(line) < 2 * most)):
            return False
        line[key] = held
        if first:
            line.move_to_end(key, last=False)
        return True

    def leave(self, server: RealServer, key: bytes) -> None:
        """It has passed by a copy of its own."""
        line = self._lines.get(server.number)
        if line:
            line.pop(key, None)

    def waiting(self) -> list[int]:
        """The numbers of servers that are waited for."""
        return [number for number, line in self._lines.items() if line]

    def next(self, server: RealServer, now: float) -> tuple[bytes, Held] | None:
        """Take the first one out, if its server has room for it."""
        line = self._lines[server.number]
        while line:
            key, held = next(iter(line.items()))
            rate = held.service.config.registerrate
            given_up = now - held.since >= TIMER_F
            if rate and not given_up and not server.bucket.has(rate, now):
                return None
            del line[key]
            if not given_up:
                return key, held
        return None
