"""Which virtual addresses are on this host. One that is not makes its services standby: under keepalived another host
has the address, and ours is ready (its sockets are bound all the same, its servers are known).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from sipbalancer.daemon.local_address import is_local

LOOK_EVERY = 0.5
"""Seconds: an address that has come is known this soon. A look takes some 20 us per address."""


class Standby:
    """What was seen at the last look."""

    def __init__(self, is_here: Callable[[str], bool] = is_local) -> None:
        self._is_here = is_here
        self._known: frozenset[str] = frozenset()
        self.away: frozenset[str] = frozenset()
        """Address literals that are not on this host."""

    def look(self, hosts: Collection[str]) -> tuple[frozenset[str], frozenset[str]]:
        """What has come since the last look, and what has gone; an address looked for the first time is neither."""
        away = frozenset(host for host in hosts if not self._is_here(host))
        arrived = (self.away & self._known).intersection(hosts) - away
        gone = (away - self.away) & self._known
        self.away, self._known = away, frozenset(hosts)
        return arrived, gone
