"""All that the control process and its workers share, as one thing: pins, their counts, words and stripes."""

from __future__ import annotations

import os
from collections.abc import Sequence

from sipbalancer.config.model import MOST_WORKERS, Config
from sipbalancer.daemon.shared_memory import ProcessLock, SharedMemory, new_memory
from sipbalancer.director.pins import PinTable
from sipbalancer.director.seat import Seat
from sipbalancer.director.shared_pins import ControlPins, WorkerPins, tally_size
from sipbalancer.director.stripes import Stripes, stripes_size
from sipbalancer.director.words import WORDS_SIZE, Words
from sipbalancer.errors import EnvironmentFault


class CrewMemory:
    """Made by the control process (`new_crew_memory`), opened by each worker from the same files."""

    def __init__(self, pins: SharedMemory, tally: SharedMemory, words: SharedMemory, stripes: SharedMemory) -> None:
        """Owns all but the pins, which are the state folder's in the control process."""
        self._pins = pins
        self._tally = tally
        self._words = words
        self._stripes = stripes
        self.words = Words(words.memory)
        self.stripes = Stripes(stripes.memory)
        self._lock = ProcessLock(tally.descriptor)

    @property
    def files(self) -> tuple[int, ...]:
        """What a worker is handed, for `opened`."""
        return tuple(each.descriptor for each in (self._pins, self._tally, self._words, self._stripes))

    def control_pins(self, workers: int, check: bytes, now: float) -> PinTable:
        return ControlPins(self._pins.memory, self._tally.memory, workers, check, now, self._lock)

    def worker_pins(self, seat: Seat, check: bytes, now: float) -> PinTable:
        return WorkerPins(self._pins.memory, self._tally.memory, seat, check, now, self._lock)

    def close(self) -> None:
        """After the pin table."""
        self.words.close()
        self.stripes.close()
        for each in (self._tally, self._words, self._stripes):
            each.close()


def new_crew_memory(pins: SharedMemory, workers: int) -> CrewMemory:
    """Of so many workers; EnvironmentFault when the system gives no memory to share."""
    sizes = (("tally", tally_size(workers)), ("words", WORDS_SIZE), ("stripes", stripes_size(workers)))
    made: list[SharedMemory] = []
    try:
        for name, size in sizes:
            made.append(new_memory(f"sipbalancer {name}", size))
    except OSError as error:
        for each in made:
            each.close()
        raise EnvironmentFault(
            f"workers = {workers}: no memory to share: {error.strerror}; write workers = 1"
        ) from error
    return CrewMemory(pins, *made)


def opened(files: Sequence[int]) -> CrewMemory:
    """In a worker: what `files` of the control process's names."""
    pins, tally, words, stripes = (SharedMemory(descriptor) for descriptor in files)
    return CrewMemory(pins, tally, words, stripes)


def workers_of(config: Config) -> int:
    """How many processes forward; with `auto` as many as CPUs may be used."""
    if config.workers:
        return config.workers
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST_WORKERS)
