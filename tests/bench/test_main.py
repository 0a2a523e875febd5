"""What `make bench` runs, in which order."""

from __future__ import annotations

from bench.__main__ import commands

ALL = ["speed", "flat", "pool", "overload", "plots", "table"]


def test_measuring_comes_before_pictures_and_tables() -> None:
    found = commands(ALL, None, quick=False)
    assert list(found) == ALL
    assert [command[2] for command in found.values()][:3] == ["bench.run", "bench.flat", "bench.pool"]


def test_only_what_is_asked_for_and_as_often() -> None:
    found = commands(["flat"], 7, quick=False)
    assert list(found) == ["flat"]
    assert found["flat"][-2:] == ["--rounds", "7"]


def test_quick_is_one_round_of_each() -> None:
    found = commands(ALL, None, quick=True)
    assert all(found[part][3:5] == ["--rounds", "1"] for part in ("speed", "flat", "pool"))
    assert "--quick" not in found["pool"]
