"""What workers report of themselves, added up. A worker that died leaves what it had counted behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sipbalancer.daemon.link import Body
from sipbalancer.daemon.loop_lag import Pauses
from sipbalancer.daemon.shedding import FULL, SHED
from sipbalancer.director.numbers import Numbers, add_up

STEP = 0.9
"""Seconds between reports that rates are made from."""
COUNTED = ("numbers", "shed", "edge")
"""The parts of a report that outlive their worker."""


class WorkerShown(NamedTuple):
    """One worker, for `status` and the metrics."""

    number: int
    pid: int
    """0 while none holds the place."""
    since: float
    """When this process took the place."""
    restarts: int
    messages: int
    """Datagrams received by this place since the start."""
    messages_per_second: float
    cpu: float
    """Share of a core, 0..1, over the last second."""
    lag: float
    """Seconds, the longest gap of its loop in the last thirty to sixty."""
    pauses: Pauses = Pauses()


class _Dated(NamedTuple):
    at: float
    body: Body


class Reports:
    """The last report of each worker, and the sum of those that are gone."""

    def __init__(self, workers: int) -> None:
        self._last: list[Body] = [None] * workers
        self._dated: list[list[_Dated]] = [[] for _ in range(workers)]
        """Of each worker the last, and one or two that are about a second older each."""
        self._gone: dict[str, list[Numbers]] = {part: [{}] * workers for part in COUNTED}
        """What those before had counted, by place."""

    def take(self, worker: int, body: Body, now: float) -> None:
        """A report, asked for or not."""
        dated = self._dated[worker]
        if len(dated) > 1 and now - dated[-2].at < STEP:
            dated.pop()
        self._dated[worker] = [*dated, _Dated(now, body)][-3:]
        self._last[worker] = body

    def lost(self, worker: int) -> None:
        """The process died: its counts stay, its rates and gauges go."""
        last = self._last[worker]
        if last is not None:
            for part, gone in self._gone.items():
                gone[worker] = add_up((gone[worker], last[part]))
        self._last[worker], self._dated[worker] = None, []

    def numbers(self) -> Numbers:
        return add_up(self._of("numbers"))

    def edge(self) -> Numbers:
        return add_up(self._of("edge"))

    def shed(self, key: str) -> dict[str, int]:
        """Reason -> datagrams of a virtual service that the kernel dropped for overload."""
        total = add_up(_map(each.get(key)) for each in self._of("shed"))
        return {SHED: 0, FULL: 0, **{name: count for name, count in total.items() if isinstance(count, int)}}

    def shed_notes(self, key: str) -> list[str]:
        """What the operator must know of that now."""
        notes = [each["shed_notes"].get(key, "") for each in self._last if each is not None]
        return [f"worker {number}: {note}" for number, note in enumerate(notes) if note]

    def provisional(self) -> int:
        return sum(int(each["provisional"]) for each in self._last if each is not None)

    def plain(self) -> bool:
        """Some worker makes one system call per datagram."""
        return any(each is not None and not each["batched"] for each in self._last)

    def lag(self) -> float:
        return max((float(each["lag"]) for each in self._last if each is not None), default=0.0)

    def errors(self) -> list[str]:
        return [each["error"] for each in self._last if each is not None and each["error"]]

    def messages(self, worker: int) -> int:
        return _received(self._gone["edge"][worker]) + _received(self._edge_of(worker))

    def rates(self, worker: int) -> tuple[float, float]:
        """(messages per second, share of a core)."""
        dated = self._dated[worker]
        if len(dated) < 2:
            return 0.0, 0.0
        (began, before), (at, last) = dated[0], dated[-1]
        messages = _received(last["edge"]) - _received(before["edge"])
        seconds = max(at - began, 0.001)
        return messages / seconds, (float(last["cpu"]) - float(before["cpu"])) / seconds

    def lag_of(self, worker: int) -> float:
        last = self._last[worker]
        return float(last["lag"]) if last is not None else 0.0

    def pauses_of(self, worker: int) -> Pauses:
        last = self._last[worker]
        return Pauses(*last["pauses"]) if last is not None else Pauses()

    def _of(self, part: str) -> list[Numbers]:
        """Of those that are gone and of those that live."""
        return self._gone[part] + [each[part] for each in self._last if each is not None]

    def _edge_of(self, worker: int) -> Numbers:
        last = self._last[worker]
        return last["edge"] if last is not None else {}


def _map(value: object) -> Numbers:
    return value if isinstance(value, Mapping) else {}


def _received(edge: Mapping[str, object]) -> int:
    count = edge.get("received", 0)
    return count if isinstance(count, int) else 0
