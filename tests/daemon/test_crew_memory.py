from __future__ import annotations

import os

import pytest

from sipbalancer.config.model import MOST_WORKERS, Config
from sipbalancer.daemon import crew_memory as module
from sipbalancer.daemon.crew_memory import new_crew_memory, opened, workers_of
from sipbalancer.daemon.shared_memory import SharedMemory, new_memory
from sipbalancer.director.pins import PinKind, PinTable
from sipbalancer.director.seat import Seat
from sipbalancer.director.words import Flag, Word
from sipbalancer.errors import EnvironmentFault

NOW = 1_000_000.0
WORD = Word(float(Flag.WRITTEN), *[0.0] * 10)


def test_what_a_worker_opens_is_what_the_control_process_made() -> None:
    crew = new_crew_memory(new_memory("pins", PinTable.size_for(100)), 2)
    control = crew.control_pins(2, b"12345678", NOW)
    theirs = opened([os.dup(descriptor) for descriptor in crew.files])
    worker = theirs.worker_pins(Seat(1, 2), b"12345678", NOW)
    worker.put(7 << 40, control.server_id("a"), PinKind.CALL, NOW + 10)
    assert control.get(7 << 40, NOW) == 0
    assert control.count(PinKind.CALL, 0) == 1
    crew.words.write({0: WORD})
    assert theirs.words.read(0) == WORD
    assert theirs.stripes.workers == 2
    for pins in (control, worker):
        pins.close()
    for each in (crew, theirs):
        each.close()


def test_a_system_without_memory_to_share_is_told_what_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[SharedMemory] = []

    def some(name: str, size: int) -> SharedMemory:
        if made:
            raise OSError(12, "Cannot allocate memory")
        made.append(new_memory(name, size))
        return made[0]

    monkeypatch.setattr(module, "new_memory", some)
    with pytest.raises(EnvironmentFault, match="workers = 2: no memory to share: .*; write workers = 1"):
        new_crew_memory(new_memory("pins", 4096), 2)
    assert made[0].descriptor == -1, "closed again"


def test_auto_is_as_many_as_cpus_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert workers_of(Config(workers=3)) == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 4, 5})
    assert workers_of(Config(workers=0)) == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    assert workers_of(Config(workers=0)) == MOST_WORKERS
