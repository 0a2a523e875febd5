"""The names of servers in the pin table's memory: numbers that last, also for other workers and after a restart."""

from __future__ import annotations

import pytest

from sipbalancer.director.server_names import MAX_SERVERS, NAMES_SIZE, ServerNames


def never(_: int) -> bool:
    return False


def always(_: int) -> bool:
    return True


@pytest.fixture
def memory() -> memoryview:
    return memoryview(bytearray(NAMES_SIZE))


def test_a_number_keeps_its_name_over_a_restart(memory: memoryview) -> None:
    names = ServerNames(memory)
    assert [names.number(name, always) for name in ("a", "b", "a")] == [0, 1, 0]
    again = ServerNames(memory)
    assert (again.name(1), again.number("b", always), again.number("c", always)) == ("b", 1, 2)


def test_what_another_worker_adds_is_seen(memory: memoryview) -> None:
    one, other = ServerNames(memory), ServerNames(memory)
    assert one.number("a", always) == 0
    assert other.name(0) == "a"
    assert other.number("b", always) == 1
    assert one.number("b", always) == 1


@pytest.mark.parametrize("number", [-1, 0, 7, MAX_SERVERS, 10**9])
def test_a_number_nobody_has_is_no_name(memory: memoryview, number: int) -> None:
    assert ServerNames(memory).name(number) == ""


@pytest.mark.parametrize(("name", "number"), [("", -1), ("x" * 63, 0), ("x" * 64, -1), ("ä" * 32, -1)])
def test_a_name_fits_into_its_entry_or_has_no_number(memory: memoryview, name: str, number: int) -> None:
    names = ServerNames(memory)
    assert names.number(name, always) == number
    assert ServerNames(memory).name(0) == (name if number == 0 else "")


def full(memory: memoryview) -> None:
    names = ServerNames(memory)
    assert [names.number(f"s{n}", always) for n in range(MAX_SERVERS)] == list(range(MAX_SERVERS))


def test_when_all_are_taken_only_a_number_without_pins_is_given_again(memory: memoryview) -> None:
    full(memory)
    names = ServerNames(memory)
    assert names.number("s0", always) == 0
    assert names.number("new", always) == -1
    assert names.number("new", lambda number: number != 5) == 5
    assert (names.name(5), names.number("s0", never)) == ("new", 0)
    assert ServerNames(memory).name(5) == "new"


def test_a_number_that_was_asked_for_is_never_given_again(memory: memoryview) -> None:
    full(memory)
    names = ServerNames(memory)
    for number in range(MAX_SERVERS):
        names.number(f"s{number}", always)
    assert names.number("new", never) == -1


def test_whatever_stands_in_the_memory_is_read() -> None:
    names = ServerNames(memoryview(bytearray(b"\xff" * NAMES_SIZE)))
    assert names.name(0) == "\ufffd" * 63
