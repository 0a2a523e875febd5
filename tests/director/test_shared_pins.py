from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import pytest

from sipbalancer.daemon.shared_memory import ProcessLock
from sipbalancer.director.pins import PinKind, PinTable
from sipbalancer.director.seat import Seat
from sipbalancer.director.shared_pins import ControlPins, WorkerPins, tally_size
from tests.director.pin_writer import KEYS, NOW, SERVERS, key_of, server_of

CHECK = b"12345678"
CALL, BINDING = PinKind.CALL, PinKind.BINDING
LIFE = NOW + 1000


class Crew(NamedTuple):
    control: ControlPins
    workers: tuple[WorkerPins, ...]

    def round(self, now: float = NOW) -> None:
        """Sweep exactly once round."""
        pins = self.control
        pins.sweep(now, pins._slots - (pins._cursor >> 5) * 8)


def crew(workers: int = 2, entries: int = 1000, pins: bytearray | None = None) -> Crew:
    memory = bytearray(PinTable.size_for(entries)) if pins is None else pins
    tally = bytearray(tally_size(workers))
    control = ControlPins(memory, tally, workers, CHECK, NOW, nullcontext())
    for name in "abcd":
        control.server_id(name)
    seats = [Seat(number, workers) for number in range(workers)]
    return Crew(control, tuple(WorkerPins(memory, tally, seat, CHECK, NOW, nullcontext()) for seat in seats))


def test_what_one_pins_all_see() -> None:
    control, (one, two) = crew()
    server = control.server_id("a")
    assert one.put(1 << 40, server, CALL, LIFE)
    assert [each.get(1 << 40, NOW) for each in (one, two, control)] == [server] * 3
    assert two.drop(1 << 40)
    assert one.get(1 << 40, NOW) == -1


def test_counts_are_sums_whoever_changed_what() -> None:
    control, (one, two) = crew()
    for number in range(100):
        (one, two)[number % 2].put(key_of(number), 1, CALL, LIFE)
    for number in range(0, 100, 4):
        two.drop(key_of(number))
        one.put(key_of(number + 1), 1, BINDING, LIFE)
    assert {each.count(CALL, 1) for each in (control, one, two)} == {50}
    assert {each.count(BINDING, 1) for each in (control, one, two)} == {25}
    assert {each.total(CALL) for each in (control, one, two)} == {50}
    assert control.count(CALL, -1) == 0


def test_counts_stay_right_through_rounds_of_the_sweep_with_changes_between() -> None:
    both = crew()
    control, (one, two) = both
    held: dict[int, int] = {}
    for step in range(40):
        for number in range(step * 7, step * 7 + 20):
            kind = (CALL, BINDING)[number % 2]
            (one, two)[step % 2].put(key_of(number), 3, kind, LIFE)
            held[number] = kind
        for number in range(step * 5, step * 5 + 3):
            two.drop(key_of(number))
            held.pop(number, None)
        control.sweep(NOW, control._slots // 7)
        for kind in (CALL, BINDING):
            assert one.count(kind, 3) == sum(each == kind for each in held.values())


def test_what_a_crash_left_wrong_is_put_right_when_two_rounds_agree() -> None:
    both = crew()
    both.workers[0].put(key_of(1), 1, CALL, LIFE)
    both.workers[0]._tally.counts[0][CALL << 12 | 1] += 1000
    both.round()
    assert both.control.count(CALL, 1) == 1001, "a round alone may have missed something"
    both.round()
    assert both.control.count(CALL, 1) == 1
    both.round()
    both.round()
    assert both.control.count(CALL, 1) == 1


def test_a_change_that_one_round_missed_is_no_mistake() -> None:
    both = crew()
    both.control.sweep(NOW, both.control._slots // 2)
    both.control._tally.cursor[0] = 0
    for number in range(40):
        both.workers[0].put(key_of(number), 1, CALL, LIFE)
    both.control._tally.cursor[0] = both.control._cursor
    both.round()
    assert both.control._differences, "some of them came where the sweep had been"
    assert both.control.count(CALL, 1) == 40
    both.round()
    assert both.control.count(CALL, 1) == 40 and not both.control._differences


def test_only_the_control_process_frees_what_has_expired() -> None:
    both = crew()
    control, (one, two) = both
    for number in range(50):
        one.put(key_of(number), 2, CALL, NOW + 5)
    two.sweep(NOW + 10, 1 << 20)
    assert one.count(CALL, 2) == 50
    both.round(NOW + 10)
    assert one.count(CALL, 2) == 0


def test_a_start_over_kept_pins_counts_them_once() -> None:
    memory = bytearray(PinTable.size_for(1000))
    alone = PinTable(memory, CHECK, NOW)
    alone.put(key_of(1), alone.server_id("a"), CALL, LIFE)
    both = crew(3, pins=memory)
    assert both.control.loaded
    assert [each.count(CALL, 0) for each in both.workers] == [1, 1, 1]
    both.workers[2].put(key_of(2), 0, CALL, LIFE)
    assert PinTable(memory, CHECK, NOW).count(CALL, 0) == 2


def test_a_replaced_worker_goes_on_with_the_counts_of_the_one_before() -> None:
    memory, tally = bytearray(PinTable.size_for(1000)), bytearray(tally_size(2))
    control = ControlPins(memory, tally, 2, CHECK, NOW, nullcontext())
    WorkerPins(memory, tally, Seat(1, 2), CHECK, NOW, nullcontext()).put(key_of(1), 1, CALL, LIFE)
    after = WorkerPins(memory, tally, Seat(1, 2), CHECK, NOW, nullcontext())
    assert after.count(CALL, 1) == control.count(CALL, 1) == 1
    after.drop(key_of(1))
    assert control.count(CALL, 1) == 0


def test_identities_are_one_for_all_and_given_under_the_guard() -> None:
    taken: list[str] = []

    class Guard:
        def __enter__(self) -> None:
            taken.append("taken")

        def __exit__(self, *_: object) -> None:
            return None

    memory, tally = bytearray(PinTable.size_for(1000)), bytearray(tally_size(2))
    control = ControlPins(memory, tally, 2, CHECK, NOW, Guard())
    one, two = (WorkerPins(memory, tally, Seat(n, 2), CHECK, NOW, Guard()) for n in (0, 1))
    assert [each.server_id("a") for each in (control, one, two)] == [0, 0, 0]
    assert [each.server_id("b") for each in (two, one, control)] == [1, 1, 1]
    assert len(taken) == 2, "who knows the name takes no guard"


@pytest.mark.parametrize(("one", "two"), [(0, 1), (0, 15), (7, 8)])
def test_two_writers_in_one_slot_never_make_a_wrong_pin(one: int, two: int) -> None:
    """Every interleaving of the three stores of two inserts into one free slot."""
    first, second = key_of(1), key_of(1) ^ 1 << 14 ^ 1 << 40  # another mark and tag, the same check bits in the word
    for order in range(64):
        pins = crew(16).workers
        stores: list[list[tuple[str, int]]] = []
        for pinned, key, server in ((pins[one], first, 5), (pins[two], second, 9)):
            generation = 0 + pinned._step & pinned._turns | pinned._writer
            word = int(LIFE) << 32 | CALL << 28 | server << 16 | key >> 18 & 0xFFC0 | generation
            stores.append([("word", word), ("mark", (key & 0x3FFFFFF) << 6 | generation), ("tag", key >> 32)])
        at = (first & pins[0]._mask) << 5
        turn = [order >> bit & 1 for bit in range(6)]
        if turn.count(1) != 3:
            continue
        for who in turn:
            name, value = stores[who].pop(0)
            if name == "word":
                pins[0]._words[(at >> 1) + 8] = value
            else:
                pins[0]._tags[at + (8 if name == "mark" else 0)] = value
            assert pins[2].get(first, NOW) in (-1, 5)
            assert pins[2].get(second, NOW) in (-1, 9)


def test_processes_that_fight_for_a_few_slots_lose_pins_and_make_no_wrong_one() -> None:
    size = PinTable.size_for(8)
    with _shared(size) as pins_file, _shared(tally_size(3)) as tally_file:
        pins, tally = mmap.mmap(pins_file, 0), mmap.mmap(tally_file, 0)
        control = ControlPins(pins, tally, 3, CHECK, NOW, ProcessLock(tally_file))
        for number in range(SERVERS // 100):
            control.server_id(f"192.0.2.{number}:5060")
        argv = [sys.executable, "-m", "tests.director.pin_writer", str(pins_file), str(tally_file)]
        writers = [
            subprocess.Popen([*argv, str(n), "3", "60000"], pass_fds=(pins_file, tally_file), stdout=subprocess.PIPE)
            for n in range(3)
        ]
        said = [tuple(map(int, writer.communicate()[0].split())) for writer in writers]
        assert [wrong for wrong, _ in said] == [0, 0, 0]
        assert len({identity for _, identity in said}) == 3, "two processes never give one number to two names"
        assert [control.server_name(n) for _, n in said] == [f"10.0.0.{n}:5060" for n in range(3)]
        for number in range(KEYS):
            assert control.get(key_of(number), NOW) in (-1, server_of(number))
        control.close()
        tally.close()
        pins.close()


@contextmanager
def _shared(size: int) -> Iterator[int]:
    descriptor = os.memfd_create("test")
    try:
        os.ftruncate(descriptor, size)
        yield descriptor
    finally:
        os.close(descriptor)
