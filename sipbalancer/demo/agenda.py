"""Things to do later, in virtual time: a heap of appointments that can be cancelled."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Appointment:
    """One thing to do at one time; `cancel` before it is due and it never happens."""

    __slots__ = ("action", "when")

    def __init__(self, when: float, action: Callable[[float], None]) -> None:
        self.when = when
        self.action: Callable[[float], None] | None = action

    def cancel(self) -> None:
        self.action = None


class Agenda:
    """Appointments in order of time; equal times in order of making."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Appointment]] = []
        self._made = 0

    def at(self, when: float, action: Callable[[float], None]) -> Appointment:
        """Have `action(now)` called once `when` (seconds) has come."""
        appointment = Appointment(when, action)
        self._made += 1
        heapq.heappush(self._heap, (when, self._made, appointment))
        return appointment

    def next_due(self) -> float | None:
        """When the next appointment is, or None."""
        self._drop_cancelled()
        return self._heap[0][0] if self._heap else None

    def run(self, now: float) -> None:
        """Keep every appointment whose time has come."""
        while (when := self.next_due()) is not None and when <= now:
            action = heapq.heappop(self._heap)[2].action
            if action is not None:
                action(now)

    def clear(self) -> None:
        self._heap.clear()

    def _drop_cancelled(self) -> None:
        while self._heap and self._heap[0][2].action is None:
            heapq.heappop(self._heap)
