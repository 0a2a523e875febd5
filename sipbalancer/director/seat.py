"""Which worker this process is, and of how many (design 8, workers). Alone, everything is as without workers.

The kernel gives all datagrams of one remote address to one of the workers' shared sockets. So answers of servers would
come to anybody; hence each worker asks servers from a port of its own, named in its Via.
"""

from __future__ import annotations

from typing import NamedTuple


class Seat(NamedTuple):
    """Worker `number` (from 0) of `of`."""

    number: int = 0
    of: int = 1

    @property
    def alone(self) -> bool:
        """One process does everything."""
        return self.of == 1


ALONE = Seat()
