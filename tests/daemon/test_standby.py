from __future__ import annotations

from sipbalancer.daemon.standby import Standby

A, B = "192.0.2.10", "192.0.2.20"
NOTHING: frozenset[str] = frozenset()


class World:
    def __init__(self, *here: str) -> None:
        self.here = set(here)
        self.standby = Standby(lambda host: host in self.here)


def test_what_comes_and_goes_is_told_once() -> None:
    world = World(A)
    look = world.standby.look
    assert look({A, B}) == (NOTHING, NOTHING), "the first look only learns"
    assert world.standby.away == {B}
    world.here = {B}
    assert look({A, B}) == (frozenset({B}), frozenset({A}))
    assert look({A, B}) == (NOTHING, NOTHING)
    assert world.standby.away == {A}


def test_an_address_that_the_file_no_longer_has_is_no_news() -> None:
    world = World(A)
    world.standby.look({A, B})
    assert world.standby.look({A}) == (NOTHING, NOTHING)
    assert world.standby.away == NOTHING
    world.here = {B}
    assert world.standby.look({B}) == (NOTHING, NOTHING), "new in the file, not new on the host"
