"""How busy processes and the machine are, from /proc, and whose work comes first."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


class Work:
    """From its making to `used`; a process counts with its children (Kamailio's workers).

    `waiting`: whose main threads' wait for a CPU is told, as `wait`.
    """

    def __init__(self, pids: dict[str, list[int]], waiting: str = "balancer") -> None:
        self._pids, self._waiting = pids, waiting
        self._began = time.monotonic()
        self._before = self._now()

    def used(self) -> dict[str, float]:
        """Percent of one core each; `idle` percent of the whole machine; `wait` percent of the time, all together."""
        seconds = time.monotonic() - self._began
        after = self._now()
        used = {name: 100 * max(0.0, after[name] - self._before[name]) / seconds for name in self._pids}
        used["idle"] = 100 * (after["idle"] - self._before["idle"]) / seconds / (os.cpu_count() or 1)
        used["wait"] = 100 * max(0.0, after["wait"] - self._before["wait"]) / seconds
        return {name: round(value, 1) for name, value in used.items()}

    def _now(self) -> dict[str, float]:
        """Seconds of CPU so far."""
        now = {name: sum(_seconds(one) for pid in pids for one in _family(pid)) for name, pids in self._pids.items()}
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
        now["idle"] = (int(fields[4]) + int(fields[5])) / TICK
        now["wait"] = sum(_waited(one) for pid in self._pids.get(self._waiting, ()) for one in _family(pid))
        return now


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(one for child in children for one in _family(int(child)))]


def _seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK


def _waited(pid: int) -> float:
    """Seconds it could have run and had no CPU."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def come_first(pid: int) -> None:
    """Give the session of that process the nice value of this one, when that is below 0.

    With autogroups (sched(7)) nice orders only what is in one session, and each Asterisk has its own.
    """
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    if nice < 0:
        with suppress(OSError):
            Path(f"/proc/{pid}/autogroup").write_text(str(nice))
